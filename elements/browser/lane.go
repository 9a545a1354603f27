package browser

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

// unasked is how often a lane looks without an event.
const unasked = 250 * time.Millisecond

// releases is how often it looks whether lent frames came back, as long as any are
// out: the page has room for more frames than are captured in this time.
const releases = 4 * time.Millisecond

// run takes the lane's records until the page is over: then all that it had handed
// over is taken.
func (l *lane) run(ctx context.Context) error {
	for {
		// Looked at before the records: what is there afterwards was there at the end.
		over := l.ses.dead.Load() || l.ses.ended.Load()
		n := 0
		for ctx.Err() == nil {
			f, ok := l.read()
			if !ok {
				break
			}
			if err := l.take(f); err != nil {
				if intake.Stopped(err) {
					l.countLost()
					return errStopped
				}
				return err
			}
			n++
		}
		switch {
		case ctx.Err() != nil:
			l.countLost()
			return errStopped
		case over && n == 0:
			l.ses.readCounters()
			return nil
		case n > 0:
			continue
		}
		sleep := unasked
		if len(l.lent) > 0 {
			l.tell() // releases raise no event here
			sleep = releases
		}
		select {
		case <-l.poke:
		case <-time.After(sleep):
		case <-ctx.Done():
		}
	}
}

// read copies the next record, if the page has written it.
func (l *lane) read() (intake.Frame, bool) {
	at := intake.BellRecords + l.class*intake.Records*intake.Record + int(l.next%intake.Records)*intake.Record
	if _, err := l.ses.c.bell.ReadAt(l.rec[:], int64(at)); err != nil {
		return intake.Frame{}, false // shortened: nothing comes any more
	}
	f, ok := intake.ParseRecord(l.rec[:])
	return f, ok && f.Word == l.next+1
}

// take moves one frame on and gives its space back to the page.
func (l *lane) take(f intake.Frame) error {
	if err := l.ses.in.Check(l.class, f); err != nil {
		return err
	}
	if f.Rewind && !l.ses.trust {
		l.pos += (l.capacity - l.pos%l.capacity) % l.capacity
	}
	if f.Pos != l.pos {
		return fmt.Errorf("a frame of stream %d at position %d of its arena, which is at %d", f.Stream, f.Pos, l.pos)
	}
	extent, offset := intake.Place(l.class, l.capacity, l.pos, f.Length)
	if extent > l.capacity {
		return fmt.Errorf("a frame of %d bytes in an arena of %d", f.Length, l.capacity*intake.Granule)
	}
	if f.Flags&ring.FlagEOS != 0 {
		if err := l.ses.in.End(f.Stream); err != nil {
			return err
		}
		l.passed(extent)
		return nil
	}
	if err := l.format(f.Format); err != nil {
		return err
	}
	slot, err := l.ses.in.Claim(l.class, f)
	if err != nil {
		return err
	}
	if !l.ses.trust {
		if n, err := l.ses.data.ReadAt(slot.Data, l.ses.arenas[l.class]+int64(offset)); err != nil {
			slot.Abort()
			return fmt.Errorf("a frame of %d bytes, of which its file holds %d: %w", f.Length, n, err)
		}
		l.ses.in.CountCopy(f.Stream, f.Length)
	}
	slot.Commit(f.PTS, f.Duration, f.Flags)
	l.passed(extent)
	return nil
}

// format makes a format known at its first use.
func (l *lane) format(id uint32) error {
	if id < 1 || id > intake.Formats {
		return fmt.Errorf("a frame in format %d; formats are 1 to %d", id, intake.Formats)
	}
	if l.ses.in.Known(id) {
		return nil
	}
	b := make([]byte, intake.FormatSize)
	if _, err := l.ses.c.bell.ReadAt(b, intake.BellFormats+int64(id-1)*intake.FormatSize); err != nil {
		return fmt.Errorf("its bell cannot be read: %w", err)
	}
	f, err := intake.ParseFormat(b)
	if err != nil {
		return err
	}
	return l.ses.in.Publish(id, f)
}

// passed moves the read cursor, which the page looks at before it writes.
func (l *lane) passed(extent uint64) {
	l.next++
	l.pos += extent
	if l.ses.trust {
		l.lent = append(l.lent, l.pos)
	}
	l.tell()
}

// tell shows the page how far it was read and how full the ring behind is.
func (l *lane) tell() {
	var b [36]byte
	le := binary.LittleEndian
	next, pos := uint64(l.next), l.pos
	used, capacity, held := l.ses.in.Fill(l.class)
	if l.ses.trust {
		next, pos = l.released(used)
	}
	le.PutUint64(b[0:], next)
	le.PutUint64(b[8:], pos)
	le.PutUint64(b[16:], uint64(used))
	le.PutUint64(b[24:], uint64(capacity))
	le.PutUint32(b[32:], uint32(held))
	_, _ = l.ses.c.ack.WriteAt(b[:], int64(intake.AckClasses+l.class*intake.AckClassSize+0x10)) // a page that is gone need not know
}

// countLost counts what the page had handed over and the graph does not take any
// more.
func (l *lane) countLost() {
	for range intake.Records {
		f, ok := l.read()
		if !ok {
			return
		}
		if f.Stream < len(l.ses.c.hello.Streams) && f.Length > 0 {
			l.ses.counts[f.Stream].lost.Add(1)
		}
		l.next++
	}
}
