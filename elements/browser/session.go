package browser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

const (
	beatEvery = 500 * time.Millisecond
	// readyLimit is how long a page that was taken may need to write its large file
	// once: a gigabyte on a busy machine.
	readyLimit = 15 * time.Second
	// inFile is how many of the largest frames a page's file holds when they are
	// copied out of it: a quarter of a second at 30 fps, for a reader that does not
	// get a processor at once. Pages begin anew when all is read, so usually one or
	// two are in use and stay in the processor's cache.
	inFile     = 8
	soundBytes = 1 << 20 // what a page's file holds of sound, if that is more
)

// errStopped: the graph takes nothing more.
var errStopped = errors.New("stopped")

// session is a page that was taken.
type session struct {
	s     *source
	c     *candidate
	in    *intake.Inlet
	data  *os.File
	lanes [2]*lane
	trust bool

	arenas [2]int64

	dead  atomic.Bool // nobody writes the bell any more
	ended atomic.Bool // the page said so

	reader func() *ring.Reader // of the ring, once it has taken the page

	ringing sync.Mutex
	pong    uint32 // the latest ping that was answered

	counts [intake.Streams]struct{ full, policy, lost atomic.Int64 }
}

// lane is one class of a session: its own records, its own arena.
type lane struct {
	ses      *session
	class    int
	capacity uint64 // granules
	next     uint32 // records taken
	pos      uint64
	lent     []uint64 // where frames end that the graph has not given back; trust alone
	poke     chan struct{}
	rec      [intake.Record]byte
}

func newSession(s *source, c *candidate, in *intake.Inlet) *session {
	ses := &session{s: s, c: c, in: in, trust: s.trust == "page"}
	for i := range ses.lanes {
		ses.lanes[i] = &lane{ses: ses, class: i, poke: make(chan struct{}, 1)}
	}
	return ses
}

// run moves frames until the page is over or the graph is.
func (ses *session) run(ctx context.Context) error {
	w, err := newWatch(ses.c.bell.Name())
	if err != nil {
		ses.in.Abandon(ses.seen)
		return err
	}
	var others sync.WaitGroup
	over := make(chan struct{})
	others.Add(2)
	go func() { defer others.Done(); w.loop(ses.rang) }()
	go func() { defer others.Done(); ses.beat(over) }()
	err = ses.move(ctx)
	close(over)
	w.close()
	others.Wait()
	ses.finish(err)
	if ses.data != nil {
		if ses.dead.Load() && !ses.trust {
			// Its memory need not wait for the next page of this origin to tidy up.
			if info, err := ses.data.Stat(); err == nil {
				_ = unix.Fallocate(int(ses.data.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, info.Size())
			}
		}
		ses.data.Close()
	}
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// finish tells both sides how it ended.
func (ses *session) finish(err error) {
	log := ses.s.env.Log
	switch {
	case errors.Is(err, errStopped):
		ses.c.say(intake.Closed, "the recording has ended")
		ses.in.Abandon(func() bool { return true })
	case err != nil:
		ses.c.say(intake.Invalid, err.Error())
		ses.in.Abandon(ses.seen)
	case ses.ended.Load():
		log.Info("the page has ended its streams", "page", ses.c.hello.String())
		ses.in.Close()
	default:
		ses.in.Abandon(ses.seen)
	}
}

// seen tells whether the ring's reader has noticed a death.
func (ses *session) seen() bool {
	r := ses.reader()
	return r != nil && r.State() != ring.Live
}

// move is everything between the attachment and the end.
func (ses *session) move(ctx context.Context) error {
	size := ses.welcome()
	if err := ses.ready(ctx, size); err != nil || ses.data == nil {
		return err
	}
	ses.s.env.Log.Info("page attached", "page", ses.c.hello.String(), "file", ses.data.Name(), "bytes", size)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var both sync.WaitGroup
	errs := make([]error, len(ses.lanes))
	for i, l := range ses.lanes {
		if l.capacity == 0 {
			continue
		}
		both.Add(1)
		go func() {
			defer both.Done()
			if errs[i] = l.run(ctx); errs[i] != nil {
				cancel(errs[i])
			}
		}()
	}
	both.Wait()
	for _, err := range errs { // what the page did wrong comes before the stop that followed
		if err != nil && !errors.Is(err, errStopped) {
			return err
		}
	}
	return errors.Join(errs...)
}

// welcome says how large the page's file is to be, and gives its bytes.
func (ses *session) welcome() (size int64) {
	var largest [2]int
	for _, st := range ses.c.hello.Streams {
		k := st.Kind - 1
		largest[k] = max(largest[k], st.MaxFrame)
	}
	video, audio := ses.s.Capacities()
	b := make([]byte, intake.PageSize)
	le := binary.LittleEndian
	size = intake.PageSize
	for i, l := range ses.lanes {
		if largest[i] == 0 {
			continue
		}
		bytes := int64(inFile*up(largest[i], intake.PageSize) + intake.PageSize)
		if i == 1 {
			bytes = max(bytes, soundBytes)
		}
		if ses.trust {
			bytes = []int64{video, audio}[i]
		}
		bytes = int64(up(int(bytes), intake.PageSize))
		l.capacity, ses.arenas[i] = uint64(bytes)/intake.Granule, size
		le.PutUint64(b[intake.AckClasses+i*intake.AckClassSize:], l.capacity)
		le.PutUint64(b[intake.AckArenas+8*i:], uint64(size))
		size += bytes
	}
	le.PutUint64(b[intake.AckDataSize:], uint64(size))
	if !ses.trust {
		le.PutUint32(b[intake.AckRewind:], 1)
	}
	le.PutUint32(b[0x38:], uint32(os.Getpid()))
	intake.PutText(b[intake.AckConsumer:][:64], "mpipe "+ses.s.env.Stage)
	_, _ = ses.c.ack.WriteAt(b[0x38:], 0x38) // the state, below, comes last
	ses.c.say(intake.Live, "")
	return size
}

func up(n, to int) int { return (n + to - 1) / to * to }

// ready waits until the page has made its large file; none without an error means
// that the page is over.
func (ses *session) ready(ctx context.Context, size int64) error {
	deadline := time.Now().Add(readyLimit)
	var word [8]byte
	for {
		if _, err := ses.c.bell.ReadAt(word[:], intake.BellReady); err != nil {
			return fmt.Errorf("its bell cannot be read: %w", err)
		}
		if n := binary.LittleEndian.Uint64(word[:]); n == uint64(size) {
			break
		} else if n != 0 {
			return fmt.Errorf("its file has %d bytes, %d are wanted", n, size)
		}
		switch {
		case ses.dead.Load():
			return nil
		case ctx.Err() != nil:
			return errStopped
		case time.Now().After(deadline):
			return fmt.Errorf("it made no file of %d bytes within %v", size, readyLimit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	files(ses.c.tree, size, func(path string) bool {
		f, err := openPart(path, intake.MagicData, ses.c.hello.Session)
		if err != nil {
			return false
		}
		ses.data = f
		return true
	})
	if ses.data == nil {
		return fmt.Errorf("its file of %d bytes is not there", size)
	}
	if ses.trust {
		return ses.lend()
	}
	return nil
}

// rang is called for each event of the bell.
func (ses *session) rang(closed bool) {
	ses.ringing.Lock()
	defer ses.ringing.Unlock()
	if closed && !alive(ses.c.bell) {
		ses.dead.Store(true)
	}
	var head [intake.BellReady - intake.BellState]byte
	if _, err := ses.c.bell.ReadAt(head[:], intake.BellState); err == nil {
		le := binary.LittleEndian
		if ping := le.Uint32(head[intake.BellPing-intake.BellState:]); ping != ses.pong {
			ses.pong = ping
			var b [16]byte
			le.PutUint64(b[8:], uint64(ring.Now()))
			_, _ = ses.c.ack.WriteAt(b[8:], intake.AckPongTime)
			le.PutUint32(b[:], ping)
			_, _ = ses.c.ack.WriteAt(b[:4], intake.AckPong)
		}
		if le.Uint32(head[:]) == intake.SessionEnded {
			ses.ended.Store(true)
		}
	}
	for _, l := range ses.lanes {
		select {
		case l.poke <- struct{}{}:
		default:
		}
	}
}

// beat shows the page that mpipe lives, how full the ring is, and looks after what
// no event tells.
func (ses *session) beat(over chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var b [8]byte
	for n := uint32(1); ; n++ {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		binary.LittleEndian.PutUint32(b[:], n)
		_, _ = ses.c.ack.WriteAt(b[:4], intake.AckBeat)
		ses.readCounters()
		if !alive(ses.c.bell) {
			ses.rang(true)
		}
	}
}

// readCounters takes over what the page counted: never less than before, and no
// more than a page could have dropped.
func (ses *session) readCounters() {
	b := make([]byte, len(ses.c.hello.Streams)*intake.CounterSize)
	if _, err := ses.c.bell.ReadAt(b, intake.BellCounters); err != nil {
		return
	}
	for i := range ses.c.hello.Streams {
		c := b[i*intake.CounterSize:]
		ses.counts[i].full.Store(max(ses.counts[i].full.Load(), int64(binary.LittleEndian.Uint32(c))))
		ses.counts[i].policy.Store(max(ses.counts[i].policy.Load(), int64(binary.LittleEndian.Uint32(c[4:]))))
	}
}

func (ses *session) tally(stream int) tally {
	c := &ses.counts[stream]
	return tally{ses.in.Copied[stream].Load(), ses.in.CopiedBytes[stream].Load(), c.full.Load(), c.policy.Load(), c.lost.Load()}
}
