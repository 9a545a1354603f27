package repair

import "encoding/binary"

var be, le = binary.BigEndian, binary.LittleEndian

// span is a piece of the file.
type span struct{ off, n int64 }

// spans is pieces of the file in the order in which they are written.
type spans []span

// add appends a piece and joins it to the one before when they touch.
func (s *spans) add(off, n int64) {
	if n <= 0 {
		return
	}
	if l := len(*s); l > 0 && (*s)[l-1].off+(*s)[l-1].n == off {
		(*s)[l-1].n += n
		return
	}
	*s = append(*s, span{off, n})
}

func (s spans) size() (n int64) {
	for _, p := range s {
		n += p.n
	}
	return n
}
