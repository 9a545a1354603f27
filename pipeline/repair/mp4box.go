package repair

import (
	"errors"
	"fmt"
)

// Boxes are those of ISO/IEC 14496-12, the ISO base media file format.

// firstBoxes are what a file of this family may begin with.
var firstBoxes = []string{"ftyp", "styp", "moov", "mdat", "free", "skip", "wide", "pnot"}

// box is a box in memory.
type box struct {
	kind string
	data []byte // all of it, with its header
	body []byte // what is behind the header
}

// boxes takes the children of a box apart; what does not fit is left out.
func boxes(b []byte) (list []box) {
	for len(b) >= 8 {
		n, head := uint64(be.Uint32(b)), 8
		if n == 1 && len(b) >= 16 {
			n, head = be.Uint64(b[8:]), 16
		}
		if n == 0 {
			n = uint64(len(b))
		}
		if n < uint64(head) || n > uint64(len(b)) {
			break
		}
		list = append(list, box{string(b[4:8]), b[:n], b[head:n]})
		b = b[n:]
	}
	return list
}

// child finds a box by its path; its kind is "" when there is none.
func (b box) child(path ...string) box {
	for _, p := range path {
		var next box
		for _, c := range boxes(b.body) {
			if c.kind == p {
				next = c
				break
			}
		}
		if next.kind == "" {
			return box{}
		}
		b = next
	}
	return b
}

// newBox writes a box around its parts.
func newBox(kind string, parts ...[]byte) []byte {
	n := 8
	for _, p := range parts {
		n += len(p)
	}
	b := append(be.AppendUint32(make([]byte, 0, n), uint32(n)), kind...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// fields reads big-endian numbers; past the end it gives zeros and sets short.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if len(f.b) < n {
		f.b, f.short = nil, true
		return make([]byte, n)
	}
	p := f.b[:n]
	f.b = f.b[n:]
	return p
}

func (f *fields) u32() uint32 { return be.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return be.Uint64(f.take(8)) }

// full reads the version and the flags of a full box.
func (f *fields) full() (version uint8, flags uint32) {
	v := f.u32()
	return uint8(v >> 24), v & 0xffffff
}

// long reads 64 bits in version 1 of a box and 32 in version 0.
func (f *fields) long(version uint8) uint64 {
	if version == 1 {
		return f.u64()
	}
	return uint64(f.u32())
}

// topBox is a box of the file itself.
type topBox struct {
	kind     string
	off, n   int64 // with its header; n is what is there
	head     int64
	whole    bool
	declared int64 // size as its header says; 0 is "to the end of the file"
}

// maxIndex is the largest moov or moof that is read: an hour of 60 pictures and
// 50 packets a second takes about 5 MB.
const maxIndex = 1 << 30

// topBoxes lists the boxes of the file from an offset on, up to the first that
// can be none.
func topBoxes(in *input, off int64) (list []topBox, end int64, err error) {
	for off+8 <= in.size {
		h, err := in.read(off, 16)
		if err != nil {
			return nil, off, err
		}
		b := topBox{kind: string(h[4:8]), off: off, head: 8, declared: int64(be.Uint32(h)), whole: true}
		if b.declared == 1 && len(h) == 16 {
			b.declared, b.head = int64(be.Uint64(h[8:])), 16
		}
		if !plausibleKind(b.kind) || b.declared != 0 && b.declared < b.head {
			break
		}
		b.n = b.declared
		if b.n == 0 || b.n > in.size-off {
			b.n, b.whole = in.size-off, b.n == 0
		}
		list = append(list, b)
		off += b.n
	}
	return list, off, nil
}

func plausibleKind(k string) bool {
	for i := range 4 {
		if k[i] < ' ' || k[i] > '~' {
			return false
		}
	}
	return true
}

// load reads a box into memory.
func (t topBox) load(in *input) (box, error) {
	if t.n > maxIndex {
		return box{}, fmt.Errorf("a %s box of %d bytes is more than can be read", t.kind, t.n)
	}
	b, err := in.read(t.off, int(t.n))
	if err != nil {
		return box{}, err
	}
	return box{t.kind, b, b[t.head:]}, nil
}

var errNoIndex = errors.New(`"moov atom not found": the recorder keeps the index of an MP4 in memory and writes it at the end, which never came. ` +
	"Without it nothing says where a frame begins or how to decode it, so nothing can be done. " +
	"A recording that mpipe makes has an index from its first second on")
