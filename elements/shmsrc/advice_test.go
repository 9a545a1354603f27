package shmsrc

import (
	"math"
	"testing"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// A graph that takes 12 of 30 pictures a second: the advice settles a little below
// what it takes, and is withdrawn in steps when it takes all again.
func TestAdviceFollowsTheGraph(t *testing.T) {
	var a adviser
	second := period{took: time.Second, frames: 30, nominal: 30}
	if r := a.judge(second); r != 0 {
		t.Errorf("without congestion %v is advised", r)
	}
	slow := period{took: time.Second, frames: 12, dropped: 18, nominal: 30}
	if r := a.judge(slow); math.Abs(r-11.4) > 0.01 {
		t.Errorf("12 fps are taken, %v advised", r)
	}
	waits := period{took: 2 * time.Second, frames: 20, blocked: time.Second, nominal: 30}
	if r := a.judge(waits); math.Abs(r-9.5) > 0.01 {
		t.Errorf("10 fps are taken, %v advised", r)
	}
	rates := []float64{}
	for i := 0; a.rate > 0 && i < 50; i++ {
		rates = append(rates, a.judge(period{took: time.Second, frames: int64(a.rate), blocked: 50 * time.Millisecond, nominal: 30}))
	}
	if rates[0] != rates[1] || rates[2] <= rates[1] || len(rates) > 20 || a.rate != 0 {
		t.Errorf("it rises like %.3v", rates)
	}
	if r := a.judge(period{took: time.Second, dropped: 5, nominal: 30}); r != slowest {
		t.Errorf("of a graph that takes nothing: %v", r)
	}
}

// The producer reads what the source says: the rate, who holds frames up, and for
// how long.
func TestTheProducerHearsAdvice(t *testing.T) {
	video := newEnd(0)
	r := newRig(t, map[string]*graphEnd{"video": video}, map[string]any{"capacity": int64(8 * picture)})
	if a := r.prod.Advice(); a.FPSNum != 0 || a.Holder != "" {
		t.Errorf("at the start: %+v", a)
	}
	var n int
	hear := func(good func(ring.Advice) bool) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); !good(r.prod.Advice()); n += 5 {
			if time.Now().After(end) {
				t.Fatalf("the producer hears %+v; the source says %+v", r.prod.Advice(), r.src.Report())
			}
			r.write(0, 5, time.Hour+time.Duration(n)*time.Second/30, ring.Drop)
			time.Sleep(10 * time.Millisecond)
		}
	}
	video.mu.Lock()
	video.stopped = true
	video.mu.Unlock()
	hear(func(a ring.Advice) bool {
		return a.FPSNum > 0 && a.FPSDen == 1000 && a.Holder == "app.video"
	})
	a := r.prod.Advice()
	if kept := count(a, 300); kept >= 300 || kept < 1 {
		t.Errorf("%+v keeps %d of 300", a, kept)
	}
	video.mu.Lock()
	video.stopped = false
	video.mu.Unlock()
	hear(func(a ring.Advice) bool { return a.Holder == "" })
}

// count is how many of n frames at 30 fps the advice keeps.
func count(a ring.Advice, n uint64) (kept int) {
	for i := range n {
		if a.Keep(i, 30, 1) {
			kept++
		}
	}
	return kept
}

func TestKeepKeepsTheRate(t *testing.T) {
	for _, c := range []struct {
		num, den uint32
		want     int
	}{{0, 0, 300}, {30, 1, 300}, {60, 1, 300}, {15, 1, 150}, {11400, 1000, 114}, {1, 1, 10}} {
		if got := count(ring.Advice{FPSNum: c.num, FPSDen: c.den}, 300); got != c.want {
			t.Errorf("at %d/%d fps %d of 300 frames are kept, want %d", c.num, c.den, got, c.want)
		}
	}
}
