package repair

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// FLAC: RFC 9639.

// flacHead is what stands before the first frame.
type flacHead struct {
	bytes []byte // the whole of it; STREAMINFO is the first block
	total uint64 // samples, 0 is unknown
}

// maxFLACHead bounds the metadata; it may hold pictures of 16 MiB each.
const maxFLACHead = 64 << 20

func readFLACHead(in *input) (*flacHead, error) {
	end := int64(4)
	for last := false; !last; {
		h, err := in.read(end, 4)
		if err != nil {
			return nil, err
		}
		if len(h) < 4 || end > maxFLACHead {
			return nil, errors.New("it ends before its sound begins: nothing can be done")
		}
		last = h[0]&0x80 != 0
		end += 4 + int64(be.Uint32(h)&0xffffff)
	}
	b, err := in.read(0, int(end))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < end || len(b) < 42 || b[4]&0x7f != 0 {
		return nil, errors.New("its header is damaged: nothing can be done")
	}
	return &flacHead{bytes: bytes.Clone(b), total: be.Uint64(b[18:]) & (1<<36 - 1)}, nil
}

// flacFrame reads a frame's header: its length and its number of samples. n is 0
// when there is none.
func flacFrame(b []byte) (n, samples int) {
	if len(b) < 6 || b[0] != 0xff || b[1]&0xfe != 0xf8 || b[3]&1 != 0 {
		return 0, 0
	}
	at := 4 + flacNumber(b[4:])
	if at == 4 {
		return 0, 0
	}
	extra := func(size int) (v int) {
		for range size {
			if at < len(b) {
				v = v<<8 | int(b[at])
			}
			at++
		}
		return v
	}
	switch code := b[2] >> 4; code {
	case 0:
		return 0, 0
	case 1:
		samples = 192
	case 6:
		samples = extra(1) + 1
	case 7:
		samples = extra(2) + 1
	case 2, 3, 4, 5:
		samples = 576 << (code - 2)
	default:
		samples = 256 << (code - 8)
	}
	switch b[2] & 15 {
	case 12:
		extra(1)
	case 13, 14:
		extra(2)
	case 15:
		return 0, 0
	}
	if at >= len(b) || crc8(b[:at]) != b[at] {
		return 0, 0
	}
	return at + 1, samples
}

// flacNumber gives the length of a number coded as UTF-8 does, up to 36 bits; 0
// when it is none.
func flacNumber(b []byte) int {
	ones := 0
	for mask := byte(0x80); mask > 0 && b[0]&mask != 0; mask >>= 1 {
		ones++
	}
	switch {
	case ones == 0:
		return 1
	case ones == 1 || ones > 7 || len(b) < ones:
		return 0
	}
	for _, c := range b[1:ones] {
		if c&0xc0 != 0x80 {
			return 0
		}
	}
	return ones
}

var crc16Table = func() (t [256]uint16) {
	for i := range t {
		r := uint16(i) << 8
		for range 8 {
			if r&0x8000 != 0 {
				r = r<<1 ^ 0x8005
			} else {
				r <<= 1
			}
		}
		t[i] = r
	}
	return t
}()

func crc16(b []byte) (r uint16) {
	for _, c := range b {
		r = r<<8 ^ crc16Table[byte(r>>8)^c]
	}
	return r
}

func crc8(b []byte) (r byte) {
	for _, c := range b {
		r ^= c
		for range 8 {
			if r&0x80 != 0 {
				r = r<<1 ^ 0x07
			} else {
				r <<= 1
			}
		}
	}
	return r
}

// flacTally is what the frames of a file come to.
type flacTally struct {
	end              int64 // behind the last whole frame
	frames           int64
	samples          uint64
	smallest, widest int // bytes of a frame
}

// maxFLACFrame is more than a frame of 8 channels of 65535 samples of 32 bits.
const maxFLACFrame = 4 << 20

// count goes through the frames: each ends where its checksum is right and the
// next one, or the file's end, begins.
func (h *flacHead) count(in *input) (t flacTally, err error) {
	t.end, t.smallest = int64(len(h.bytes)), math.MaxInt
	var b []byte
	for at := t.end; ; {
		if len(b) < maxFLACFrame && at+int64(len(b)) < in.size {
			if b, err = in.read(at, 4*maxFLACFrame); err != nil {
				return t, err
			}
		}
		n, samples := flacFrame(b)
		if n == 0 {
			return t, nil
		}
		size := flacFrameSize(b[:min(len(b), maxFLACFrame)], n, at+int64(len(b)) == in.size)
		if size == 0 {
			return t, nil
		}
		t.frames++
		t.samples += uint64(samples)
		t.smallest, t.widest = min(t.smallest, size), max(t.widest, size)
		b = b[size:]
		at += int64(size)
		t.end = at
	}
}

// flacFrameSize finds the end of the frame that b begins with, whose header has
// n bytes; 0 when it is not all there.
func flacFrameSize(b []byte, n int, isTail bool) int {
	for i := n + 2; i+6 <= len(b); i++ {
		if b[i] != 0xff || b[i+1]&0xfe != 0xf8 {
			continue
		}
		if m, _ := flacFrame(b[i:]); m > 0 && crc16(b[:i]) == 0 { // a sum with its own behind it is 0
			return i
		}
	}
	if isTail && crc16(b) == 0 {
		return len(b)
	}
	return 0
}

func readFLAC(in *input) (*found, error) {
	fd := &found{container: "flac"}
	h, err := readFLACHead(in)
	if err != nil {
		return nil, err
	}
	t, err := h.count(in)
	if err != nil {
		return nil, err
	}
	if t.frames == 0 {
		return nil, errors.New("no frame of FLAC in it is whole: nothing can be done")
	}
	fd.streams = []*Stream{{Codec: "flac", Frames: t.frames, readBack: t.frames}}
	tail, err := in.read(t.end, 3)
	if err != nil {
		return nil, err
	}
	if t.end < in.size && string(tail) != "TAG" {
		fd.note("the file ends within a frame, or what follows is damaged, at byte %d of %d", t.end, in.size)
		fd.streams[0].Cut, fd.cutBytes = 1, in.size-t.end
	}
	switch {
	case h.total == 0:
		fd.note("its header has no duration: the recording was never finished")
	case h.total != t.samples:
		fd.note("its header says %d samples, there are %d", h.total, t.samples)
	}
	if fd.whole = len(fd.notes) == 0; fd.whole {
		return fd, nil
	}
	h.finish(t)
	from := int64(len(h.bytes))
	fd.size = t.end
	fd.write = func(w io.Writer) error {
		if _, err := w.Write(h.bytes); err != nil {
			return err
		}
		return in.copy(w, from, t.end-from)
	}
	return fd, nil
}

// finish writes what the frames came to into the header. The MD5 of the sound
// becomes unknown; so do places in the seek table behind the end.
func (h *flacHead) finish(t flacTally) {
	info := h.bytes[8:]
	put24 := func(b []byte, v int) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }
	put24(info[4:], t.smallest)
	put24(info[7:], t.widest)
	be.PutUint64(info[10:], be.Uint64(info[10:])&^(1<<36-1)|t.samples)
	if t.samples != h.total {
		clear(info[18:34])
	}
	for b := h.bytes[4:]; ; {
		n := int(be.Uint32(b) & 0xffffff)
		if b[0]&0x7f == 3 { // SEEKTABLE
			for p := b[4 : 4+n]; len(p) >= 18; p = p[18:] {
				if be.Uint64(p) >= t.samples {
					be.PutUint64(p, math.MaxUint64)
				}
			}
		}
		if b[0]&0x80 != 0 {
			return
		}
		b = b[4+n:]
	}
}
