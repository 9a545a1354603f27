package browser

import (
	"errors"
	"fmt"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

// With trust = "page" the page's file is the ring's memory: it has the ring's size,
// what the page claims is claimed here at the same place, and the graph reads what
// the page wrote where it wrote it. What records say is checked all the same; what
// cannot be prevented is a file that gets shorter.

// lend lays the page's file over the ring's memory.
func (ses *session) lend() error {
	var r *ring.Reader
	for end := time.Now().Add(noticed); r == nil; r = ses.reader() {
		if time.Now().After(end) {
			return errors.New("the graph did not take the page")
		}
		time.Sleep(time.Millisecond)
	}
	info, err := ses.data.Stat()
	if err != nil {
		return err
	}
	for i, l := range ses.lanes {
		if l.capacity == 0 {
			continue
		}
		if end := ses.arenas[i] + int64(l.capacity)*intake.Granule; info.Size() < end {
			return fmt.Errorf("its file has %d bytes, %d are wanted", info.Size(), end)
		}
		if err := r.Overlay(ring.Kind(i+1), int(ses.data.Fd()), ses.arenas[i]); err != nil {
			return err
		}
	}
	return nil
}

// noticed is how long a graph may take to come back from taking a page.
const noticed = 5 * time.Second

// released is how far the graph has given frames back, as records and position; used
// is what it has not, in bytes.
func (l *lane) released(used int64) (next, pos uint64) {
	back := l.pos - uint64(used)/intake.Granule
	n := 0
	for n < len(l.lent) && l.lent[n] <= back {
		n++
	}
	l.lent = l.lent[n:]
	return uint64(l.next) - uint64(len(l.lent)), back
}
