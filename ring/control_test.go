package ring

import (
	"testing"
)

// TestTimeoutWouldCorrupt is a control: the design that the ring does not have,
// and why. A writer claims and is merely slow, as one that was stopped or paged
// out; others fill the ring. The right consumer keeps the slow writer's space and
// the ring is full. One that takes claims back after a while gives the space away,
// and the slow writer then draws over a frame that is committed and lent.
func TestTimeoutWouldCorrupt(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		damaged, sent, slow := slowWriter(t, wrong)
		t.Logf("reclaim on a time-out: %v; %d frames beside the slow one, %d of them corrupt, the slow one delivered: %v", wrong, sent, damaged, slow)
		switch {
		case !wrong && (damaged != 0 || !slow):
			t.Errorf("%d frames were damaged; the slow frame arrived: %v", damaged, slow)
		case wrong && damaged == 0:
			t.Error("the control did not fail: this test sees no corruption")
		}
	}
}

// slowWriter plays it in one thread. With wrong, the consumer gives up the claim
// while its writer lives.
func slowWriter(t *testing.T, wrong bool) (damaged, sent int, slow bool) {
	r, p := heapPair(t, Config{VideoBytes: 64 << 10, Slots: 16}, []StreamSpec{{"slow", KindVideo, 4 << 10}, {"fast", KindVideo, 4 << 10}})
	var w [2]*Writer
	var ids [2]uint32
	for i := range w {
		var err error
		if w[i], err = p.Writer(); err != nil {
			t.Fatal(err)
		}
		defer w[i].Close()
		if ids[i], err = p.SetVideo(i, grey); err != nil {
			t.Fatal(err)
		}
	}
	open := mustClaim(t, w[0], 0, ids[0], 4<<10)
	var held []Frame
	take := func() {
		f := r.Take(KindVideo)
		switch {
		case f.Cell == nil:
		case f.Stream == 0:
			slow = hashOf(f.Data) == patternHash(4<<10, 0)
			f.Cell.Release()
		case f.PTS == 15: // 16 fit: this is the one in the slow writer's place
			held = append(held, f)
		default:
			f.Cell.Release()
		}
		r.Reclaim()
	}
	for ; sent < 40; sent++ {
		s, err := w[1].Claim(1, ids[1], 4<<10, Drop)
		if err != nil {
			break // full: the slow writer's claim holds read back
		}
		fillPattern(s.Data, sent)
		s.Commit(int64(sent), 0, 0)
		if sent == 2 && wrong {
			r.abandon(r.classes[0].entry(r.classes[0].next.seq()))
		}
		take()
		if len(held) == 1 {
			sent++
			break
		}
	}
	fillPattern(open.Data, 0)
	for _, f := range held {
		if hashOf(f.Data) != patternHash(4<<10, int(f.PTS)) {
			damaged++
		}
		f.Cell.Release()
	}
	open.Commit(0, 0, 0)
	for range sent + 1 {
		if r.State() == Live {
			take()
		}
	}
	return damaged, sent, slow
}
