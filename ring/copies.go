package ring

// copyBuf is a pooled buffer outside the Go heap: GStreamer keeps its address.
type copyBuf struct {
	mem    mem
	cell   *Cell
	class  *readClass
	length int64
}

// copyRoom tells whether n more bytes of copies may be alive.
func (r *Reader) copyRoom(n int) bool {
	return r.alive+int64(roundUp(n, pageSize)) <= r.copyLimit && len(r.copies) < copiesPerReader
}

// getCopy gives a buffer of at least n bytes, nil when the limit is reached.
// Spare buffers are used again when they fit without wasting more than half;
// otherwise they go, so that mapped buffers never exceed the limit.
func (r *Reader) getCopy(n int) *copyBuf {
	if !r.copyRoom(n) {
		return nil
	}
	size := roundUp(n, pageSize)
	for i, b := range r.spare {
		if len(b.mem) >= size && len(b.mem) <= 2*size && r.alive+int64(len(b.mem)) <= r.copyLimit {
			last := len(r.spare) - 1
			r.spare[i] = r.spare[last]
			r.spare = r.spare[:last]
			r.setAlive(r.alive + int64(len(b.mem)))
			return b
		}
	}
	r.trimSpare(r.copyLimit - r.alive - int64(size))
	m, err := mapAnon(size)
	if err != nil {
		r.log.Warn("ring: no memory for a copy", "bytes", size, "error", err)
		return nil
	}
	r.setAlive(r.alive + int64(size))
	return &copyBuf{mem: m}
}

// putCopy takes a buffer back.
func (r *Reader) putCopy(b *copyBuf) {
	r.setAlive(r.alive - int64(len(b.mem)))
	b.cell, b.class = nil, nil
	r.spare = append(r.spare, b)
}

// spareBuffers bounds the buffers kept for later: a burst of copies should not
// hold its memory for the rest of a long recording.
const spareBuffers = 8

// trimSpare unmaps spare buffers until at most room bytes are left in them.
func (r *Reader) trimSpare(room int64) {
	kept := int64(0)
	keep := r.spare[:0]
	for _, b := range r.spare {
		if n := int64(len(b.mem)); kept+n <= room && len(keep) < spareBuffers {
			kept += n
			keep = append(keep, b)
			continue
		}
		_ = b.mem.unmap()
	}
	clear(r.spare[len(keep):])
	r.spare = keep
}

// reclaimCopies takes back the buffers whose frames are released.
func (r *Reader) reclaimCopies() (progress bool) {
	out := r.copies[:0]
	for _, b := range r.copies {
		if b.cell.Held.Load() != 0 { // SYNC POINT release
			out = append(out, b)
			continue
		}
		b.class.back(b.length)
		r.freeCell(b.cell)
		r.putCopy(b)
		progress = true
	}
	clear(r.copies[len(out):])
	r.copies = out
	if progress && len(r.spare) > spareBuffers {
		r.trimSpare(r.copyLimit)
	}
	return progress
}

func (r *Reader) setAlive(n int64) {
	r.alive = n
	r.b.cons.a64(consCopies).Store(uint64(n))
}

// Held counts the class's frames that are lent out now, as copies too, and gives
// the bytes of the largest frame seen with its share of alignment.
func (r *Reader) Held(k Kind) (frames, largest int64) {
	c := r.class(k)
	if c == nil {
		return 0, 0
	}
	return c.held, int64(c.largest) * granule
}

// Tight tells that a class's ring has no room left for two of the largest
// frames seen: soon its writers wait, or drop.
func (r *Reader) Tight(k Kind) bool {
	c := r.class(k)
	return c != nil && !c.roomForTwo(c.read)
}

// CopiesOut tells whether copies of the class's frames, or evicted frames, are
// still in use.
func (r *Reader) CopiesOut(k Kind) bool {
	c := r.class(k)
	for _, b := range r.copies {
		if b.class == c {
			return true
		}
	}
	for _, v := range r.evicted {
		if v.class == c {
			return true
		}
	}
	return false
}
