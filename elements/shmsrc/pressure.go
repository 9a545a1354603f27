package shmsrc

import (
	"github.com/mpipe/mpipe/ring"
)

// pressure is what relieve found.
type pressure int

const (
	noPressure pressure = iota
	relieved            // space was made; look again
	atLimit             // space is needed, but copy_limit is reached
)

// relieve breaks the look-ahead deadlock: an encoder waits for more frames than
// the ring is long, while it holds those it has, so the producer waits for
// space that never comes. The signs are unmistakable: nothing in the ring is
// left to deliver, the producer has no room for two frames, and downstream has
// worked through all it was given and is hungry. A slow sink shows differently:
// its frames wait in the outlet, nothing is hungry, and the producer is held
// up, as it should be.
func (s *source) relieve(r *ring.Reader) pressure {
	if r.State() != ring.Live {
		return noPressure
	}
	for _, k := range kinds {
		if _, ready := r.Peek(k); ready || !s.hungry(k) || !r.Tight(k) {
			continue
		}
		if n, bytes := r.Evict(k); n > 0 {
			s.env.Log.Debug("evicted frames that an encoder holds", "kind", k, "frames", n, "bytes", bytes)
			return relieved
		}
		return atLimit
	}
	return noPressure
}

func (s *source) hungry(k ring.Kind) bool {
	for _, p := range s.order {
		if p.kind == k && !p.ended && p.out.Hungry() {
			return true
		}
	}
	return false
}
