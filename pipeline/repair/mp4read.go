package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// track is one track of an MP4, its samples in decoding order.
type track struct {
	trak      box
	id        uint32
	timescale uint32
	handler   string // "vide", "soun", …
	codec     string // of its first sample description
	samples   []sample
	chunks    []chunk
	start     uint64 // decoding time of the first sample
	next      uint64 // decoding time behind the last
	cut       int64  // samples whose data is not all there
	cutTime   uint64
	ended     bool // a sample was cut: nothing more is taken
	edits     []edit

	// trex: the defaults of fragments.
	description, duration, size, flags uint32
}

type sample struct {
	size, duration uint32
	shift          int32 // composition time minus decoding time
	sync           bool
}

// chunk is samples that lie one behind the other.
type chunk struct {
	off         int64
	samples     int
	description uint32
}

type edit struct {
	duration uint64 // in the movie's timescale
	start    int64  // in the track's; -1 is nothing
	rate     uint32
}

// mp4 is a file of this family taken apart.
type mp4 struct {
	in        *input
	ftyp      []byte
	moov      box
	timescale uint32
	tracks    []*track
	fragments bool // it was meant to have fragments
}

func readMP4(in *input) (*found, error) {
	m := &mp4{in: in}
	fd := &found{container: "mp4"}
	top, end, err := topBoxes(in, 0)
	if err != nil {
		return nil, err
	}
	if len(top) == 0 {
		return nil, errNoIndex
	}
	if top, err = m.findIndex(top, fd); err != nil {
		return nil, err
	}
	indexes, complete := 0, end == in.size
	hasRandomAccess := false
	for _, t := range top {
		switch {
		case !t.whole:
			complete = false
		case t.kind == "moov":
			indexes++
		case t.kind == "mfra":
			hasRandomAccess = true
		case t.kind == "moof":
			if err := m.readFragment(t); err != nil {
				return nil, err
			}
		}
	}
	if !m.anySample() {
		return nil, errors.New("its index knows of no frame whose data is there: nothing can be done")
	}
	m.judge(fd, complete, indexes, hasRandomAccess)
	return fd, nil
}

// findIndex reads ftyp and moov and gives the boxes to go through. Where there
// is no moov of the file itself, the first fragment's may be inside of mdat: a
// recorder that was killed while it finished the file had hidden it there.
func (m *mp4) findIndex(top []topBox, fd *found) ([]topBox, error) {
	var all []topBox
	for _, t := range top {
		if t.kind == "ftyp" && m.ftyp == nil && t.whole {
			b, err := t.load(m.in)
			if err != nil {
				return nil, err
			}
			m.ftyp = b.data
		}
		if t.kind == "moov" && t.whole && m.moov.kind == "" {
			if err := m.readIndex(t); err != nil {
				return nil, err
			}
		}
	}
	if m.moov.kind != "" {
		return top, nil
	}
	for _, t := range top {
		if t.kind != "mdat" {
			all = append(all, t)
			continue
		}
		at, err := hiddenIndex(m.in, t.off+t.head, t.off+t.n)
		if err != nil {
			return nil, err
		}
		if at == 0 {
			continue
		}
		inside, _, err := topBoxes(m.in, at)
		if err != nil {
			return nil, err
		}
		inside[0].kind = "moov"
		if err := m.readIndex(inside[0]); err != nil {
			return nil, err
		}
		fd.note("the recorder was stopped while it wrote the final index")
		return append(all, inside...), nil
	}
	// The tracks come first in an index: what is missing of it may be of no use.
	if last := top[len(top)-1]; last.kind == "moov" && m.readIndex(last) == nil && len(m.tracks) > 0 {
		fd.note("the file ends within its index, behind %d of its tracks", len(m.tracks))
		return all, nil
	}
	return nil, errNoIndex
}

// hiddenIndex looks for what was a moov box between two offsets, by the movie
// header that it begins with; 0 when there is none. mp4mux has made it a "free"
// or "hoov" box by then.
func hiddenIndex(in *input, from, to int64) (int64, error) {
	const window, overlap = 1 << 20, 32
	for off := from; off < to; off += window {
		b, err := in.read(off, int(min(window+overlap, to-off)))
		if err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			j := bytes.Index(b[i:], []byte("mvhd"))
			if j < 0 {
				break
			}
			if i += j; i < 12 {
				continue
			}
			moov := off + int64(i) - 12
			n, head := int64(be.Uint32(b[i-12:])), be.Uint32(b[i-4:])
			if plausibleKind(string(b[i-8:i-4])) && (head == 108 || head == 120) && n > 120 && moov+n <= to {
				return moov, nil
			}
		}
	}
	return 0, nil
}

func (m *mp4) readIndex(t topBox) (err error) {
	if m.moov, err = t.load(m.in); err != nil {
		return err
	}
	f := fields{b: m.moov.child("mvhd").body}
	version, _ := f.full()
	f.long(version)
	f.long(version)
	m.timescale = f.u32()
	if m.timescale == 0 || f.short {
		return errors.New("its movie header is damaged: nothing can be done")
	}
	for _, b := range boxes(m.moov.body) {
		if b.kind == "trak" {
			tr, err := readTrack(b)
			if err != nil {
				return err
			}
			m.tracks = append(m.tracks, tr)
		}
	}
	mvex := m.moov.child("mvex")
	m.fragments = mvex.kind != ""
	for _, b := range boxes(mvex.body) {
		if b.kind != "trex" {
			continue
		}
		f := fields{b: b.body}
		f.full()
		if tr := m.track(f.u32()); tr != nil {
			tr.description, tr.duration, tr.size, tr.flags = f.u32(), f.u32(), f.u32(), f.u32()
		}
	}
	for _, tr := range m.tracks {
		if err := m.readTable(tr); err != nil {
			return err
		}
	}
	return nil
}

func (m *mp4) track(id uint32) *track {
	for _, t := range m.tracks {
		if t.id == id {
			return t
		}
	}
	return nil
}

func readTrack(b box) (*track, error) {
	t := &track{trak: b, description: 1}
	f := fields{b: b.child("tkhd").body}
	version, _ := f.full()
	f.long(version)
	f.long(version)
	t.id = f.u32()
	f = fields{b: b.child("mdia", "mdhd").body}
	version, _ = f.full()
	f.long(version)
	f.long(version)
	t.timescale = f.u32()
	h := fields{b: b.child("mdia", "hdlr").body}
	h.full()
	h.u32()
	t.handler = string(h.take(4))
	stsd := b.child("mdia", "minf", "stbl", "stsd")
	if f.short || t.timescale == 0 || len(stsd.body) < 16 {
		return nil, fmt.Errorf("the header of track %d is damaged: nothing can be done", t.id)
	}
	t.codec = string(stsd.body[12:16])
	if t.codec == "encv" || t.codec == "enca" {
		return nil, errors.New("its tracks are encrypted, which is not supported")
	}
	e := fields{b: b.child("edts", "elst").body}
	version, _ = e.full()
	for n := e.u32(); n > 0 && !e.short; n-- {
		ed := edit{duration: e.long(version)}
		if version == 1 {
			ed.start = int64(e.u64())
		} else {
			ed.start = int64(int32(e.u32()))
		}
		if ed.rate = e.u32(); !e.short {
			t.edits = append(t.edits, ed)
		}
	}
	return t, nil
}

// add appends a sample that lies behind the last one of the open chunk, unless
// its data is not all there.
func (m *mp4) add(t *track, s sample, at int64, description uint32, opens bool) {
	t.ended = t.ended || at < 0 || at+int64(s.size) > m.in.size
	if t.ended {
		t.cut++
		t.cutTime += uint64(s.duration)
		return
	}
	if opens || len(t.chunks) == 0 {
		t.chunks = append(t.chunks, chunk{off: at, description: description})
	}
	t.chunks[len(t.chunks)-1].samples++
	t.samples = append(t.samples, s)
	t.next += uint64(s.duration)
}

func (m *mp4) anySample() bool {
	for _, t := range m.tracks {
		if len(t.samples) > 0 {
			return true
		}
	}
	return false
}

// judge says whether the file is whole, and what is wrong if it is not.
func (m *mp4) judge(fd *found, complete bool, indexes int, hasRandomAccess bool) {
	var cut int64
	for _, t := range m.tracks {
		s := &Stream{Codec: t.codec, Frames: int64(len(t.samples)), Cut: t.cut, CutSeconds: float64(t.cutTime) / float64(t.timescale), readBack: -1}
		if t.handler == "vide" || t.handler == "soun" {
			s.readBack = t.shown()
		}
		fd.streams = append(fd.streams, s)
		cut += t.cut
	}
	// An index that names frames the file has not, or none of its own at the end.
	fd.whole = cut == 0 && len(fd.notes) == 0 && (!m.fragments || complete && hasRandomAccess)
	if fd.whole {
		return
	}
	if m.fragments && len(fd.notes) == 0 {
		fd.note("the recording was never finished: it is in fragments, without an index of the whole")
	}
	if cut > 0 {
		fd.note("the file ends before the data of its last frames")
	}
	if !m.fragments && indexes > 0 && cut > 0 {
		fd.note("its index was written for a longer file")
	}
	out := m.layOut()
	fd.cutBytes = max(0, m.in.size-m.covered())
	fd.size = out.size()
	fd.write = func(w io.Writer) error { return out.write(w, m.in) }
}

// covered is the offset behind the last sample that is kept.
func (m *mp4) covered() (end int64) {
	for _, t := range m.tracks {
		i := 0
		for _, c := range t.chunks {
			at := c.off
			for range c.samples {
				at += int64(t.samples[i].size)
				i++
			}
			end = max(end, at)
		}
	}
	return end
}
