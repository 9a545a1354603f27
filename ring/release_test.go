package ring

import (
	"flag"
	"math/rand"
	"testing"
	"time"
)

var seedFlag = flag.Int64("ring.seed", 0, "seed of the property tests; 0 takes one from the clock")

func testSeed(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = time.Now().UnixNano()
	}
	t.Logf("seed %d (repeat with -ring.seed)", seed)
	return rand.New(rand.NewSource(seed))
}

// TestReleaseInAnyOrder plays random claims, commits, aborts, takes, copies and
// releases against a reference queue: delivered is what was committed, in order
// within each stream; space in use is what lies between the oldest unfinished
// claim and the newest; and the ring refuses a claim only when the reference,
// too, has no room.
func TestReleaseInAnyOrder(t *testing.T) {
	rng := testSeed(t)
	const slots, capacity = 16, 40 * 4096
	r, p := heapPair(t, Config{VideoBytes: capacity, Slots: slots, CopyLimit: 1 << 20, startAtWrap: true},
		[]StreamSpec{{"a", KindVideo, 16 << 10}, {"b", KindVideo, 16 << 10}})
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ids := [2]uint32{}
	for i := range ids {
		if ids[i], err = p.SetVideo(i, grey); err != nil {
			t.Fatal(err)
		}
	}

	type claim struct {
		stream int
		pts    int64
		extent int // bytes
		slot   Slot
		state  int // 0 open, 1 committed, 2 finished (aborted, released or copied), 3 lent
		frame  Frame
	}
	var queue []*claim // from the oldest that read has not passed
	head := 0          // reference write position in bytes, modulo the capacity
	pts := int64(0)
	inUse := func() (n int) {
		for _, c := range queue {
			n += c.extent
		}
		return n
	}
	pop := func() {
		for len(queue) > 0 && queue[0].state == 2 {
			queue = queue[1:]
		}
	}
	deliverable := func() *claim {
		blocked := [2]bool{}
		for _, c := range queue {
			if c.state == 0 {
				blocked[c.stream] = true
			}
			if c.state == 1 && !blocked[c.stream] {
				return c
			}
		}
		return nil
	}
	pick := func(state int) *claim {
		var of []*claim
		for _, c := range queue {
			if c.state == state {
				of = append(of, c)
			}
		}
		if len(of) == 0 {
			return nil
		}
		return of[rng.Intn(len(of))]
	}
	for step := range 40000 {
		// The reference frees what the ring has freed: a prefix of finished claims.
		used, _, _ := p.Fill(KindVideo)
		for len(queue) > 0 && queue[0].state == 2 && inUse() > int(used) {
			queue = queue[1:]
		}
		if inUse() != int(used) {
			t.Fatalf("step %d: %d bytes in use, the reference has %d", step, used, inUse())
		}
		switch op := rng.Intn(10); {
		case op < 3:
			stream, n := rng.Intn(2), 1024+rng.Intn(15<<10)
			extent := roundUp(n, 4096)
			if head+extent > capacity {
				extent += capacity - head
			}
			room := len(queue) < slots && inUse()+extent <= capacity
			s, err := w.Claim(stream, ids[stream], n, Drop)
			if room != (err == nil) {
				t.Fatalf("step %d: claim of %d: %v; the reference has room: %v", step, n, err, room)
			}
			if err != nil {
				continue
			}
			pts++
			fillPattern(s.Data[:32], int(pts))
			queue = append(queue, &claim{stream: stream, pts: pts, extent: extent, slot: s})
			head = (head + extent) % capacity
		case op < 5:
			if c := pick(0); c != nil {
				c.slot.Commit(c.pts, 0, 0)
				c.state = 1
			}
		case op < 6:
			if c := pick(0); c != nil && rng.Intn(3) == 0 {
				c.slot.Abort()
				c.state = 2
			}
		case op < 8:
			want := deliverable()
			f, ok := r.Peek(KindVideo)
			if ok != (want != nil) || ok && (f.PTS != want.pts || int(f.Stream) != want.stream) {
				// A frame once shown stays at peek although an older one of another
				// stream became ready in between.
				alt := (*claim)(nil)
				for _, c := range queue {
					if ok && c.pts == f.PTS && c.state == 1 {
						alt = c
					}
				}
				if alt == nil {
					t.Fatalf("step %d: peek %v %d; the reference has %+v", step, ok, f.PTS, want)
				}
				want = alt
			}
			if !ok {
				continue
			}
			if rng.Intn(4) == 0 {
				f, ok = r.TakeCopy(KindVideo)
				if !ok {
					t.Fatalf("step %d: no copy", step)
				}
				want.state = 2
				if hashOf(f.Data[:32]) != patternHash(32, int(f.PTS)) {
					t.Fatalf("step %d: the copy of frame %d is damaged", step, f.PTS)
				}
				f.Cell.Release()
				continue
			}
			want.frame = r.Take(KindVideo)
			want.state = 3
		default:
			if c := pick(3); c != nil {
				if hashOf(c.frame.Data[:32]) != patternHash(32, int(c.pts)) {
					t.Fatalf("step %d: frame %d changed while lent", step, c.pts)
				}
				c.frame.Cell.Release()
				c.state = 2
			}
		}
		if rng.Intn(2) == 0 {
			r.Peek(KindVideo) // aborted claims are noticed by looking
			r.Reclaim()
		}
	}
	// Everything comes back.
	for _, c := range queue {
		switch c.state {
		case 0:
			c.slot.Abort()
		case 3:
			c.frame.Cell.Release()
		}
	}
	for {
		f := r.Take(KindVideo)
		if f.Cell == nil {
			break
		}
		f.Cell.Release()
	}
	r.Reclaim()
	for _, c := range queue {
		c.state = 2
	}
	pop()
	if used, _, _ := p.Fill(KindVideo); used != 0 || len(queue) != 0 {
		t.Errorf("%d bytes in use at the end", used)
	}
	if st := r.Stats(); st.Abandoned != 0 || st.Classes[0].SlotsUsed != 0 || st.Classes[0].HeldFrames != 0 || st.CopiesAlive != 0 {
		t.Errorf("at the end: %+v", st)
	}
}
