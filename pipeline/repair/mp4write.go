package repair

import (
	"io"
	"math"
	"sort"
)

// layout is the file to be written: what it begins with, then the samples' data.
type layout struct {
	head []byte
	data spans
}

func (l *layout) size() int64 { return int64(len(l.head)) + l.data.size() }

func (l *layout) write(w io.Writer, in *input) error {
	if _, err := w.Write(l.head); err != nil {
		return err
	}
	for _, p := range l.data {
		if err := in.copy(w, p.off, p.n); err != nil {
			return err
		}
	}
	return nil
}

// placed is a chunk with its track, for the order in the file.
type placed struct {
	t    *track
	n    int // index of the chunk
	size int64
}

// layOut makes a plain file: ftyp, moov, mdat, the data in the order it had.
func (m *mp4) layOut() *layout {
	var order []placed
	for _, t := range m.tracks {
		i := 0
		for n, c := range t.chunks {
			p := placed{t: t, n: n}
			for range c.samples {
				p.size += int64(t.samples[i].size)
				i++
			}
			order = append(order, p)
		}
	}
	sort.SliceStable(order, func(a, b int) bool {
		return order[a].t.chunks[order[a].n].off < order[b].t.chunks[order[b].n].off
	})
	l := &layout{}
	offsets := map[*track][]int64{}
	var at int64
	for _, p := range order {
		if offsets[p.t] == nil {
			offsets[p.t] = make([]int64, len(p.t.chunks))
		}
		offsets[p.t][p.n] = at
		at += p.size
		l.data.add(p.t.chunks[p.n].off, p.size)
	}
	l.head = append(l.head, m.ftyp...)
	// The size of moov does not depend on the offsets, only on how wide they are.
	wide := at > math.MaxUint32-maxIndex
	size := len(m.index(offsets, 0, wide))
	mdat := be.AppendUint32(nil, uint32(at+8))
	mdat = append(mdat, "mdat"...)
	if wide {
		mdat = be.AppendUint64(append(be.AppendUint32(nil, 1), "mdat"...), uint64(at+16))
	}
	l.head = append(l.head, m.index(offsets, int64(len(m.ftyp)+size+len(mdat)), wide)...)
	l.head = append(l.head, mdat...)
	return l
}

// index writes moov; first is the offset in the file of the data.
func (m *mp4) index(offsets map[*track][]int64, first int64, wide bool) []byte {
	var longest uint64
	for _, t := range m.tracks {
		longest = max(longest, t.shownTime(m.timescale))
	}
	var parts [][]byte
	n := 0
	for _, b := range boxes(m.moov.body) {
		switch b.kind {
		case "mvhd":
			parts = append(parts, withDuration(b, 4, longest))
		case "trak":
			t := m.tracks[n]
			n++
			if len(t.samples) > 0 {
				parts = append(parts, t.write(m.timescale, offsets[t], first, wide))
			}
		case "mvex":
		default:
			parts = append(parts, b.data)
		}
	}
	return newBox("moov", parts...)
}

// withDuration writes a mvhd, tkhd or mdhd anew with its duration, which lies
// skip bytes behind the two dates: in 64 bits when 32 do not hold it.
func withDuration(b box, skip int, d uint64) []byte {
	f := fields{b: b.body}
	version, flags := f.full()
	made, changed := f.long(version), f.long(version)
	between := f.take(skip)
	f.long(version)
	out := be.AppendUint32(nil, 1<<24|flags)
	if d < math.MaxUint32 && made <= math.MaxUint32 && changed <= math.MaxUint32 {
		out = be.AppendUint32(nil, flags)
		out = be.AppendUint32(be.AppendUint32(out, uint32(made)), uint32(changed))
		out = be.AppendUint32(append(out, between...), uint32(d))
	} else {
		out = be.AppendUint64(be.AppendUint64(out, made), changed)
		out = be.AppendUint64(append(out, between...), d)
	}
	return newBox(b.kind, append(out, f.b...))
}

func (t *track) write(movie uint32, offsets []int64, first int64, wide bool) []byte {
	var parts [][]byte
	edits := t.writeEdits(movie)
	for _, b := range boxes(t.trak.body) {
		switch b.kind {
		case "tkhd":
			parts = append(parts, withDuration(b, 8, t.shownTime(movie)))
			if edits != nil {
				parts = append(parts, edits)
			}
		case "edts":
		case "mdia":
			parts = append(parts, t.writeMedia(b, offsets, first, wide))
		default:
			parts = append(parts, b.data)
		}
	}
	return newBox("trak", parts...)
}

func (t *track) writeMedia(mdia box, offsets []int64, first int64, wide bool) []byte {
	var parts [][]byte
	for _, b := range boxes(mdia.body) {
		switch b.kind {
		case "mdhd":
			parts = append(parts, withDuration(b, 4, t.next-t.start))
		case "minf":
			var inner [][]byte
			for _, c := range boxes(b.body) {
				if c.kind == "stbl" {
					inner = append(inner, t.writeTable(c, offsets, first, wide))
				} else {
					inner = append(inner, c.data)
				}
			}
			parts = append(parts, newBox("minf", inner...))
		default:
			parts = append(parts, b.data)
		}
	}
	return newBox("mdia", parts...)
}

// timing is where the track's media begins: nothing first, then the media from
// a place of its own on. Only the plain edit list says it, of one edit with or
// without empty ones before; ok is false for any other.
func (t *track) timing(movie uint32) (empty uint64, from int64, ok bool) {
	for i, e := range t.edits {
		switch {
		case e.start < 0:
			empty += e.duration
		case i < len(t.edits)-1:
			return 0, 0, false
		default:
			from = e.start
		}
	}
	// A table begins at 0: what fragments had as their first time goes into the
	// edit list.
	if from -= int64(t.start); from < 0 {
		empty += scale(uint64(-from), t.timescale, movie)
		from = 0
	}
	return empty, from, true
}

func scale(v uint64, from, to uint32) uint64 {
	whole, rest := v/uint64(from), v%uint64(from)
	return whole*uint64(to) + (rest*uint64(to)+uint64(from)/2)/uint64(from)
}

// mediaEnd is the end of the last picture in order of showing, from the first
// decoding time on.
func (t *track) mediaEnd() uint64 {
	var at, end int64
	for _, s := range t.samples {
		end = max(end, at+int64(s.shift)+int64(s.duration))
		at += int64(s.duration)
	}
	return uint64(end)
}

// shownTime is how long the track lasts, in the movie's timescale.
func (t *track) shownTime(movie uint32) uint64 {
	if len(t.samples) == 0 {
		return 0
	}
	empty, from, ok := t.timing(movie)
	if !ok {
		var sum uint64
		for _, e := range t.edits {
			sum += e.duration
		}
		return sum
	}
	return empty + scale(uint64(max(0, int64(t.mediaEnd())-from)), t.timescale, movie)
}

// shown is how many samples a demuxer gives: those that an edit list leaves out
// altogether at the beginning are not among them. -1 when that cannot be told.
func (t *track) shown() int64 {
	_, from, ok := t.timing(t.timescale)
	if !ok {
		return -1
	}
	if from == 0 {
		return int64(len(t.samples))
	}
	var n, at int64
	for _, s := range t.samples {
		if at+int64(s.shift)+int64(s.duration) > from {
			n++
		}
		at += int64(s.duration)
	}
	if n < int64(len(t.samples)) { // demuxers differ in what they do with these
		return -1
	}
	return n
}

func (t *track) writeEdits(movie uint32) []byte {
	empty, from, ok := t.timing(movie)
	if !ok {
		return t.trak.child("edts").data
	}
	if empty == 0 && from == 0 && len(t.edits) == 0 {
		return nil
	}
	var n uint32
	var list []byte
	put := func(d uint64, start int64) {
		n++
		list = be.AppendUint64(be.AppendUint64(list, d), uint64(start))
		list = be.AppendUint32(list, 1<<16) // normal speed
	}
	if empty > 0 {
		put(empty, -1)
	}
	put(t.shownTime(movie)-empty, from)
	head := be.AppendUint32(be.AppendUint32(nil, 1<<24), n) // version 1: 64 bits
	return newBox("edts", newBox("elst", head, list))
}
