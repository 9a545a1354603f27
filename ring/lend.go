package ring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Take lends out the frame that Peek shows and moves peek on. Data stays valid
// and unchanged until the frame's cell is released; it is the ring's own memory
// unless Copied says otherwise. It returns the zero Frame when there is none at
// peek, or when that needs a copy and an Evict since Peek used up the limit.
func (r *Reader) Take(k Kind) Frame {
	c := r.class(k)
	if c == nil || r.closed || !r.find(c) {
		return Frame{}
	}
	f := c.head
	if f.Copied { // the frame's pages are hidden behind an evicted range
		var ok bool
		if f, ok = r.takeCopy(c); !ok {
			c.headOK = false // find decides again once there is room for a copy
		}
		return f
	}
	e := c.entry(c.headSeq)
	if f.Flags&FlagEOS != 0 {
		e.status = entryDone
		r.ended |= 1 << f.Stream
		r.passed(c)
		return f
	}
	f.Cell = r.newCell()
	e.status, e.cell, e.lent = entryLent, f.Cell, r.clock
	r.delivered(c, f)
	return f
}

// TakeCopy is Take with Data copied out of the ring, so that its space is free
// at once. It returns false, and leaves peek where it is, when there is no
// frame or when the copy would exceed the limit.
func (r *Reader) TakeCopy(k Kind) (Frame, bool) {
	c := r.class(k)
	if c == nil || r.closed || !r.find(c) {
		return Frame{}, false
	}
	if c.head.Flags&FlagEOS != 0 {
		return r.Take(k), true
	}
	f, ok := r.takeCopy(c)
	if ok {
		r.reclaim(c)
	}
	return f, ok
}

func (r *Reader) takeCopy(c *readClass) (Frame, bool) {
	f := c.head
	b := r.getCopy(len(f.Data))
	if b == nil {
		return Frame{}, false
	}
	e := c.entry(c.headSeq)
	if f.Copied {
		if err := r.readFile(c, b.mem[:len(f.Data)], e.offset); err != nil {
			r.putCopy(b)
			r.invalid(err)
			return Frame{}, false
		}
	} else {
		Copy(b.mem, f.Data)
	}
	b.class, b.length = c, int64(len(f.Data))
	f.Data, f.Copied = b.mem[:len(f.Data):len(f.Data)], true
	b.cell = r.newCell()
	f.Cell = b.cell
	r.copies = append(r.copies, b)
	e.status = entryDone
	r.delivered(c, f)
	r.countCopied(f.Stream, int64(len(f.Data)))
	return f, true
}

// readFile reads payload through the file, where the mapping shows something
// else.
func (r *Reader) readFile(c *readClass, into []byte, offset uint64) error {
	fd, at := r.file(c)
	at += int64(offset)
	for len(into) > 0 {
		n, err := unix.Pread(fd, into, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("read the segment at %d: %w", at, err)
		}
		into, at = into[n:], at+int64(n)
	}
	return nil
}

// newCell takes a free cell and marks it held. There is always one: see cellsFor.
func (r *Reader) newCell() *Cell {
	n := len(r.cells) - 1
	cell := r.cells[n]
	r.cells = r.cells[:n]
	cell.Held.Store(1)
	return cell
}

func (r *Reader) freeCell(cell *Cell) { r.cells = append(r.cells, cell) }

// delivered counts a frame that goes out and moves peek.
func (r *Reader) delivered(c *readClass, f Frame) {
	n := int64(len(f.Data))
	r.countStream(f.Stream, consSFrames, 1)
	r.countStream(f.Stream, consSBytes, n)
	c.held++
	c.heldBytes += n
	c.cons.a64(consHeld).Store(uint64(c.held))
	c.cons.a64(consHeldBytes).Store(uint64(c.heldBytes))
	if c.held > c.heldMost {
		c.heldMost = c.held
		c.cons.a64(consHeldMost).Store(uint64(c.heldMost))
	}
	if c.heldBytes > c.heldBytesMost {
		c.heldBytesMost = c.heldBytes
		c.cons.a64(consBytesMost).Store(uint64(c.heldBytesMost))
	}
	r.passed(c)
}

// passed forgets the head after its entry got its new status.
func (r *Reader) passed(c *readClass) {
	c.headOK, c.shown, c.head = false, false, Frame{}
	for c.next != c.scan && c.entry(c.next.seq()).status != entryPending {
		c.next = c.span.next(c.next, c.entry(c.next.seq()).extent)
	}
	c.cons.a64(consPeek).Store(uint64(c.next))
}

// back counts a frame that was released.
func (c *readClass) back(n int64) {
	c.held--
	c.heldBytes -= n
	c.cons.a64(consHeld).Store(uint64(c.held))
	c.cons.a64(consHeldBytes).Store(uint64(c.heldBytes))
}

// count adds to a counter in the consumer page, which has one writer.
func (r *Reader) count(off int, n int64) {
	w := r.b.cons.a64(off)
	w.Store(w.Load() + uint64(n))
}

func (r *Reader) countStream(stream uint16, off int, n int64) {
	r.count(consStreams+int(stream)*consStreamSize+off, n)
}

func (r *Reader) countCopied(stream uint16, n int64) {
	r.countStream(stream, consSCopied, 1)
	r.countStream(stream, consSCopiedB, n)
}
