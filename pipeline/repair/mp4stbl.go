package repair

import "slices"

// writeTable writes stbl: the descriptions as they were, the rest from the
// samples. What says something of each sample by its number and is not rebuilt
// (sdtp, subs, …) is left out.
func (t *track) writeTable(stbl box, offsets []int64, first int64, wide bool) []byte {
	var parts [][]byte
	for _, b := range boxes(stbl.body) {
		switch b.kind {
		case "stsd":
			parts = append(parts, mendOpus(b.data))
		case "sgpd":
			parts = append(parts, b.data)
		}
	}
	parts = append(parts, t.durations())
	if b := t.shifts(); b != nil {
		parts = append(parts, b)
	}
	if b := t.syncs(); b != nil {
		parts = append(parts, b)
	}
	return newBox("stbl", append(parts, t.chunkTable(), t.sizes(), places(offsets, first, wide))...)
}

// table is a full box: a count and entries.
func table(kind string, version byte, n int, entries []byte) []byte {
	return newBox(kind, []byte{version, 0, 0, 0}, be.AppendUint32(nil, uint32(n)), entries)
}

// runLengths writes pairs of a count and a value.
func runLengths(samples []sample, value func(s sample) uint32) (n int, entries []byte) {
	for i := 0; i < len(samples); {
		j, v := i+1, value(samples[i])
		for j < len(samples) && value(samples[j]) == v {
			j++
		}
		entries = be.AppendUint32(be.AppendUint32(entries, uint32(j-i)), v)
		n++
		i = j
	}
	return n, entries
}

func (t *track) durations() []byte {
	n, entries := runLengths(t.samples, func(s sample) uint32 { return s.duration })
	return table("stts", 0, n, entries)
}

func (t *track) shifts() []byte {
	if !slices.ContainsFunc(t.samples, func(s sample) bool { return s.shift != 0 }) {
		return nil
	}
	version := byte(0)
	if slices.ContainsFunc(t.samples, func(s sample) bool { return s.shift < 0 }) {
		version = 1
	}
	n, entries := runLengths(t.samples, func(s sample) uint32 { return uint32(s.shift) })
	return table("ctts", version, n, entries)
}

// syncs is left out when each sample can be decoded on its own, as the standard
// has it.
func (t *track) syncs() []byte {
	var entries []byte
	for i, s := range t.samples {
		if s.sync {
			entries = be.AppendUint32(entries, uint32(i+1))
		}
	}
	if len(entries) == 4*len(t.samples) {
		return nil
	}
	return table("stss", 0, len(entries)/4, entries)
}

func (t *track) chunkTable() []byte {
	var entries []byte
	for i, c := range t.chunks {
		if i > 0 && c.samples == t.chunks[i-1].samples && c.description == t.chunks[i-1].description {
			continue
		}
		entries = be.AppendUint32(entries, uint32(i+1))
		entries = be.AppendUint32(be.AppendUint32(entries, uint32(c.samples)), c.description)
	}
	return table("stsc", 0, len(entries)/12, entries)
}

func (t *track) sizes() []byte {
	entries := be.AppendUint32(nil, uint32(len(t.samples)))
	for _, s := range t.samples {
		entries = be.AppendUint32(entries, s.size)
	}
	return newBox("stsz", make([]byte, 8), entries)
}

func places(offsets []int64, first int64, wide bool) []byte {
	var entries []byte
	for _, off := range offsets {
		if wide {
			entries = be.AppendUint64(entries, uint64(first+off))
		} else {
			entries = be.AppendUint32(entries, uint32(first+off))
		}
	}
	if wide {
		return table("co64", 0, len(offsets), entries)
	}
	return table("stco", 0, len(offsets), entries)
}

// mendOpus turns the numbers of an Opus description round where mp4mux 1.22 has
// written them with the wrong end first; see docs/decisions/0002. Their order is
// seen at the rate.
func mendOpus(stsd []byte) []byte {
	rates := []uint32{8000, 12000, 16000, 24000, 44100, 48000}
	out := slices.Clone(stsd)
	for _, entry := range boxes(out[min(16, len(out)):]) {
		const audioEntry = 28 // bytes before the boxes of a sound's description
		if entry.kind != "Opus" || len(entry.body) < audioEntry {
			continue
		}
		for _, b := range boxes(entry.body[audioEntry:]) {
			p := b.body
			if b.kind != "dOps" || len(p) < 11 || p[0] != 0 ||
				slices.Contains(rates, be.Uint32(p[4:])) || !slices.Contains(rates, le.Uint32(p[4:])) {
				continue
			}
			slices.Reverse(p[2:4])
			slices.Reverse(p[4:8])
			slices.Reverse(p[8:10])
		}
	}
	return out
}
