package ring

import (
	"fmt"
	"sync/atomic"
)

// readClass is the consumer's view of one class's ring.
type readClass struct {
	classGeometry
	overlayOf
	kind  Kind
	mask  uint32
	table mem // slots, read-only
	arena mem // payload, read-only
	cons  mem // the class's part of the consumer page

	write        *atomic.Uint64
	spaceWaiters *atomic.Uint32
	readWord     *atomic.Uint64
	spaceSeq     *atomic.Uint32

	// read <= next <= scan <= write. Slots before read are the producer's;
	// [read, next) were delivered or skipped; [next, scan) were looked at.
	read, next, scan cursor
	end              cursor // the final write cursor, once Reader.final
	entries          []entry

	head    Frame // valid while headOK
	headSeq uint32
	headOK  bool
	shown   bool // the owner has seen head by Peek
	starved bool // the frame at peek needs a copy and the copy limit is reached

	obstacle obstacle // the claim that read waits for

	owed    bool   // read moved and a wake-up of writers was put off
	largest uint64 // granules of the largest extent seen, without a skipped tail

	held, heldMost, heldBytes, heldBytesMost int64
}

// entry is the private copy of a slot between scan and read.
type entry struct {
	status entryStatus
	stream uint16
	writer uint16
	format uint32
	extent uint64
	offset uint64
	length uint64
	lent   int64 // when, ns, as of the last time the owner looked around
	cell   *Cell
}

type entryStatus uint8

const (
	entryPending entryStatus = iota + 1 // claimed when looked at; not delivered yet
	entryLent                           // out, until its cell says otherwise
	entryDone                           // finished, skipped or copied
)

func newReadClass(b backing, i int) *readClass {
	g := b.g.classes[i]
	words := b.words[wordClasses+i*wordClassSize:]
	cons := b.cons[consClasses+i*consClassSize:][:consClassSize]
	c := &readClass{
		classGeometry: g, kind: kinds[i], mask: g.slots - 1,
		table: g.table(b.seg), arena: g.arena(b.seg), cons: cons,
		write:        words.a64(wordWrite),
		spaceWaiters: words.a32(wordSpaceWaiters),
		readWord:     cons.a64(consRead),
		spaceSeq:     cons.a32(consSpaceSeq),
		read:         g.start, next: g.start, scan: g.start,
		entries: make([]entry, g.slots),
	}
	return c
}

func (c *readClass) entry(seq uint32) *entry { return &c.entries[seq&c.mask] }

// state loads the state word of the slot a sequence number uses.
func (c *readClass) state(seq uint32) uint64 {
	// SYNC POINT commit, SYNC POINT tag: pairs with the writer's stores.
	return c.table.a64(int(seq&c.mask)*slotSize + slotState).Load()
}

// tagged tells whether a state word belongs to the claim numbered seq.
func tagged(word uint64, seq uint32) bool {
	st := word & 0xff
	return uint32(word>>posBits) == seq && st >= stateClaimed && st <= stateAborted
}

// used is the granules between read and a later cursor.
func (c *readClass) used(to cursor) uint64 { return c.dist(c.read.pos(), to.pos()) }

// plausible tells whether a write cursor can be true: it comes from memory that
// the producer writes.
func (c *readClass) plausible(w cursor) bool {
	return w.pos() < c.modulus &&
		seqDist(c.read.seq(), w.seq()) <= c.slots && c.used(w) <= c.capacity &&
		seqDist(c.read.seq(), w.seq()) >= seqDist(c.read.seq(), c.scan.seq()) && c.used(w) >= c.used(c.scan)
}

// Peek gives the next committed frame of the class without taking it; Data is
// the ring's memory, and not yet the frame's when Copied is set, because Take
// will then have to fetch it. It makes no system call. A frame is passed over while an
// earlier claim of its own stream is not committed, but not for one of another
// stream. false when there is none; then State and Drained tell whether there
// ever will be.
func (r *Reader) Peek(k Kind) (Frame, bool) {
	c := r.class(k)
	if c == nil || r.closed {
		return Frame{}, false
	}
	if !r.find(c) {
		// What an ended producer committed last was committed before it ended:
		// look again after noticing the end.
		was := r.final
		r.refresh()
		if was == r.final || !r.find(c) {
			return Frame{}, false
		}
	}
	c.shown = true
	return c.head, true
}

// find makes head the next frame to deliver.
func (r *Reader) find(c *readClass) bool {
	if c.headOK {
		return true
	}
	c.starved = false
	if s := r.State(); s == Invalid || s == Closed {
		return false
	}
	var blocked uint32 // streams with an earlier claim that is not committed
	for seq := c.next.seq(); ; seq = (seq + 1) & seqMask {
		if seq == c.scan.seq() {
			ok, err := r.look(c)
			if err != nil {
				r.invalid(err)
			}
			if !ok || err != nil {
				return false
			}
		}
		e := c.entry(seq)
		if e.status == entryPending {
			ready, err := r.settle(c, seq, e, &blocked)
			if err != nil {
				r.invalid(fmt.Errorf("%s slot %d of writer %d: %w", c.kind, seq, e.writer, err))
				return false
			}
			if ready {
				return !c.starved
			}
		}
		if e.status != entryPending && seq == c.next.seq() {
			c.next = c.span.next(c.next, e.extent)
			c.cons.a64(consPeek).Store(uint64(c.next))
		}
	}
}

// settle decides about a claim that was not delivered yet. ready means that the
// search ends here: head is set, or the frame has to wait for copy space.
func (r *Reader) settle(c *readClass, seq uint32, e *entry, blocked *uint32) (ready bool, err error) {
	bit := uint32(1) << e.stream
	word := c.state(seq)
	if !tagged(word, seq) || uint16(word>>8) != e.writer {
		return false, fmt.Errorf("the state changed to %#x under a claim", word)
	}
	switch word & 0xff {
	case stateAborted:
		e.status = entryDone
		return false, nil
	case stateClaimed:
		if r.final {
			r.abandon(e)
			return false, nil
		}
		*blocked |= bit
		return false, nil
	}
	if *blocked&bit != 0 {
		return false, nil
	}
	if r.ended&bit != 0 {
		r.abandon(e) // claimed by another thread while the stream was being ended
		return false, nil
	}
	f, err := r.readFrame(c, seq, e)
	if err != nil {
		return false, err
	}
	if r.overlapsEvicted(c, e.offset, e.length) {
		f.Copied = true
		if !r.copyRoom(int(e.length)) {
			c.starved = true
			return true, nil
		}
	}
	c.head, c.headSeq, c.headOK, c.shown = f, seq, true, false
	return true, nil
}

// abandon skips a claim that was not, or may no longer be, committed.
func (r *Reader) abandon(e *entry) {
	e.status = entryDone
	r.count(consAbandoned, 1)
	r.countStream(e.stream, consSAbandoned, 1)
}

// look moves scan over the next slot, if that was tagged. With a final write
// cursor it skips what was claimed but never tagged.
func (r *Reader) look(c *readClass) (bool, error) {
	seq := c.scan.seq()
	if r.final && seq == c.end.seq() {
		if c.scan != c.end {
			return false, fmt.Errorf("the %s write cursor ended at %#x, the last claim before it at %#x", c.kind, uint64(c.end), uint64(c.scan))
		}
		return false, nil
	}
	word := c.state(seq)
	if !tagged(word, seq) {
		if !r.final {
			return false, nil
		}
		return true, r.skipUntagged(c)
	}
	e, err := r.readClaim(c, c.scan, word)
	if err != nil {
		return false, fmt.Errorf("%s slot %d: %w", c.kind, seq, err)
	}
	if next := c.span.next(c.scan, e.extent); !r.final || c.between(next) {
		*c.entry(seq) = e
		c.scan = next
		return true, nil
	}
	return false, fmt.Errorf("%s slot %d reaches beyond the last write cursor", c.kind, seq)
}

// skipUntagged passes over claims whose writer died between the
// compare-and-swap and the tag. Their extents are unknown one by one but not
// together: the next tagged slot says where it begins, or the end does.
func (r *Reader) skipUntagged(c *readClass) error {
	to := c.end
	for seq := (c.scan.seq() + 1) & seqMask; seq != c.end.seq(); seq = (seq + 1) & seqMask {
		if word := c.state(seq); tagged(word, seq) {
			to = cursor(c.table.u64(int(seq&c.mask)*slotSize + slotClaim))
			if to.seq() != seq || !c.between(to) {
				return fmt.Errorf("%s slot %d claims the cursor %#x", c.kind, seq, uint64(to))
			}
			break
		}
	}
	n := seqDist(c.scan.seq(), to.seq())
	extent := c.dist(c.scan.pos(), to.pos())
	for i := range n {
		*c.entry(c.scan.seq() + i) = entry{status: entryDone}
	}
	c.entry(to.seq() - 1).extent = extent
	r.count(consAbandoned, int64(n))
	c.scan = to
	return nil
}

// between tells whether a cursor lies after scan and not after end.
func (c *readClass) between(x cursor) bool {
	return x.pos() < c.modulus && c.used(x) >= c.used(c.scan) && c.used(x) <= c.used(c.end)
}
