package ring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// evictedRange is a part of the payload mapping that shows private memory: a
// frame that is still lent out although the ring has taken its space back.
type evictedRange struct {
	class  *readClass
	offset uint64 // bytes from the start of the arena, page-aligned
	size   uint64 // bytes, whole pages
	length int64  // bytes of the frame
	cell   *Cell
}

// Evict frees ring space that lent frames pin, without touching the frames: each
// is copied to private memory, which is then moved over the frame's pages in
// this process's mapping. Whoever holds the frame keeps its pointer and sees
// the same bytes; read passes it and the producer may write there again.
//
// It works from the oldest lent frame on and stops when two of the largest
// frames seen fit, when nothing lent is in the way any more, or at the copy
// limit. It does nothing for audio, whose frames share pages: take copies of
// those. Returned are the frames and bytes evicted now.
//
// This is for a consumer that found its encoder to look further ahead than the
// ring is long; copying newer frames cannot help then, because read is a prefix.
func (r *Reader) Evict(k Kind) (frames int, bytes int64) {
	c := r.class(k)
	if c == nil || r.closed || r.b.fd < 0 || c.align*granule%pageSize != 0 {
		return 0, 0
	}
	r.reclaim(c)
	at := c.read
	for at != c.next && !c.roomForTwo(at) {
		e := c.entry(at.seq())
		if e.status == entryPending {
			break
		}
		if e.status == entryLent && e.cell.Held.Load() != 0 { // SYNC POINT release
			if err := r.evict(c, e); err != nil {
				r.log.Warn("ring: cannot evict", "error", err)
				break
			}
			frames++
			bytes += int64(e.length)
		}
		at = c.span.next(at, e.extent)
	}
	if frames > 0 {
		n := c.cons.a64(consEvicted)
		n.Store(n.Load() + uint64(frames))
		n = c.cons.a64(consEvictedB)
		n.Store(n.Load() + uint64(bytes))
	}
	r.reclaim(c)
	return frames, bytes
}

// roomForTwo tells whether two of the largest frames could be claimed if read
// stood at the given cursor.
func (c *readClass) roomForTwo(at cursor) bool {
	w := cursor(c.write.Load())
	used, slots := c.dist(at.pos(), w.pos()), seqDist(at.seq(), w.seq())
	pos, need := w.pos()%c.modulus, uint64(0)
	for range 2 {
		extent, _ := c.place(pos, c.largest*granule)
		need += extent
		pos = (pos + extent) % c.modulus
	}
	return used+need <= c.capacity && slots+2 <= c.slots
}

// evict moves one lent frame out of the ring. Its entry is done afterwards.
func (r *Reader) evict(c *readClass, e *entry) error {
	size := roundUp(int(e.length), pageSize)
	if !r.copyRoom(size) {
		return fmt.Errorf("the copy limit of %d bytes is reached", r.copyLimit)
	}
	if len(r.evicted) >= int(c.slots) {
		return fmt.Errorf("%d frames are evicted already", len(r.evicted))
	}
	r.trimSpare(r.copyLimit - r.alive - int64(size))
	private, err := mapAnon(size)
	if err != nil {
		return err
	}
	populate(private, unix.MADV_POPULATE_WRITE) // one call instead of a fault a page
	page := c.arena[e.offset:][:size]
	Copy(private, page[:e.length])
	if err := unix.Mprotect(private, unix.PROT_READ); err != nil {
		_ = private.unmap()
		return fmt.Errorf("protect a copy: %w", err)
	}
	// The kernel swaps the pages with the address space locked: another thread
	// that reads the frame sees the old page, waits in a fault, or sees the new
	// page, and both hold the same bytes.
	_, err = unix.MremapPtr(private.base(), uintptr(size), page.base(), uintptr(size), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED)
	if err != nil {
		_ = private.unmap()
		return fmt.Errorf("move a copy over its frame: %w", err)
	}
	r.evicted = append(r.evicted, evictedRange{class: c, offset: e.offset, size: uint64(size), length: int64(e.length), cell: e.cell})
	r.setAlive(r.alive + int64(size))
	r.countCopied(e.stream, int64(e.length))
	e.status, e.cell = entryDone, nil
	return nil
}

// overlapsEvicted tells whether a frame's place in the mapping shows, in part,
// the private copy of an older frame. Such a frame is read through the file.
func (r *Reader) overlapsEvicted(c *readClass, offset, length uint64) bool {
	for _, v := range r.evicted {
		if v.class == c && offset < v.offset+v.size && v.offset < offset+length {
			return true
		}
	}
	return false
}

// restore maps the segment back where evicted frames were released.
func (r *Reader) restore() (progress bool) {
	left := r.evicted[:0]
	for _, v := range r.evicted {
		if v.cell.Held.Load() != 0 || !r.mapBack(v) { // SYNC POINT release
			left = append(left, v)
			continue
		}
		v.class.back(v.length)
		r.freeCell(v.cell)
		r.setAlive(r.alive - int64(v.size))
		progress = true
	}
	clear(r.evicted[len(left):])
	r.evicted = left
	return progress
}

// mapBack puts the segment's pages in their place again. When the kernel
// refuses, the range stays private and is tried again at the next Reclaim.
func (r *Reader) mapBack(v evictedRange) bool {
	page := v.class.arena[v.offset:][:v.size]
	fd, off := r.file(v.class)
	if err := page.overlayFile(fd, off+int64(v.offset), unix.PROT_READ); err != nil {
		r.log.Warn("ring: cannot map an evicted frame's pages back", "error", err)
		return false
	}
	populate(page, unix.MADV_POPULATE_READ)
	return true
}
