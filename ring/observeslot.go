package ring

// slotFound is what an observer finds in the slot of a claim.
type slotFound uint8

const (
	slotUntagged  slotFound = iota // another claim's, or not written yet
	slotClaimed                    // not committed
	slotCommitted                  // a frame, or an end of stream
	slotAborted                    // given back
	slotNonsense                   // what no consumer takes: it will end the attachment
)

// slotCopy is a slot copied once.
type slotCopy struct {
	at             cursor
	extent         uint64 // granules
	offset, length uint64 // bytes
	stream         uint16
	writer         uint16
	format         uint32
	flags          Flags
	pts, duration  int64
}

// slotTries bounds how often a slot is read again that changes while it is read:
// it changes at most twice unless its producer plays with it.
const slotTries = 4

// slot copies the slot of a claim and checks the copy by the rules of readClaim
// and readFrame, as far as they keep an observer inside of the arena and its
// frames sensible. Unless that found it untagged or nonsense, the copy's cursor
// is that of the claim; whether all of it is that claim's is for intact to say.
func (o *Observer) slot(c *observedClass, seq uint32) (slotCopy, slotFound) {
	m := c.table[int(seq&(c.slots-1))*slotSize:][:slotSize]
	for range slotTries {
		word := m.a64(slotState).Load() // SYNC POINT commit, SYNC POINT tag
		if !tagged(word, seq) {
			return slotCopy{}, slotUntagged
		}
		s := slotCopy{
			at: cursor(m.u64(slotClaim)), writer: uint16(word >> 8), stream: m.u16(slotStream), format: m.u32(slotFormat),
			extent: m.u64(slotExtent), offset: m.u64(slotOffset), length: m.u64(slotLength),
			flags: Flags(m.u32(slotFlags)), pts: int64(m.u64(slotPTS)), duration: int64(m.u64(slotDuration)),
		}
		o.fence.Add(1) // see intact
		if m.a64(slotState).Load() == word {
			return s, o.judge(c, seq, word, s)
		}
	}
	return slotCopy{}, slotNonsense
}

func (o *Observer) judge(c *observedClass, seq uint32, word uint64, s slotCopy) slotFound {
	if s.at.seq() != seq || s.at.pos() >= c.modulus || int(s.stream) >= len(o.streams) || o.streams[s.stream].Kind != c.kind ||
		s.length > uint64(o.streams[s.stream].MaxFrame) || s.length > c.capacity*granule {
		return slotNonsense
	}
	extent, offset := c.place(s.at.pos(), s.length)
	switch {
	case extent != s.extent || offset != s.offset || offset+s.length > c.capacity*granule:
		return slotNonsense
	case word&0xff == stateClaimed:
		return slotClaimed
	case word&0xff == stateAborted:
		return slotAborted
	case !o.sensible(s):
		return slotNonsense
	}
	return slotCommitted
}

// sensible is readFrame's check.
func (o *Observer) sensible(s slotCopy) bool {
	if s.flags&^flagsKnown != 0 || s.pts < 0 || s.pts > maxStamp || s.duration < 0 || s.duration > maxStamp {
		return false
	}
	if s.flags&FlagEOS != 0 {
		return s.length == 0
	}
	f := o.format(s.stream, s.format)
	return s.length > 0 && f != nil && f.fits(int(s.length)) == nil
}
