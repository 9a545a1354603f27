package ring

import (
	"testing"
)

// FuzzHello: no message makes the consumer panic, and what it takes holds what
// the code behind it relies on. Encoding what was parsed gives it again.
func FuzzHello(f *testing.F) {
	good := hello{role: roleProducer, pid: 7, boot: 9, name: "x", streams: []StreamSpec{{"v", KindVideo, 100}, {"a", KindAudio, 4}}}
	f.Add([]byte(good.encode()))
	f.Add([]byte(hello{role: roleObserver}.encode()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(append(mem(nil), b...))
		if err != nil {
			return
		}
		if len(h.streams) > maxStreams {
			t.Fatalf("%d streams", len(h.streams))
		}
		for _, s := range h.streams {
			if _, ok := s.Kind.class(); h.role == roleProducer && (!ok || s.MaxFrame < 1 || !validName(s.Name)) {
				t.Fatalf("%+v", s)
			}
		}
		if h.role == roleProducer {
			again, err := parseHello(h.encode())
			if err != nil || len(again.streams) != len(h.streams) || again.name != h.name {
				t.Fatalf("%+v came back as %+v, %v", h, again, err)
			}
		}
	})
}

// FuzzWelcome is the same for what a producer is answered.
func FuzzWelcome(f *testing.F) {
	f.Add([]byte(welcome{refused: true, reason: "no"}.encode()))
	f.Add([]byte(welcome{pairs: 1, pid: 3, name: "mpipe"}.encode()))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := parseWelcome(append(mem(nil), b...))
		if err == nil && (w.pairs < 0 || w.pairs > observerPairs || len(w.reason) >= consReasonSize) {
			t.Fatalf("%+v", w)
		}
	})
}

// FuzzFormat: a format the reader takes can be used without further checks.
func FuzzFormat(f *testing.F) {
	video, audio := make(mem, formatSize), make(mem, formatSize)
	encodeVideo(video, 0, I420(1920, 1080, 30, 1))
	encodeAudio(audio, 1, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	f.Add([]byte(video))
	f.Add([]byte(audio))
	f.Fuzz(func(t *testing.T, b []byte) {
		private := make(mem, formatSize)
		copy(private, b)
		got, err := parseFormat(private, 1)
		if err != nil {
			return
		}
		if got.size < 1 || (got.Video == nil) == (got.Audio == nil) {
			t.Fatalf("%+v", got)
		}
		if v := got.Video; v != nil {
			for i := range v.Planes {
				if v.Offsets[i] < 0 || v.Strides[i] < 1 || v.Offsets[i]+v.Strides[i] > got.size {
					t.Fatalf("plane %d lies outside of %d bytes: %+v", i, got.size, v)
				}
			}
		}
	})
}

// FuzzHeader: no header makes a producer or tool look outside of the mapping.
func FuzzHeader(f *testing.F) {
	cfg := Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8}
	if err := cfg.settle(); err != nil {
		f.Fatal(err)
	}
	g := plan(cfg, 1, [classCount]bool{true, true})
	seg := make(mem, g.size)
	g.writeHeader(seg)
	f.Add([]byte(seg[:segClasses+classCount*segClassSize]))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := make(mem, g.size)
		copy(m, seg)
		copy(m, b[:min(len(b), segClasses+classCount*segClassSize)])
		got, err := readHeader(m)
		if err != nil {
			return
		}
		for c := range got.classes {
			if p := &got.classes[c]; p.used() {
				p.table(m)
				p.arena(m)
				if _, at := p.place(p.modulus-1, p.capacity*granule/2); at >= p.capacity*granule {
					t.Fatalf("a payload at byte %d of %d", at, p.capacity*granule)
				}
			}
		}
		readStats(got, m, make(mem, consSize))
	})
}

// FuzzSlots writes anything into the slot table, the format table and the write
// cursors, live and after the producer's end. The reader may end the attachment
// but not panic, not lend what lies outside of the arena, and not go backwards.
func FuzzSlots(f *testing.F) {
	streams := []StreamSpec{{"v", KindVideo, 4 << 10}, {"a", KindAudio, 400}}
	cfg := Config{VideoBytes: 32 << 10, AudioBytes: 8 << 10, Slots: 4, startAtWrap: true}
	good := func() []byte {
		r, p := heapPair(f, cfg, streams)
		w, err := p.Writer()
		if err != nil {
			f.Fatal(err)
		}
		v, _ := p.SetVideo(0, grey)
		a, _ := p.SetAudio(1, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 1})
		for i, id := range []uint32{v, a} {
			for range 3 {
				s, err := w.Claim(i, id, 1024>>(2*i), Drop)
				if err != nil {
					f.Fatal(err)
				}
				s.Commit(1, 1, 0)
			}
		}
		return slotBytes(r, nil)
	}()
	f.Add(good, uint8(0))
	f.Add(good, uint8(255))
	for i := 0; i < len(good); i += 61 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0xff
		f.Add(bad, uint8(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, end uint8) {
		r, _ := heapPair(t, cfg, streams)
		slotBytes(r, b)
		if end%2 == 1 {
			r.peerEvent(peerDied)
		}
		var held []Frame
		defer func() {
			for _, f := range held {
				f.Cell.Release()
			}
		}()
		for range 20 {
			for _, k := range kinds {
				f, ok := r.Peek(k)
				if ok && len(f.Data) > 4<<10 {
					t.Fatalf("%d bytes", len(f.Data))
				}
				f = r.Take(k)
				for i := range f.Data {
					_ = f.Data[i]
				}
				switch {
				case f.Cell != nil && end&2 != 0:
					f.Cell.Release()
				case f.Cell != nil:
					held = append(held, f)
				}
				r.Reclaim()
			}
			if end%7 == 3 {
				slotBytes(r, b) // it writes while we read
			}
			r.Stats()
		}
	})
}

// slotBytes gives what a producer can write that the reader parses; with b it
// writes that first.
func slotBytes(r *Reader, b []byte) (out []byte) {
	parts := []mem{r.b.seg[formatsOff : formatsOff+2*formatSize], r.b.seg[wordsOff+wordClasses : wordsOff+wordClasses+classCount*wordClassSize]}
	for _, c := range r.classes {
		parts = append(parts, c.table)
	}
	for _, p := range parts {
		b = b[copy(p, b):]
		out = append(out, p...)
	}
	return out
}
