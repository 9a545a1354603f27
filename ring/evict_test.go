package ring

import (
	"hash/fnv"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// fillPattern makes every frame's bytes its own.
func fillPattern(b []byte, n int) {
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
}

func patternHash(size, n int) uint64 {
	b := make([]byte, size)
	fillPattern(b, n)
	return hashOf(b)
}

// TestEvictKeepsLentFrames holds frames until the ring is full, evicts them
// while another thread hashes them without pause, lets the producer write over
// their place in the ring, and finds every byte unchanged; then the mapping
// shows the ring again.
func TestEvictKeepsLentFrames(t *testing.T) {
	const w, h = 256, 150
	format, err := PackedVideo("GRAY8", w, h, 30, 1)
	if err != nil {
		t.Fatal(err)
	}
	size := format.Size()
	// Six extents of ten pages, and an odd one so that frames wrap unevenly.
	cfg := Config{VideoBytes: 6*40960 + 8192, Slots: 16, CopyLimit: 64 * 40960}
	r, p := attachPair(t, "unix:"+filepath.Join(t.TempDir(), "s"), cfg, []StreamSpec{{"v", KindVideo, size}})
	wr, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer wr.Close()
	id, err := p.SetVideo(0, format)
	if err != nil {
		t.Fatal(err)
	}

	written := 0
	write := func() bool {
		s, err := wr.Claim(0, id, size, Drop)
		if err != nil {
			return false
		}
		fillPattern(s.Data, written)
		s.Commit(int64(written), 0, 0)
		written++
		return true
	}
	type lent struct {
		f    Frame
		hash uint64
	}
	var held []lent
	take := func() bool {
		f, ok := r.Peek(KindVideo)
		if !ok {
			return false
		}
		n := int(f.PTS)
		f = r.Take(KindVideo)
		if got := hashOf(f.Data); got != patternHash(size, n) {
			t.Fatalf("frame %d arrived damaged (copied: %v)", n, f.Copied)
		}
		held = append(held, lent{f, patternHash(size, n)})
		return true
	}
	for write() {
		take()
	}
	if len(held) < 5 {
		t.Fatalf("only %d frames fit", len(held))
	}

	// One thread hashes the oldest frame all the time.
	var stop atomic.Bool
	var rounds, wrong atomic.Int64
	first := held[0]
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for !stop.Load() {
			if hashOf(first.f.Data) != first.hash {
				wrong.Add(1)
			}
			rounds.Add(1)
		}
	}()
	base := func(f Frame) *byte { return &f.Data[0] }
	place := base(first.f)
	written0 := p.at.Load().classes[0].arena[:size] // where the producer wrote the first frame
	overwritten := false

	copied, evicted := 0, 0
	for round := range 12 {
		frames, bytes := r.Evict(KindVideo)
		if frames == 0 || bytes != int64(frames*size) {
			t.Fatalf("round %d: evicted %d frames, %d bytes; %+v", round, frames, bytes, r.Stats().Classes)
		}
		n := 0
		for write() {
			n++
			take()
		}
		if n < 2 {
			t.Fatalf("round %d: room for %d frames after evicting %d, want at least 2", round, n, frames)
		}
		evicted += frames
		overwritten = overwritten || hashOf(written0) != first.hash
		// Keep the watched frame and two more; the ring fills up again.
		for i, l := range held {
			if hashOf(l.f.Data) != l.hash {
				t.Errorf("round %d: frame %d changed while it was held", round, l.f.PTS)
			}
			if l.f.Copied {
				copied++
			}
			if i > 0 && i < len(held)-2 {
				l.f.Cell.Release()
			}
		}
		held = append(held[:1], held[len(held)-2:]...)
		r.Reclaim()
		for write() {
			take()
		}
		before := rounds.Load()
		for deadline := time.Now().Add(5 * time.Second); rounds.Load() < before+2 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	<-watched
	if wrong.Load() != 0 {
		t.Errorf("the watched frame changed in %d of %d looks", wrong.Load(), rounds.Load())
	}
	if !overwritten {
		t.Error("the producer never wrote over the watched frame's place")
	}
	if base(first.f) != place {
		t.Error("the frame's address changed")
	}
	if copied == 0 || evicted < 12 {
		t.Errorf("%d frames evicted, %d frames behind an evicted one: the test does not test it", evicted, copied)
	}
	st := r.Stats()
	if st.Streams[0].Copied < int64(evicted) || st.Classes[0].Evicted != int64(evicted) {
		t.Errorf("%d frames evicted, counted %d, copied %d", evicted, st.Classes[0].Evicted, st.Streams[0].Copied)
	}
	if st.Classes[0].HeldFrames != int64(len(held)) || st.CopiesAlive == 0 {
		t.Errorf("held %d frames, %+v", len(held), st.Classes[0])
	}

	// Release everything: the mapping shows the ring again, without copies.
	for _, l := range held {
		l.f.Cell.Release()
	}
	held = nil
	r.Reclaim()
	if st := r.Stats(); st.CopiesAlive != 0 || st.Classes[0].HeldFrames != 0 || st.Classes[0].Used != 0 {
		t.Errorf("after the last release: %d bytes of copies, %+v", st.CopiesAlive, st.Classes[0])
	}
	for range 20 {
		if !write() || !take() {
			t.Fatal("the ring does not go on")
		}
		if held[0].f.Copied {
			t.Error("a frame was copied although nothing is evicted")
		}
		held[0].f.Cell.Release()
		held = nil
		r.Reclaim()
	}
}

// TestCopyLimit: copies stop at the limit, and go on when one is released.
func TestCopyLimit(t *testing.T) {
	cfg := Config{VideoBytes: 256 << 10, Slots: 16, CopyLimit: 3 * 8192}
	r, p := attachPair(t, filepath.Join(t.TempDir(), "r"), cfg, []StreamSpec{{"v", KindVideo, 8192}})
	wr, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer wr.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		s, err := wr.Claim(0, id, 8000, Drop)
		if err != nil {
			t.Fatal(err)
		}
		fillPattern(s.Data, i)
		s.Commit(int64(i), 0, 0)
	}
	var out []Frame
	for {
		f, ok := r.TakeCopy(KindVideo)
		if !ok {
			break
		}
		out = append(out, f)
	}
	if len(out) != 3 {
		t.Fatalf("%d copies under a limit of 3", len(out))
	}
	if used, _, _ := p.Fill(KindVideo); used != 5*8192 {
		t.Errorf("%d bytes in use after 3 of 8 frames were copied out", used)
	}
	if f := r.Take(KindVideo); f.Copied || f.PTS != 3 {
		t.Errorf("at the limit Take gave %+v", f)
	} else {
		f.Cell.Release()
	}
	out[1].Cell.Release()
	r.Reclaim()
	f, ok := r.TakeCopy(KindVideo)
	if !ok || f.PTS != 4 || hashOf(f.Data) != patternHash(8000, 4) {
		t.Errorf("after a release: %v %+v", ok, f.PTS)
	}
	for _, f := range append(out, f) {
		f.Cell.Release()
	}
}
