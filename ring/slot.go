package ring

import "fmt"

// readClaim copies what a slot says about its claim, once, and checks the copy.
// From then on the ring's own words about it are not looked at again.
func (r *Reader) readClaim(c *readClass, at cursor, word uint64) (entry, error) {
	s := c.table[int(at.seq()&c.mask)*slotSize:][:slotSize]
	claim := cursor(s.u64(slotClaim))
	kind := s[slotKind]
	e := entry{
		status: entryPending,
		writer: uint16(word >> 8),
		stream: s.u16(slotStream),
		format: s.u32(slotFormat),
		extent: s.u64(slotExtent),
		offset: s.u64(slotOffset),
		length: s.u64(slotLength),
	}
	if word>>24&0xffff != 0 || e.writer >= maxWriters {
		return e, fmt.Errorf("the state word is %#x", word)
	}
	if claim != at {
		return e, fmt.Errorf("claimed at the cursor %#x, expected %#x", uint64(claim), uint64(at))
	}
	if int(e.stream) >= len(r.streams) {
		return e, fmt.Errorf("stream %d of %d", e.stream, len(r.streams))
	}
	st := r.streams[e.stream]
	if kind != uint8(c.kind) || st.Kind != c.kind {
		return e, fmt.Errorf("kind %d of stream %q in the %s ring", kind, st.Name, c.kind)
	}
	if e.length > uint64(st.MaxFrame) {
		return e, fmt.Errorf("%d bytes in stream %q, which declared at most %d", e.length, st.Name, st.MaxFrame)
	}
	extent, offset := c.place(at.pos(), e.length)
	if e.extent != extent || e.offset != offset {
		return e, fmt.Errorf("extent %d at byte %d; %d bytes claimed there have extent %d at byte %d", e.extent, e.offset, e.length, extent, offset)
	}
	if seqDist(c.read.seq(), at.seq()) >= c.slots || c.used(at)+extent > c.capacity {
		return e, fmt.Errorf("claimed beyond the read cursor")
	}
	tail := extent
	if offset == 0 && at.pos()%c.capacity != 0 {
		tail = extent - (c.capacity - at.pos()%c.capacity)
	}
	c.largest = max(c.largest, tail)
	return e, nil
}

// maxStamp bounds stamps and durations: 146 years of CLOCK_MONOTONIC, and no
// sum of two overflows.
const maxStamp = 1 << 62

// readFrame copies the rest of a committed slot, once, and checks the copy.
func (r *Reader) readFrame(c *readClass, seq uint32, e *entry) (Frame, error) {
	s := c.table[int(seq&c.mask)*slotSize:][:slotSize]
	f := Frame{
		Stream: e.stream, Kind: c.kind, Seq: seq, FormatID: e.format,
		PTS: int64(s.u64(slotPTS)), Duration: int64(s.u64(slotDuration)),
		Flags: Flags(s.u32(slotFlags)),
	}
	switch {
	case f.Flags&^flagsKnown != 0:
		return f, fmt.Errorf("flags %#x", uint32(f.Flags))
	case f.PTS < 0 || f.PTS > maxStamp || f.Duration < 0 || f.Duration > maxStamp:
		return f, fmt.Errorf("stamp %d ns, duration %d ns", f.PTS, f.Duration)
	case f.Flags&FlagEOS != 0 && e.length != 0:
		return f, fmt.Errorf("an end of stream with %d bytes", e.length)
	case f.Flags&FlagEOS != 0:
		return f, nil
	case e.length == 0:
		return f, fmt.Errorf("a frame of no bytes")
	}
	format, err := r.format(e.stream, e.format)
	if err != nil {
		return f, err
	}
	if err := format.fits(int(e.length)); err != nil {
		return f, err
	}
	f.Data = c.arena[e.offset : e.offset+e.length : e.offset+e.length]
	return f, nil
}
