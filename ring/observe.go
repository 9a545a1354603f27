package ring

import (
	"fmt"
	"sync/atomic"
)

// Observer reads the frames of one attachment beside its consumer, through
// mappings it cannot write: neither side can notice it, nor be slowed down or
// corrupted by it. Nobody waits for it either, so frames can be overwritten
// before it copied them; those are counted by Missed and never given out torn.
//
// What an observer copies stays whole until the write cursor is a full lap
// ahead: every claim moves the cursor before it touches a slot or a payload. So
// it copies first and looks at the cursor then, and a frame that was released
// long ago can still be had.
//
// An Observer belongs to one goroutine.
type Observer struct {
	g         *geometry
	seg, cons mem
	streams   []Stream
	classes   [classCount]*observedClass
	formats   [maxFormats]*streamFormat
	over      bool // State said so
	fence     atomic.Uint32
}

// observedClass is one class's ring as an observer follows it.
type observedClass struct {
	classGeometry
	kind  Kind
	table mem
	arena mem
	write *atomic.Uint64

	next   uint32 // sequence number of the first claim that Next did not decide about
	done   []bool // by slot: claims behind next that Next has given out or passed
	missed int64
}

// Observe gives an Observer for each attachment at an address, in the order of
// their epochs; none while a live consumer waits for its producer. Each has to be
// closed. The frames of a dead consumer's ring can still be looked at, too.
func Observe(addr string) ([]*Observer, error) {
	v, err := lookAt(addr)
	if err != nil {
		return nil, err
	}
	var list []*Observer
	for _, p := range v.pairs {
		state := uint32(consWaiting)
		if p.err == nil {
			state = p.cons.a32(consState).Load()
		}
		if state == consWaiting || state == consRefused {
			p.unmap()
			continue
		}
		list = append(list, newObserver(p.g, p.seg, p.cons))
	}
	return list, nil
}

func newObserver(g *geometry, seg, cons mem) *Observer {
	o := &Observer{g: g, seg: seg, cons: cons}
	inUse := [classCount]bool{}
	for i := range min(int(cons.a32(consStreamCount).Load()), maxStreams) {
		at := consStreams + i*consStreamSize
		s := Stream{ID: uint16(i), StreamSpec: StreamSpec{
			Name: cons.text(at+consSName, streamNameSize), Kind: Kind(cons.u32(at + consSKind)),
			MaxFrame: int(min(cons.u64(at+consSMaxFrame), maxArenaBytes)),
		}}
		o.streams = append(o.streams, s)
		if c, ok := s.Kind.class(); ok {
			inUse[c] = true
		}
	}
	for c := range g.classes {
		cg := g.classes[c]
		if !cg.used() || !inUse[c] {
			continue
		}
		words := seg[wordsOff+wordClasses+c*wordClassSize:]
		oc := &observedClass{
			classGeometry: cg, kind: kinds[c], table: cg.table(seg), arena: cg.arena(seg),
			write: words.a64(wordWrite), done: make([]bool, cg.slots),
		}
		oc.next = cursor(oc.write.Load()).seq()
		o.classes[c] = oc
	}
	return o
}

// Close gives the mappings back.
func (o *Observer) Close() {
	_ = o.seg.unmap()
	_ = o.cons.unmap()
	o.seg, o.cons, o.classes = nil, nil, [classCount]*observedClass{}
}

// Streams lists what the producer declared.
func (o *Observer) Streams() []Stream { return append([]Stream(nil), o.streams...) }

// Stats gives the counters.
func (o *Observer) Stats() Stats { return readStats(o.g, o.seg, o.cons) }

// RingID names the attachment: no two have the same.
func (o *Observer) RingID() uint64 { return o.g.ringID }

// Missed counts the claims of a class that Next never saw, because they were
// overwritten before it came to them.
func (o *Observer) Missed(k Kind) int64 {
	if c := o.class(k); c != nil {
		return c.missed
	}
	return 0
}

func (o *Observer) class(k Kind) *observedClass {
	if c, ok := k.class(); ok {
		return o.classes[c]
	}
	return nil
}

// State tells how the consumer sees the attachment. An error says why it is over
// when that is not the producer's own wish. What was committed before can still
// be read.
func (o *Observer) State() (State, error) {
	s, err := o.state()
	o.over = s != Live
	return s, err
}

func (o *Observer) state() (State, error) {
	reason := func() error { return fmt.Errorf("ring: %s", o.cons.text(consReason, consReasonSize)) }
	switch s := State(min(o.cons.a32(consReaderState).Load(), 0xff)); {
	case s == Dead:
		return s, fmt.Errorf("ring: the producer died")
	case s == Invalid, s > Closed:
		return s, reason()
	case s != Live:
		return s, nil
	case o.cons.a32(consState).Load() == consClosed:
		return Closed, nil
	case !processIs(int(o.cons.u32(consPID)), o.cons.u64(consBoot)):
		return Closed, fmt.Errorf("ring: the consumer died")
	}
	return Live, nil
}

// Format gives a format by the stream and id its frames carry.
func (o *Observer) Format(stream uint16, id uint32) (Format, bool) {
	f := o.format(stream, id)
	if f == nil {
		return Format{}, false
	}
	return f.Format, true
}

func (o *Observer) format(stream uint16, id uint32) *streamFormat {
	if id == 0 || id > maxFormats {
		return nil
	}
	f := o.formats[id-1]
	if f == nil {
		m := o.seg[formatsOff+int(id-1)*formatSize:][:formatSize]
		if m.a32(formatState).Load() != formatPublished { // SYNC POINT format
			return nil
		}
		private := make(mem, formatSize)
		copy(private[4:], m[4:])
		var err error
		if f, err = parseFormat(private, id); err != nil {
			return nil
		}
		o.formats[id-1] = f
	}
	if f.stream != stream {
		return nil
	}
	return f
}

// observeTries bounds how often an Observer starts again in one call because
// what it looked at was overwritten: it would have to be a lap behind each time.
const observeTries = 16

// Next copies the next frame of a class that was committed since the Observer
// was made, into buf or, when that is too small, a larger one that the frame's
// Data then is in. It gives false when there is none now. Frames of one stream
// come in their order, and claims that are not committed are passed over as the
// consumer does; once State has said that the attachment is over, for good.
func (o *Observer) Next(k Kind, buf []byte) (Frame, bool) {
	c := o.class(k)
	if c == nil {
		return Frame{}, false
	}
	for range observeTries {
		f, found, lost := o.scan(c, buf)
		if !lost {
			return f, found
		}
		o.jump(c)
	}
	return Frame{}, false
}

// scan looks through the claims once. lost says that they were overwritten
// meanwhile.
func (o *Observer) scan(c *observedClass, buf []byte) (f Frame, found, lost bool) {
	w := cursor(c.write.Load())
	if seqDist(c.next, w.seq()) > c.slots {
		return f, false, true
	}
	var blocked uint32 // streams with an earlier claim that is not committed
	for seq := c.next; seq != w.seq(); seq = (seq + 1) & seqMask {
		if *c.slotDone(seq) {
			continue
		}
		s, state := o.slot(c, seq)
		switch {
		case state == slotUntagged && !o.over:
			return f, false, false
		case state == slotUntagged: // never to be tagged: its writer died
		case state == slotNonsense:
			c.missed++
		case !o.intact(c, s.at):
			return f, false, true
		case state == slotClaimed && o.over || state == slotAborted:
		case state == slotClaimed || blocked&(1<<s.stream) != 0:
			blocked |= 1 << s.stream
			continue
		default:
			if f, found = o.copy(c, seq, s, buf); !found {
				return f, false, true
			}
		}
		*c.slotDone(seq) = true
		if c.pass(); found {
			return f, true, false
		}
	}
	return f, false, false
}

func (c *observedClass) slotDone(seq uint32) *bool { return &c.done[seq&(c.slots-1)] }

// pass moves next over what is decided.
func (c *observedClass) pass() {
	for d := c.slotDone(c.next); *d; d = c.slotDone(c.next) {
		*d = false
		c.next = (c.next + 1) & seqMask
	}
}

// jump goes on at the middle of what is still there: at its oldest, the next
// claim would overwrite it again.
func (o *Observer) jump(c *observedClass) {
	w := cursor(c.write.Load())
	to := w.seq()
	for n := range min(c.slots/2, seqDist(c.next, w.seq())) {
		seq := (w.seq() - 1 - n) & seqMask
		s, state := o.slot(c, seq)
		if state == slotUntagged || state == slotNonsense || c.dist(s.at.pos(), w.pos()) > c.capacity/2 {
			break
		}
		to = seq
	}
	n := seqDist(c.next, to)
	c.missed += int64(n)
	for range min(n, c.slots) { // a lap has decided about all slots
		if d := c.slotDone(c.next); *d {
			*d = false
			c.missed--
		}
		c.next = (c.next + 1) & seqMask
	}
	c.next = to
	c.pass()
}

// Latest copies the newest committed frame of a stream, as Next does. It may have
// been released long ago. It gives false when there is none.
func (o *Observer) Latest(stream uint16, buf []byte) (Frame, bool) {
	if int(stream) >= len(o.streams) {
		return Frame{}, false
	}
	c := o.class(o.streams[stream].Kind)
	if c == nil {
		return Frame{}, false
	}
	for range observeTries {
		seq, s, ok := o.newest(c, stream)
		if !ok {
			return Frame{}, false
		}
		if f, ok := o.copy(c, seq, s, buf); ok {
			return f, true
		}
	}
	return Frame{}, false
}

// newest finds the newest committed frame of a stream that is still whole.
func (o *Observer) newest(c *observedClass, stream uint16) (uint32, slotCopy, bool) {
	w := cursor(c.write.Load())
	for n := range c.slots {
		seq := (w.seq() - 1 - n) & seqMask
		s, state := o.slot(c, seq)
		if state == slotUntagged || state == slotNonsense {
			continue
		}
		if !o.intact(c, s.at) {
			break // and so is everything older
		}
		if state == slotCommitted && s.stream == stream && s.flags&FlagEOS == 0 {
			return seq, s, true
		}
	}
	return 0, slotCopy{}, false
}

// copy copies a frame with its payload; false when that was overwritten
// meanwhile.
func (o *Observer) copy(c *observedClass, seq uint32, s slotCopy, buf []byte) (Frame, bool) {
	n := int(s.length)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	copy(buf[:n], c.arena[s.offset:])
	return Frame{
		Stream: s.stream, Kind: c.kind, Seq: seq, FormatID: s.format, PTS: s.pts, Duration: s.duration,
		Flags: s.flags, Data: buf[:n:n], Copied: true,
	}, o.intact(c, s.at)
}

// intact tells whether all that was read so far of the claim at a cursor was
// read before a later claim could overwrite it.
func (o *Observer) intact(c *observedClass, at cursor) bool {
	// The reads before must be done before the cursor is looked at: an atomic
	// load does not hold back what stands before it, a read-modify-write does.
	o.fence.Add(1)
	w := cursor(c.write.Load())
	return w.pos() < c.modulus && c.dist(at.pos(), w.pos()) <= c.capacity && seqDist(at.seq(), w.seq()) <= c.slots
}
