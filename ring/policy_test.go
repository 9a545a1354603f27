package ring

import (
	"path/filepath"
	"testing"
	"time"
)

// onePair is a ring of 8 slots that holds 7 frames of 8000 bytes.
func onePair(t testing.TB, streams ...StreamSpec) (*Reader, *Producer, *Writer, uint32) {
	t.Helper()
	if len(streams) == 0 {
		streams = []StreamSpec{{"v", KindVideo, 8 << 10}}
	}
	r, p := attachPair(t, filepath.Join(t.TempDir(), "r"), Config{VideoBytes: 56 << 10, AudioBytes: 8 << 10, Slots: 8, startAtWrap: true}, streams)
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	return r, p, w, id
}

func mustClaim(t testing.TB, w *Writer, stream int, id uint32, n int) Slot {
	t.Helper()
	s, err := w.Claim(stream, id, n, Drop)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPolicies: drop newest at once, block until a deadline, block until there
// is room; drops and waiting are counted, and the producer sees how full it is.
func TestPolicies(t *testing.T) {
	r, p, w, id := onePair(t)
	for range 7 {
		s := mustClaim(t, w, 0, id, 8000)
		s.Commit(Now(), 0, 0)
	}
	if used, capacity, held := p.Fill(KindVideo); used != 56<<10 || capacity != 56<<10 || held != 0 {
		t.Errorf("fill %d of %d, %d held", used, capacity, held)
	}
	begin := time.Now()
	if _, err := w.Claim(0, id, 8000, Drop); err != ErrFull {
		t.Errorf("drop: %v", err)
	}
	if d := time.Since(begin); d > 50*time.Millisecond {
		t.Errorf("drop took %v", d)
	}
	begin = time.Now()
	if _, err := w.Claim(0, id, 8000, Block(150*time.Millisecond)); err != ErrFull {
		t.Errorf("block: %v", err)
	}
	if d := time.Since(begin); d < 150*time.Millisecond || d > 2*time.Second {
		t.Errorf("a deadline of 150 ms took %v", d)
	}
	w.DropByPolicy(0)

	// A held frame blocks; its release, far from the reader's goroutine, unblocks
	// through the reader's Wait.
	f := r.Take(KindVideo)
	got := make(chan error, 1)
	go func() {
		s, err := w.Claim(0, id, 8000, Block(20*time.Second))
		s.Commit(Now(), 0, 0)
		got <- err
	}()
	ctx := testCtx(t)
	time.AfterFunc(50*time.Millisecond, f.Cell.Release)
	for done := false; !done; {
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
			done = true
		default:
			r.Peek(KindVideo)
			r.Wait(ctx, time.Second)
			r.Reclaim()
		}
	}
	st := r.Stats().Streams[0]
	if st.DroppedFull != 2 || st.DroppedPolicy != 1 || st.Blocked < 150*time.Millisecond {
		t.Errorf("%+v", st)
	}
	ws := r.Stats().Writers
	if len(ws) != 1 || ws[0].DroppedFull != 2 || ws[0].DroppedPolicy != 1 || ws[0].Frames != 8 || ws[0].Bytes != 64000 {
		t.Errorf("%+v", ws)
	}
}

// TestReleaseWakesWithoutCommits: the consumer shows a frame it has no room for,
// so only releases matter, and each wakes it well before a slice ends.
func TestReleaseWakesWithoutCommits(t *testing.T) {
	r, _, w, id := onePair(t)
	for range 3 {
		s := mustClaim(t, w, 0, id, 8000)
		s.Commit(Now(), 0, 0)
	}
	f := r.Take(KindVideo)
	r.Peek(KindVideo) // shown, and left where it is
	ctx := testCtx(t)
	r.Wait(ctx, time.Millisecond) // takes note of what was
	fast := 0
	for range 5 {
		cell := f.Cell
		released := make(chan time.Time, 1)
		time.AfterFunc(20*time.Millisecond, func() { released <- time.Now(); cell.Release() })
		for cell.Held.Load() != 0 {
			r.Wait(ctx, 5*time.Second)
		}
		if time.Since(<-released) < 60*time.Millisecond {
			fast++
		}
		f = r.Take(KindVideo)
		if f.Cell == nil {
			s := mustClaim(t, w, 0, id, 8000)
			s.Commit(Now(), 0, 0)
			f = r.Take(KindVideo)
		}
		s := mustClaim(t, w, 0, id, 8000)
		s.Commit(Now(), 0, 0)
		r.Peek(KindVideo)
	}
	if fast < 3 {
		t.Errorf("%d of 5 releases woke the consumer", fast)
	}
}

// TestPeekPassesOtherStreams: a claim that is not committed stops its own
// stream, not the others of its class; read stops at it.
func TestPeekPassesOtherStreams(t *testing.T) {
	r, p, w, id := onePair(t, StreamSpec{"v", KindVideo, 8 << 10}, StreamSpec{"w", KindVideo, 8 << 10})
	id2, err := p.SetVideo(1, grey)
	if err != nil {
		t.Fatal(err)
	}
	open := mustClaim(t, w, 0, id, 1024)
	a := mustClaim(t, w, 1, id2, 1024)
	a.Commit(10, 0, 0)
	b := mustClaim(t, w, 0, id, 1024)
	b.Commit(20, 0, 0)
	c := mustClaim(t, w, 1, id2, 1024)
	gone := mustClaim(t, w, 1, id2, 1024)
	gone.Abort()
	d := mustClaim(t, w, 1, id2, 1024)
	d.Commit(40, 0, 0)
	take := func(want int64) {
		t.Helper()
		f, ok := r.Peek(KindVideo)
		if want == 0 {
			if ok {
				t.Fatalf("frame %d is at peek, want none", f.PTS)
			}
			return
		}
		if !ok || f.PTS != want {
			t.Fatalf("at peek: %v, frame %d; want %d", ok, f.PTS, want)
		}
		f = r.Take(KindVideo)
		f.Cell.Release()
		r.Reclaim()
	}
	take(10)
	take(0) // 20 waits for its stream's open claim, 40 for c
	if used, _, _ := p.Fill(KindVideo); used != 6*4096 {
		t.Errorf("%d bytes in use: read passed an open claim", used)
	}
	c.Commit(30, 0, 0)
	take(30)
	take(40)
	take(0)
	open.Commit(5, 0, 0)
	take(5)
	take(20)
	take(0)
	if used, _, _ := p.Fill(KindVideo); used != 0 {
		t.Errorf("%d bytes in use at the end", used)
	}
}

// TestFormatChangeIsOrdered: frames keep the format they were written in,
// whatever was published later, and equal formats share an id.
func TestFormatChangeIsOrdered(t *testing.T) {
	r, p, w, id := onePair(t)
	wide := VideoFormat{FourCC: "GRAY8", Width: 128, Height: 16, Planes: 1, Strides: [4]int{128}, FPSNum: 30, FPSDen: 1, Colorimetry: "bt709"}
	id2, err := p.SetVideo(0, wide)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.SetVideo(0, grey); err != nil || again != id || id2 == id {
		t.Errorf("ids %d and %d; the first again: %d, %v", id, id2, again, err)
	}
	for i, f := range []uint32{id, id2, id} {
		s := mustClaim(t, w, 0, f, 2048)
		s.Commit(int64(i), 0, 0)
	}
	for i, want := range []VideoFormat{grey, wide, grey} {
		f := r.Take(KindVideo)
		got, ok := r.Format(f.Stream, f.FormatID)
		if !ok || got.Video == nil || *got.Video != want {
			t.Errorf("frame %d has format %+v, want %+v", i, got.Video, want)
		}
		f.Cell.Release()
	}
	if _, err := w.Claim(0, id2, 2047, Drop); err == nil {
		t.Error("a frame smaller than its format was accepted")
	}
	if _, ok := r.Format(0, id2+1); ok {
		t.Error("an unpublished format was found")
	}
	var last error
	for i := range maxFormats {
		f := grey
		f.Height = i + 1
		_, last = p.SetVideo(0, f)
	}
	if last == nil {
		t.Error("more than 256 formats were accepted")
	}
}
