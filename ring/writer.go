package ring

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Writer is one goroutine's way into the ring. Its methods must not be called
// at the same time; different writers never wait for each other.
type Writer struct {
	p      *Producer
	at     *attachment // the one it has its entry in
	index  int
	entry  mem
	frames uint64 // claimed so far
	open   int    // slots not finished; they lie in at
	spins  int
	closed bool
}

// Slot is claimed space. Write Data, then Commit or Abort, once. A slot belongs
// to its writer's goroutine until then, and others keep claiming meanwhile; but
// the consumer's read cursor cannot pass it, so do not sit on it.
type Slot struct {
	Data   []byte // n bytes to write; nothing is zeroed, old content may be there
	w      *Writer
	table  mem // the descriptor
	seq    uint32
	stream uint16
}

// Claim reserves n bytes for a frame of the stream in a format published by
// SetVideo or SetAudio. With [Drop] it returns ErrFull at once when there is no
// room, with [Block] after the deadline; either way the frame is counted as
// dropped. ErrStopped, ErrGone and ErrEnded say that nothing will be taken any
// more; [AttachOptions] has what becomes of the first two with Reattach. The consumer's state is looked at once a call; it makes no system call
// unless it has to wait.
func (w *Writer) Claim(stream int, format uint32, n int, policy Policy) (Slot, error) {
	p := w.p
	if w.closed || p.closed.Load() {
		return Slot{}, ErrClosed
	}
	if stream < 0 || stream >= len(p.streams) {
		return Slot{}, fmt.Errorf("ring: stream %d of %d", stream, len(p.streams))
	}
	if p.ended[stream].Load() {
		return Slot{}, ErrEnded
	}
	if n < 1 || n > p.streams[stream].MaxFrame {
		return Slot{}, fmt.Errorf("ring: a frame of %d bytes in stream %q; it declared 1 to %d", n, p.streams[stream].Name, p.streams[stream].MaxFrame)
	}
	if format < 1 || format > maxFormats {
		return Slot{}, fmt.Errorf("ring: format %d was not published", format)
	}
	f := p.formats[format-1].Load()
	if f == nil || f.stream != uint16(stream) {
		return Slot{}, fmt.Errorf("ring: format %d was not published for stream %q", format, p.streams[stream].Name)
	}
	if err := f.fits(n); err != nil {
		return Slot{}, fmt.Errorf("ring: stream %q: %w", p.streams[stream].Name, err)
	}
	return w.reserve(stream, format, n, policy, false)
}

// reserve is Claim after its checks. ending lets an end of stream through to a
// consumer that takes nothing new. With Reattach it goes on in the next
// attachment when this one is over.
func (w *Writer) reserve(stream int, format uint32, n int, policy Policy, ending bool) (Slot, error) {
	if !w.p.options.Reattach {
		return w.attempt(stream, format, n, policy, ending)
	}
	deadline := int64(0)
	if policy.limit > 0 {
		deadline = Now() + int64(policy.limit)
	}
	for {
		s, err := w.attempt(stream, format, n, policy, ending)
		if !errors.Is(err, ErrGone) && err != ErrStopped || w.open > 0 {
			return s, err // a slot that is open keeps the writer where it is: see follow
		}
		if err := w.p.await(w.at, policy, ending); err != nil {
			return Slot{}, err
		}
		if deadline > 0 {
			policy.limit = max(time.Duration(deadline-Now()), 1)
		}
	}
}

// attempt claims in the producer's current attachment.
func (w *Writer) attempt(stream int, format uint32, n int, policy Policy, ending bool) (Slot, error) {
	if cur := w.p.at.Load(); w.at != cur {
		if err := w.follow(cur); err != nil {
			return Slot{}, err
		}
	}
	return w.claimIn(stream, format, n, policy, ending)
}

// claimIn claims in the attachment the writer is bound to.
func (w *Writer) claimIn(stream int, format uint32, n int, policy Policy, ending bool) (Slot, error) {
	if err := w.at.alive(); err != nil && !(ending && err == ErrStopped) {
		return Slot{}, err
	}
	i, _ := w.p.streams[stream].Kind.class()
	c := &w.at.classes[i]
	at, extent, offset, ok := w.advance(c, i, n)
	if !ok {
		var err error
		at, extent, offset, err = w.whenFull(c, i, stream, n, policy, ending)
		if err != nil {
			return Slot{}, err
		}
	}
	s := c.table[int(at.seq()&(c.slots-1))*slotSize:][:slotSize]
	s.put64(slotClaim, uint64(at))
	s.put64(slotExtent, extent)
	s.put64(slotOffset, offset)
	s.put64(slotLength, uint64(n))
	s.put16(slotStream, uint16(stream))
	s[slotKind] = byte(kinds[i])
	s.put32(slotFormat, format)
	fault(faultFilled)
	s.a64(slotState).Store(w.word(at.seq(), stateClaimed)) // SYNC POINT tag
	fault(faultTagged)
	w.entry.a64(writerIntent + 8*i).Store(intentNone)
	fault(faultClaimed)
	s.put64(slotIndex, w.frames)
	w.frames++
	w.open++
	return Slot{Data: c.arena[offset : offset+uint64(n) : offset+uint64(n)], w: w, table: s, seq: at.seq(), stream: uint16(stream)}, nil
}

// follow moves the writer to a new attachment. Its slots lie in the old one, whose
// memory stays while the writer has an entry there.
func (w *Writer) follow(cur *attachment) error {
	if w.open > 0 {
		return fmt.Errorf("%w: there is another ring; commit or abort this writer's slots of the last one first", ErrGone)
	}
	old, entry := w.at, w.entry
	if err := w.bind(cur); err != nil {
		return err
	}
	entry.a32(writerState).Store(writerFree)
	w.p.lost.Add(old.release())
	return nil
}

func (w *Writer) word(seq uint32, state uint64) uint64 {
	return uint64(seq)<<posBits | uint64(w.index)<<8 | state
}

// advance moves the write cursor over n bytes if they fit.
func (w *Writer) advance(c *writeClass, class, n int) (at cursor, extent, offset uint64, ok bool) {
	intent := w.entry.a64(writerIntent + 8*class)
	for {
		at = cursor(c.write.Load())
		read := cursor(c.read.Load()) // SYNC POINT space
		slots, used := seqDist(read.seq(), at.seq()), c.dist(read.pos(), at.pos())
		extent, offset = c.place(at.pos(), uint64(n))
		if slots >= c.slots || used+extent > c.capacity {
			if cursor(c.write.Load()) != at {
				continue // read had passed the cursor we loaded
			}
			intent.Store(intentNone)
			return at, 0, 0, false
		}
		// The intent is visible before the cursor moves, so that a consumer whose
		// ring stands still can name the writer it waits for.
		fault(faultRoom)
		intent.Store(uint64(at)) // SYNC POINT intent
		fault(faultIntent)
		if c.write.CompareAndSwap(uint64(at), uint64(c.span.next(at, extent))) {
			fault(faultMoved)
			return at, extent, offset, true
		}
		w.add(writerRetries, 1)
	}
}

// whenFull follows the policy when there is no room.
func (w *Writer) whenFull(c *writeClass, class, stream, n int, policy Policy, ending bool) (at cursor, extent, offset uint64, err error) {
	w.tellFull()
	if !policy.block {
		// The consumer may have died or stopped long ago: alive said no by its
		// state word and watcher, both looked at a moment ago.
		w.dropped(stream, ending)
		return 0, 0, 0, ErrFull
	}
	start := Now()
	defer func() { w.blocked(stream, Now()-start) }()
	for {
		if at, extent, offset, ok := w.spin(c, class, n); ok {
			return at, extent, offset, nil
		}
		left := waitSlice
		if policy.limit > 0 {
			left = policy.limit - time.Duration(Now()-start)
		}
		if left <= 0 {
			w.dropped(stream, ending)
			return 0, 0, 0, ErrFull
		}
		if at, extent, offset, ok := w.sleep(c, class, n, left); ok {
			return at, extent, offset, nil
		}
		if err := w.at.alive(); err != nil && !(ending && err == ErrStopped) {
			return 0, 0, 0, err
		}
	}
}

// tellFull wakes a consumer that sleeps without wanting releases: see Wait.
func (w *Writer) tellFull() {
	w.at.wake(wordFullWaiters)
}

// spin tries again for a moment before sleeping, when that paid lately.
func (w *Writer) spin(c *writeClass, class, n int) (at cursor, extent, offset uint64, ok bool) {
	read := c.read.Load()
	for range w.spins {
		if now := c.read.Load(); now != read {
			if at, extent, offset, ok = w.advance(c, class, n); ok {
				w.spins = min(w.spins*2, spinMost)
				return at, extent, offset, true
			}
			read = now
		}
	}
	w.spins /= 2
	return 0, 0, 0, false
}

// sleep waits for the consumer to move read, one slice.
func (w *Writer) sleep(c *writeClass, class, n int, left time.Duration) (at cursor, extent, offset uint64, ok bool) {
	c.spaceWaiters.Add(1) // SYNC POINT space: the word first, then another look
	fault(faultWaiting)
	defer c.spaceWaiters.Add(^uint32(0))
	key := c.spaceSeq.Load()
	if at, extent, offset, ok = w.advance(c, class, n); ok {
		return at, extent, offset, true
	}
	w.tellFull()
	if w.at.alive() != nil {
		return 0, 0, 0, false
	}
	start := Now()
	futexWait(c.spaceSeq, key, min(left, goneAfter))
	fault(faultWoken)
	if Now()-start < int64(spinWorth) {
		w.spins = max(w.spins, 64)
		runtime.Gosched()
	}
	return w.advance(c, class, n)
}

// dropped counts a frame that found no room.
func (w *Writer) dropped(stream int, ending bool) {
	if ending {
		return // an end of stream is no frame
	}
	w.add(writerFull, 1)
	w.at.seg.a64(streamsOff + stream*streamSize + streamFull).Add(1)
}

func (w *Writer) blocked(stream int, ns int64) {
	w.add(writerBlocked, ns)
	w.at.seg.a64(streamsOff + stream*streamSize + streamBlocked).Add(uint64(ns))
}

// DropByPolicy counts a frame that the producer left out of its own will, such
// as one skipped to keep to the advised frame rate.
func (w *Writer) DropByPolicy(stream int) {
	if w.closed || stream < 0 || stream >= len(w.p.streams) {
		return
	}
	w.add(writerPolicy, 1)
	w.at.seg.a64(streamsOff + stream*streamSize + streamPolicy).Add(1)
}

// add counts in the writer's own entry, which has one writer.
func (w *Writer) add(off int, n int64) {
	c := w.entry.a64(off)
	c.Store(c.Load() + uint64(n))
}

// Close gives the entry of the writer table back. A claimed slot must be
// committed or aborted before.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.entry.a32(writerState).Store(writerFree)
	w.p.lost.Add(w.at.release())
	return nil
}

// Commit publishes the frame: the consumer sees it with everything written to
// Data. pts is when the content was captured, ns of CLOCK_MONOTONIC (see Now);
// duration is ns, 0 when unknown. It wakes the consumer if that sleeps, and
// makes no system call otherwise. A second Commit or Abort does nothing.
func (s *Slot) Commit(pts, duration int64, flags Flags) {
	w := s.w
	if w == nil {
		return
	}
	s.w = nil
	w.open--
	if fresh := &w.p.fresh[s.stream]; fresh.Load() && flags&FlagEOS == 0 && w.at == w.p.at.Load() && fresh.Swap(false) {
		flags |= FlagDiscont // whatever was before it is in another ring, or lost
	}
	s.table.put64(slotPTS, uint64(pts))
	s.table.put64(slotDuration, uint64(duration))
	s.table.put32(slotFlags, uint32(flags))
	fault(faultStamped)
	s.table.a64(slotState).Store(w.word(s.seq, stateCommitted)) // SYNC POINT commit, SYNC POINT wake
	fault(faultCommitted)
	w.add(writerFrames, 1)
	w.add(writerBytes, int64(len(s.Data)))
	s.Data = nil
	w.wakeConsumer()
}

// wakeConsumer follows every change of a slot's state. The store before it is
// seq_cst, so that either the waiter is seen here or Wait sees the new state.
func (w *Writer) wakeConsumer() {
	w.at.wake(wordDataWaiters)
}

// Abort gives the space back; the consumer never sees the frame.
func (s *Slot) Abort() {
	w := s.w
	if w == nil {
		return
	}
	s.w, s.Data = nil, nil
	w.open--
	fault(faultAborting)
	s.table.a64(slotState).Store(w.word(s.seq, stateAborted)) // SYNC POINT commit
	fault(faultAborted)
	w.add(writerAborted, 1)
	w.wakeConsumer()
}

// goneAfter bounds how long a writer sleeps before it looks again whether the
// consumer lives: its watcher does so at once, this is for what it misses.
const goneAfter = 100 * time.Millisecond
