package hls

import (
	"encoding/binary"
	"fmt"
	"time"
)

// fragment is what a moof says of its one track.
type fragment struct {
	t       *track
	start   uint64 // of decoding, units of the track
	length  uint64
	samples int
	sync    bool  // the first sample decodes on its own
	tfdt    int   // where the body of tfdt begins in the moof
	traf    int   // and that of traf
	trun    []int // and those of trun
}

// Flags of tfhd, trun and samples, from ISO/IEC 14496-12, 8.8.7, 8.8.8 and 8.8.3.1.
const (
	tfhdBase, tfhdIndex, tfhdLength, tfhdSize, tfhdFlags             = 0x1, 0x2, 0x8, 0x10, 0x20
	trunOffset, trunFirst, trunLength, trunSize, trunFlags, trunTime = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
	sampleNotSync                                                    = 0x10000
)

// moof takes a fragment: it ends the segment before when this one begins with a
// key frame and it is time for that, sets the fragment's time right and writes it.
func (f *fmp4) moof(header int) error {
	if f.main == nil {
		return fmt.Errorf("the muxer made a fragment before it said of what")
	}
	g := fragment{}
	err := boxes(f.head[header:], func(name string, body []byte, at int) error {
		if name != "traf" {
			return nil
		}
		if g.t != nil {
			return fmt.Errorf("the muxer put two tracks into one fragment")
		}
		return f.traf(&g, body, header+at)
	})
	if err != nil {
		return err
	}
	if g.t == nil || g.tfdt == 0 {
		return fmt.Errorf("the muxer made a fragment without a track or a time")
	}
	if !g.t.begun {
		f.begin(g.t)
	}
	start := max(0, int64(g.start)+g.t.shift)
	g.t.end = uint64(start) + g.length
	if g.t == f.main {
		if g.sync || g.t.media == Audio {
			if err := f.point(g.t.time(uint64(start))); err != nil {
				return err
			}
		}
		f.ends = g.t.time(g.t.end)
	}
	_, err = f.out.Write(g.at(f.head, header, uint64(start)))
	return err
}

// time is a number of units without the loss of a division of large numbers.
func (t *track) time(units uint64) time.Duration {
	s, rest := units/uint64(t.scale), units%uint64(t.scale)
	return time.Duration(s)*time.Second + time.Duration(rest*uint64(time.Second)/uint64(t.scale))
}

// begin finds by how much the times of a track are to be moved: the muxer lets
// every track begin with 0 when it writes fragments, and what they were apart is
// lost.
func (f *fmp4) begin(t *track) {
	t.begun = true
	var starts []Start
	if f.starts != nil {
		starts = f.starts()
	}
	nth := 0
	for _, o := range f.tracks {
		if o == t {
			break
		}
		if o.media == t.media {
			nth++
		}
	}
	least := time.Duration(-1)
	var mine time.Duration = -1
	for _, s := range starts {
		if s.First < 0 {
			continue
		}
		if least < 0 || s.First < least {
			least = s.First
		}
		if s.Media == t.media {
			if nth == 0 && mine < 0 {
				mine = s.First
			}
			nth--
		}
	}
	if mine < 0 {
		return
	}
	t.shift = int64((mine-least).Seconds()*float64(t.scale) + 0.5)
}

func (f *fmp4) traf(g *fragment, b []byte, at int) error {
	g.traf = at
	var length, flags uint32
	return boxes(b, func(name string, body []byte, in int) error {
		r := reader{b: body}
		version := byte(0)
		has := r.u32()
		version, has = byte(has>>24), has&0xffffff
		switch name {
		case "tfhd":
			if g.t = f.track(r.u32()); g.t == nil {
				return fmt.Errorf("the muxer made a fragment of a track that it did not announce")
			}
			length, flags = g.t.length, g.t.flags
			if has&tfhdBase != 0 {
				return fmt.Errorf("the muxer counts positions in a fragment from the file's start, so that it cannot be moved")
			}
			if has&tfhdIndex != 0 {
				r.skip(4)
			}
			if has&tfhdLength != 0 {
				length = r.u32()
			}
			if has&tfhdSize != 0 {
				r.skip(4)
			}
			if has&tfhdFlags != 0 {
				flags = r.u32()
			}
		case "tfdt":
			g.tfdt = at + in
			if version == 1 {
				g.start = r.u64()
			} else {
				g.start = uint64(r.u32())
			}
			if g.start > 1<<62 {
				return fmt.Errorf("the muxer made a fragment of a time that cannot be")
			}
		case "trun":
			if g.t == nil {
				return errBox
			}
			g.trun = append(g.trun, at+in)
			g.run(&r, body, has, length, flags)
		}
		return r.err
	})
}

// run adds up the samples of a trun. Pictures that are decoded in another order
// than shown have a time from one to the other, which a file's edit list takes
// away; here there is none, so it is counted from the first picture's.
func (g *fragment) run(r *reader, trun []byte, has, length, flags uint32) {
	count := r.u32()
	if has&trunOffset != 0 {
		r.skip(4)
	}
	first := flags
	if has&trunFirst != 0 {
		first = r.u32()
	}
	if has&(trunLength|trunSize|trunFlags|trunTime) == 0 && count > 0 { // there is nothing to bound the loop
		g.length, g.sync = g.length+uint64(count)*uint64(length), first&sampleNotSync == 0
		return
	}
	for i := uint32(0); i < count && r.err == nil; i++ {
		l, fl := length, flags
		if i == 0 {
			fl = first
		}
		if has&trunLength != 0 {
			l = r.u32()
		}
		if has&trunSize != 0 {
			r.skip(4)
		}
		if has&trunFlags != 0 {
			fl = r.u32()
		}
		if has&trunTime != 0 {
			cts := r.take(4)
			if !g.t.begun && g.samples == 0 {
				g.t.lag = binary.BigEndian.Uint32(cts)
			}
			binary.BigEndian.PutUint32(cts, binary.BigEndian.Uint32(cts)-g.t.lag)
		}
		if g.samples == 0 {
			g.sync = fl&sampleNotSync == 0
		}
		g.samples++
		g.length += uint64(l)
	}
	if g.t.lag != 0 {
		trun[0] = 1 // these times have a sign
	}
}

// at gives the moof with another start. The time is always written with 64 bits:
// with 32 a track of 90 kHz ends after 13 hours.
func (g *fragment) at(b []byte, header int, start uint64) []byte {
	if b[g.tfdt] == 1 {
		binary.BigEndian.PutUint64(b[g.tfdt+4:], start)
		return b
	}
	out := make([]byte, 0, len(b)+4)
	out = append(out, b[:g.tfdt+4]...)
	out = binary.BigEndian.AppendUint64(out, start)
	out = append(out, b[g.tfdt+8:]...)
	out[g.tfdt] = 1
	grow := func(at int) { binary.BigEndian.PutUint32(out[at:], binary.BigEndian.Uint32(out[at:])+4) }
	if header == 8 {
		grow(0)
	} else {
		binary.BigEndian.PutUint64(out[8:], uint64(len(out)))
	}
	grow(g.traf - 8)
	grow(g.tfdt - 8)
	for _, at := range g.trun {
		if at > g.tfdt {
			at += 4
		}
		if binary.BigEndian.Uint32(out[at:])&trunOffset != 0 {
			grow(at + 8) // the data is that much further from the moof's start
		}
	}
	return out
}
