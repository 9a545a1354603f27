package wire

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

var le = binary.LittleEndian

// tellEvery is how often a client hears at least how far it was read.
const tellEvery = 50 * time.Millisecond

// session is one client that was taken.
type session struct {
	l     link
	in    *intake.Inlet
	hello *intake.Hello
	ended bool // the client said so

	read   [2]atomic.Int64 // bytes
	window [2]int64
	told   [2]int64 // of the goroutine that reads

	sending      sync.Mutex
	full, policy [intake.Streams]atomic.Int64
}

// run hears messages until the client ends, or fails.
func (ses *session) run(window [2]int64) error {
	ses.window = window
	if err := ses.send(stateMessage(intake.Live, window, "")); err != nil {
		return err
	}
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Add(1)
	go func() { defer beside.Done(); ses.tellNowAndThen(over) }()
	defer beside.Wait()
	defer close(over)
	var b [intake.Record]byte
	for {
		if err := ses.l.next(); err != nil {
			return fmt.Errorf("the connection ended without an end of the streams: %w", err)
		}
		if err := ses.l.read(b[:]); err != nil {
			return fmt.Errorf("the connection ended within a message: %w", err)
		}
		err := ses.message(b[:])
		if err != nil && !intake.Stopped(err) {
			_ = ses.send(stateMessage(intake.Invalid, window, err.Error()))
		} else if err != nil {
			_ = ses.send(stateMessage(intake.Closed, window, "the recording has ended"))
		}
		if err != nil || ses.ended {
			return err
		}
	}
}

func (ses *session) message(b []byte) error {
	switch kind := le.Uint32(b); kind {
	case intake.WireFrame:
		return ses.frame(b)
	case intake.WireFormat:
		var entry [intake.FormatSize]byte
		if err := ses.l.read(entry[:]); err != nil {
			return err
		}
		f, err := intake.ParseFormat(entry[:])
		if err != nil {
			return err
		}
		return ses.in.Publish(le.Uint32(b[8:]), f)
	case intake.WirePing:
		pong := make([]byte, intake.Record)
		le.PutUint32(pong, intake.WirePong)
		copy(pong[8:16], b[8:16])
		le.PutUint64(pong[16:], uint64(ring.Now()))
		return ses.send(pong)
	case intake.WireCounters:
		i := int(le.Uint16(b[4:]))
		if i >= len(ses.hello.Streams) {
			return fmt.Errorf("counters of stream %d of %d", i, len(ses.hello.Streams))
		}
		ses.full[i].Store(max(ses.full[i].Load(), int64(le.Uint32(b[8:]))))
		ses.policy[i].Store(max(ses.policy[i].Load(), int64(le.Uint32(b[0xc:]))))
		return nil
	case intake.WireEnd:
		ses.ended = true
		return nil
	default:
		return fmt.Errorf("a message of kind %d", kind)
	}
}

// frame reads a payload straight into the ring.
func (ses *session) frame(b []byte) error {
	f, ok := intake.ParseRecord(b)
	if !ok {
		return fmt.Errorf("a record whose last word is %d", le.Uint32(b[0x3c:]))
	}
	if f.Stream >= len(ses.hello.Streams) {
		return fmt.Errorf("a frame of stream %d of %d", f.Stream, len(ses.hello.Streams))
	}
	class := int(ses.hello.Streams[f.Stream].Kind) - 1
	if err := ses.in.Check(class, f); err != nil {
		return err
	}
	if f.Flags&ring.FlagEOS != 0 {
		return ses.in.End(f.Stream)
	}
	slot, err := ses.in.Claim(class, f)
	if err != nil {
		return err
	}
	if err = ses.l.next(); err == nil {
		err = ses.l.read(slot.Data)
	}
	if err != nil {
		slot.Abort()
		return fmt.Errorf("a frame that did not come to its end: %w", err)
	}
	slot.Commit(f.PTS, f.Duration, f.Flags)
	n := ses.read[class].Add(int64(f.Length))
	if n-ses.told[class] > ses.window[class]/8 {
		ses.told[class] = n
		return ses.tell()
	}
	return nil
}

// tell says how far the client was read, and how full the ring is.
func (ses *session) tell() error {
	b := make([]byte, intake.Record)
	le.PutUint32(b, intake.WireRead)
	for c := range ses.read {
		used, _, _ := ses.in.Fill(c)
		le.PutUint64(b[8+16*c:], uint64(ses.read[c].Load()))
		le.PutUint64(b[16+16*c:], uint64(used))
	}
	return ses.send(b)
}

func (ses *session) tellNowAndThen(over chan struct{}) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	var last [2]int64
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if now := [2]int64{ses.read[0].Load(), ses.read[1].Load()}; now != last {
			last = now
			_ = ses.tell() // the reader notices a broken connection
		}
	}
}

func (ses *session) send(b []byte) error {
	ses.sending.Lock()
	defer ses.sending.Unlock()
	return ses.l.send(b)
}

// stateMessage says whether a client is taken, or why not.
func stateMessage(state intake.State, window [2]int64, reason string) []byte {
	b := make([]byte, intake.Record+256)
	le.PutUint32(b, intake.WireState)
	le.PutUint32(b[4:], uint32(state))
	le.PutUint64(b[8:], uint64(window[0]))
	le.PutUint64(b[16:], uint64(window[1]))
	intake.PutText(b[intake.Record:], reason)
	return b
}
