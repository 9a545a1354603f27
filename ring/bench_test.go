package ring

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkClaimCommit measures claim and commit without payload, in batches
// that a reader then drains outside of the measurement.
func BenchmarkClaimCommit(b *testing.B) {
	r, p := attachPair(b, filepath.Join(b.TempDir(), "r"), Config{}, []StreamSpec{{"a", KindAudio, 64}})
	w, err := p.Writer()
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	id, err := p.SetAudio(0, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	if err != nil {
		b.Fatal(err)
	}
	const batch = 512
	var write, read time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		for range batch {
			s, err := w.Claim(0, id, 64, Drop)
			if err != nil {
				b.Fatal(err)
			}
			s.Commit(1, 0, 0)
		}
		middle := time.Now()
		for range batch {
			f := r.Take(KindAudio)
			f.Cell.Held.Store(0)
		}
		r.Reclaim()
		write += middle.Sub(begin)
		read += time.Since(middle)
		n += batch
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(write.Nanoseconds())/float64(n), "ns/claim+commit")
	b.ReportMetric(float64(read.Nanoseconds())/float64(n), "ns/take+release")
}

// BenchmarkSmallFrames sends 64-byte frames from another process as fast as both
// go.
func BenchmarkSmallFrames(b *testing.B) {
	ctx := testCtx(b)
	addr := "unix:" + filepath.Join(b.TempDir(), "s")
	l, err := Listen(addr, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	start(b, helper(ctx, "counted", addr, strconv.Itoa(b.N), "64"))
	r, err := l.Accept(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	n := 0
	b.ResetTimer()
	for !r.Drained(KindAudio) {
		f := r.Take(KindAudio)
		if f.Cell == nil {
			r.Reclaim()
			r.Wait(ctx, time.Second)
			continue
		}
		n++
		f.Cell.Release()
		if n%64 == 0 {
			r.Reclaim()
		}
	}
	b.StopTimer()
	if n != b.N {
		b.Fatalf("%d frames of %d: %v", n, b.N, r.Err())
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "frames/s")
	st := r.Stats()
	b.ReportMetric(float64(st.Waits)/float64(n), "sleeps/frame")
}

// filled gives a ring with pictures of 1080p I420 in it, as many as fit.
func filled(b *testing.B) (*Reader, func() int) {
	format := I420(1920, 1080, 30, 1)
	r, p := attachPair(b, "unix:"+filepath.Join(b.TempDir(), "s"), Config{}, []StreamSpec{{"v", KindVideo, format.Size()}})
	w, err := p.Writer()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close() })
	id, err := p.SetVideo(0, format)
	if err != nil {
		b.Fatal(err)
	}
	return r, func() (n int) {
		for {
			s, err := w.Claim(0, id, format.Size(), Drop)
			if err != nil {
				return n
			}
			for i := 0; i < len(s.Data); i += 64 {
				s.Data[i]++
			}
			s.Commit(1, 0, 0)
			n++
		}
	}
}

// BenchmarkTakeCopy1080p measures one pooled copy of a 1080p picture.
func BenchmarkTakeCopy1080p(b *testing.B) {
	r, fill := filled(b)
	var spent time.Duration
	n := 0
	for b.Loop() {
		for range fill() {
			begin := time.Now()
			f, ok := r.TakeCopy(KindVideo)
			spent += time.Since(begin)
			if !ok {
				b.Fatal("no copy")
			}
			n++
			f.Cell.Release()
			r.Reclaim()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(spent.Microseconds())/float64(n), "us/frame")
}

// BenchmarkEvict1080p measures an eviction of a 1080p picture, and mapping its
// pages back after the release.
func BenchmarkEvict1080p(b *testing.B) {
	r, fill := filled(b)
	var evict, back time.Duration
	n := 0
	for b.Loop() {
		fill()
		var held []Frame
		for {
			f := r.Take(KindVideo)
			if f.Cell == nil {
				break
			}
			held = append(held, f)
		}
		begin := time.Now()
		frames, _ := r.Evict(KindVideo)
		evict += time.Since(begin)
		if frames == 0 {
			b.Fatal("nothing evicted")
		}
		n += frames
		for _, f := range held {
			f.Cell.Release()
		}
		begin = time.Now()
		r.Reclaim()
		back += time.Since(begin)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(evict.Microseconds())/float64(n), "us/evicted")
	b.ReportMetric(float64(back.Microseconds())/float64(n), "us/mapped-back")
}

// BenchmarkWake measures from a commit in another process to the reader running,
// with the reader asleep.
func BenchmarkWake(b *testing.B) {
	ctx := testCtx(b)
	addr := "unix:" + filepath.Join(b.TempDir(), "s")
	l, err := Listen(addr, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	start(b, helper(ctx, "paced", addr, strconv.Itoa(b.N)))
	r, err := l.Accept(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var took []int64
	for !r.Drained(KindAudio) {
		f, ok := r.Peek(KindAudio)
		if !ok {
			r.Wait(ctx, time.Second)
			continue
		}
		now := Now()
		if f = r.Take(KindAudio); f.Cell != nil {
			took = append(took, now-f.PTS)
			f.Cell.Release()
		}
		r.Reclaim()
	}
	if len(took) == 0 {
		b.Fatal("no frames")
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2])/1e3, "us/p50")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "us/p99")
}
