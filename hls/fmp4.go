package hls

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// maxBox bounds what is kept of a box that has to be read whole: the moov of a
// stream, or the moof of a fragment of some seconds.
const maxBox = 8 << 20

// fmp4 cuts a fragmented MP4 (ISO/IEC 14496-12) whose fragments hold one track
// each and begin anew at every key frame, as mp4mux makes them. Positions in them
// count from the moof (default-base-is-moof), so they can be moved.
type fmp4 struct {
	pacer
	starts func() []Start

	head []byte // of the box that is being read; the whole box when it is kept
	need int    // bytes that head waits for; 0 while a box is copied or left out
	left uint64 // bytes of the present box that are copied or left out
	skip bool

	ftyp   []byte
	tracks []*track
	main   *track // whose frames say where to cut
	ends   time.Duration
}

// track is one of the moov.
type track struct {
	id     uint32
	media  Media
	scale  uint32 // units a second
	length uint32 // of a sample, where nothing else says it
	flags  uint32 // of a sample, likewise
	begun  bool
	shift  int64  // units that its times are moved by
	lag    uint32 // of its first sample: from decoding to showing, units
	end    uint64
}

func newFMP4(target time.Duration, starts func() []Start, out parts) *fmp4 {
	return &fmp4{pacer: pacer{target: target, out: out}, starts: starts, need: 8}
}

func (f *fmp4) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if f.need == 0 {
			k := int(min(uint64(len(p)), f.left))
			if !f.skip {
				if _, err := f.out.Write(p[:k]); err != nil {
					return 0, err
				}
			}
			if f.left -= uint64(k); f.left == 0 {
				f.need = 8
			}
			p = p[k:]
			continue
		}
		k := min(len(p), f.need-len(f.head))
		f.head, p = append(f.head, p[:k]...), p[k:]
		if len(f.head) == f.need {
			if err := f.box(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// box is called with as much of a box as was asked for.
func (f *fmp4) box() error {
	name, size := string(f.head[4:8]), uint64(binary.BigEndian.Uint32(f.head))
	header := uint64(8)
	if size == 1 {
		if header = 16; f.need == 8 {
			f.need = 16
			return nil
		}
		size = binary.BigEndian.Uint64(f.head[8:])
	}
	if size < header {
		return fmt.Errorf("the muxer made a box %q of %d bytes", name, size)
	}
	kept := name == "ftyp" || name == "moov" || name == "moof"
	if kept && uint64(f.need) < size {
		if size > maxBox {
			return fmt.Errorf("the muxer made a box %q of %d bytes: more than %d are not read", name, size, maxBox)
		}
		f.need = int(size)
		return nil
	}
	err := f.whole(name, int(header))
	f.skip = name != "mdat" || f.main == nil
	if err == nil && !f.skip {
		_, err = f.out.Write(f.head)
	}
	f.left = size - uint64(f.need)
	f.need, f.head = 0, f.head[:0]
	if f.left == 0 {
		f.need = 8
	}
	return err
}

// whole takes a box that was kept.
func (f *fmp4) whole(name string, header int) error {
	switch name {
	case "ftyp":
		f.ftyp = slices.Clone(f.head)
	case "moov":
		if f.tracks != nil {
			return fmt.Errorf("the format changed in mid-stream, which one playlist cannot hold")
		}
		if err := f.moov(f.head[header:]); err != nil {
			return err
		}
		return f.out.initial(append(f.ftyp, f.head...))
	case "moof":
		return f.moof(header)
	}
	return nil
}

func (f *fmp4) end() error {
	if len(f.head) > 0 || f.need == 0 {
		return errCut
	}
	return f.finish(f.ends)
}

// boxes calls do with each box in b, its body from the header on and where that
// begins in b.
func boxes(b []byte, do func(name string, body []byte, at int) error) error {
	for at := 0; at < len(b); {
		rest := b[at:]
		if len(rest) < 8 {
			return errBox
		}
		size := int64(binary.BigEndian.Uint32(rest))
		if size < 8 || size > int64(len(rest)) {
			return errBox
		}
		if err := do(string(rest[4:8]), rest[8:size], at+8); err != nil {
			return err
		}
		at += int(size)
	}
	return nil
}

var errBox = fmt.Errorf("the muxer made a box that is larger or smaller than what it holds")

// moov reads which tracks there are.
func (f *fmp4) moov(b []byte) error {
	err := boxes(b, func(name string, body []byte, _ int) error {
		switch name {
		case "trak":
			t := &track{}
			if err := t.read(body); err != nil {
				return err
			}
			if t.scale == 0 || f.track(t.id) != nil {
				return fmt.Errorf("the muxer made a track %d without a time scale, or twice", t.id)
			}
			f.tracks = append(f.tracks, t)
		case "mvex":
			return boxes(body, f.trex)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(f.tracks) == 0 {
		return fmt.Errorf("the muxer made an MP4 without a track")
	}
	f.main = f.tracks[0]
	if i := slices.IndexFunc(f.tracks, func(t *track) bool { return t.media == Video }); i >= 0 {
		f.main = f.tracks[i]
	}
	return nil
}

func (f *fmp4) track(id uint32) *track {
	if i := slices.IndexFunc(f.tracks, func(t *track) bool { return t.id == id }); i >= 0 {
		return f.tracks[i]
	}
	return nil
}

// read takes a trak's id, kind and time scale.
func (t *track) read(b []byte) error {
	return boxes(b, func(name string, body []byte, _ int) error {
		r := reader{b: body}
		switch name {
		case "mdia":
			return t.read(body)
		case "tkhd", "mdhd":
			times := 8 // of creation and modification
			if r.u32()>>24 == 1 {
				times = 16
			}
			r.skip(times)
			if name == "tkhd" {
				t.id = r.u32()
			} else {
				t.scale = r.u32()
			}
		case "hdlr":
			r.skip(8)
			switch r.u32() {
			case 'v'<<24 | 'i'<<16 | 'd'<<8 | 'e':
				t.media = Video
			case 's'<<24 | 'o'<<16 | 'u'<<8 | 'n':
				t.media = Audio
			}
		}
		return r.err
	})
}

// trex reads what holds for samples of which a fragment says nothing else.
func (f *fmp4) trex(name string, body []byte, _ int) error {
	if name != "trex" {
		return nil
	}
	r := reader{b: body}
	r.skip(4)
	t := f.track(r.u32())
	r.skip(4)
	length := r.u32()
	r.skip(4)
	if flags := r.u32(); t != nil && r.err == nil {
		t.length, t.flags = length, flags
	}
	return r.err
}

// reader reads big-endian numbers; past the end it gives 0 and keeps an error.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.err = nil, errBox
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) skip(n int) {
	if n > len(r.b) {
		r.b, r.err = nil, errBox
		return
	}
	r.b = r.b[n:]
}

func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
