package repair

import (
	"errors"
	"fmt"
)

// maxSamples bounds what a damaged table can make us allocate: 20 days at 60
// pictures a second.
const maxSamples = 100 << 20

// readTable reads the samples that a track's own table lists.
func (m *mp4) readTable(t *track) error {
	stbl := t.trak.child("mdia", "minf", "stbl")
	sizes, err := sampleSizes(stbl)
	if err != nil || len(sizes) == 0 {
		return err
	}
	samples := make([]sample, len(sizes))
	for i, n := range sizes {
		samples[i].size = n
	}
	readTimes(stbl, samples)
	readSync(stbl, samples)
	offsets, err := chunkOffsets(stbl)
	if err != nil {
		return err
	}
	f := fields{b: stbl.child("stsc").body}
	f.full()
	entries := f.u32()
	i, per, description := 0, uint32(0), uint32(1)
	next, nextPer, nextDesc := f.u32(), f.u32(), f.u32()
	for c, off := range offsets {
		for entries > 0 && uint32(c+1) == next {
			per, description = nextPer, nextDesc
			if entries--; entries > 0 {
				next, nextPer, nextDesc = f.u32(), f.u32(), f.u32()
			}
		}
		for n := range per {
			if i == len(samples) {
				break
			}
			m.add(t, samples[i], off, description, n == 0)
			off += int64(samples[i].size)
			i++
		}
	}
	if i < len(samples) {
		return fmt.Errorf("the index of track %d is damaged: %d of %d frames have a place", t.id, i, len(samples))
	}
	return nil
}

func sampleSizes(stbl box) ([]uint32, error) {
	b := stbl.child("stsz")
	if b.kind == "" {
		if stbl.child("stz2").kind != "" {
			return nil, errors.New("its index has compact sizes (stz2), which are not supported")
		}
		return nil, nil
	}
	f := fields{b: b.body}
	f.full()
	each, n := f.u32(), f.u32()
	if n > maxSamples || each == 0 && int64(n)*4 > int64(len(f.b)) {
		return nil, errors.New("its table of sizes (stsz) is damaged: nothing can be done")
	}
	sizes := make([]uint32, n)
	for i := range sizes {
		if sizes[i] = each; each == 0 {
			sizes[i] = f.u32()
		}
	}
	return sizes, nil
}

// readTimes fills in durations and composition offsets.
func readTimes(stbl box, samples []sample) {
	runs := func(kind string, set func(s *sample, v uint32)) {
		f := fields{b: stbl.child(kind).body}
		f.full()
		i := 0
		for n := f.u32(); n > 0 && !f.short; n-- {
			count, v := f.u32(), f.u32()
			for ; count > 0 && i < len(samples); count-- {
				set(&samples[i], v)
				i++
			}
		}
	}
	runs("stts", func(s *sample, v uint32) { s.duration = v })
	runs("ctts", func(s *sample, v uint32) { s.shift = int32(v) })
}

func readSync(stbl box, samples []sample) {
	b := stbl.child("stss")
	if b.kind == "" { // all are
		for i := range samples {
			samples[i].sync = true
		}
		return
	}
	f := fields{b: b.body}
	f.full()
	for n := f.u32(); n > 0 && !f.short; n-- {
		if i := f.u32(); i > 0 && int64(i) <= int64(len(samples)) {
			samples[i-1].sync = true
		}
	}
}

func chunkOffsets(stbl box) ([]int64, error) {
	b, wide := stbl.child("co64"), true
	if b.kind == "" {
		b, wide = stbl.child("stco"), false
	}
	f := fields{b: b.body}
	f.full()
	n := f.u32()
	if each := map[bool]int64{true: 8, false: 4}[wide]; int64(n)*each > int64(len(f.b)) {
		return nil, errors.New("its table of places (stco) is damaged: nothing can be done")
	}
	offsets := make([]int64, n)
	for i := range offsets {
		if wide {
			offsets[i] = int64(f.u64())
		} else {
			offsets[i] = int64(f.u32())
		}
	}
	return offsets, nil
}

// Flags of tfhd and trun, ISO/IEC 14496-12, 8.8.7 and 8.8.8.
const (
	tfhdBase, tfhdDescription, tfhdDuration, tfhdSize, tfhdFlags = 0x1, 0x2, 0x8, 0x10, 0x20
	tfhdBaseIsMoof                                               = 0x20000
	trunOffset, trunFirstFlags                                   = 0x1, 0x4
	trunDuration, trunSize, trunFlags, trunShift                 = 0x100, 0x200, 0x400, 0x800
	sampleIsNonSync                                              = 0x10000
)

// readFragment adds the samples of a moof.
func (m *mp4) readFragment(t topBox) error {
	moof, err := t.load(m.in)
	if err != nil {
		return err
	}
	end := t.off // where the data of the traf before ended
	for _, b := range boxes(moof.body) {
		if b.kind == "traf" {
			end = m.readTraf(b, t.off, end)
		}
	}
	return nil
}

func (m *mp4) readTraf(b box, moof, end int64) int64 {
	f := fields{b: b.child("tfhd").body}
	_, flags := f.full()
	t := m.track(f.u32())
	if t == nil || f.short {
		return end
	}
	d := *t // the defaults of this fragment
	base := end
	if flags&tfhdBaseIsMoof != 0 {
		base = moof
	}
	if flags&tfhdBase != 0 {
		base = int64(f.u64())
	}
	for _, v := range []struct {
		flag uint32
		to   *uint32
	}{{tfhdDescription, &d.description}, {tfhdDuration, &d.duration}, {tfhdSize, &d.size}, {tfhdFlags, &d.flags}} {
		if flags&v.flag != 0 {
			*v.to = f.u32()
		}
	}
	if tfdt := b.child("tfdt"); tfdt.kind != "" {
		f := fields{b: tfdt.body}
		version, _ := f.full()
		t.moveTo(f.long(version))
	}
	at := base
	for _, r := range boxes(b.body) {
		if r.kind == "trun" {
			at = m.readRun(t, &d, r, base, at)
		}
	}
	return at
}

// moveTo puts the next sample at a decoding time: the last one lasts until then.
func (t *track) moveTo(at uint64) {
	if len(t.samples) == 0 {
		t.start, t.next = at, at
		return
	}
	last := &t.samples[len(t.samples)-1]
	if d := int64(last.duration) + int64(at-t.next); d >= 0 && d < 1<<32 && !t.ended {
		last.duration = uint32(d)
		t.next = at
	}
}

// readRun adds the samples of a trun, whose data begins at an offset from base,
// or where the run before ended.
func (m *mp4) readRun(t, d *track, r box, base, at int64) int64 {
	f := fields{b: r.body}
	_, flags := f.full()
	n := f.u32()
	if flags&trunOffset != 0 {
		at = base + int64(int32(f.u32()))
	}
	first, hasFirst := uint32(0), flags&trunFirstFlags != 0
	if hasFirst {
		first = f.u32()
	}
	for i := uint32(0); i < n && len(t.samples) < maxSamples; i++ {
		s := sample{size: d.size, duration: d.duration}
		sf := d.flags
		if flags&trunDuration != 0 {
			s.duration = f.u32()
		}
		if flags&trunSize != 0 {
			s.size = f.u32()
		}
		if flags&trunFlags != 0 {
			sf = f.u32()
		} else if i == 0 && hasFirst {
			sf = first
		}
		if flags&trunShift != 0 {
			s.shift = int32(f.u32())
		}
		if f.short {
			break
		}
		s.sync = sf&sampleIsNonSync == 0
		m.add(t, s, at, d.description, i == 0)
		at += int64(s.size)
	}
	return at
}
