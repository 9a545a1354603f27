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
	r.Reclaim() // what was released meanwhile is room already
	for _, k := range kinds {
		if !s.hungry(k) || !r.Tight(k) {
			continue
		}
		// Looked at last: what was committed meanwhile is no sign of starving.
		if _, ready := r.Peek(k); ready {
			continue
		}
		s.depth[k], _ = r.Held(k)
		if n, bytes := r.Evict(k); n > 0 {
			s.env.Log.Debug("evicted frames that an encoder holds", "kind", k, "frames", n, "bytes", bytes)
			return relieved
		}
		return atLimit
	}
	return noPressure
}

// tooDeep tells that, since frames had to be evicted, downstream was seen to hold
// more frames than the ring is long, so that lending it more would only mean to
// evict them: a copy at once is cheaper.
func (s *source) tooDeep(r *ring.Reader, k ring.Kind) bool {
	if !r.CopiesOut(k) {
		return false
	}
	held, largest := r.Held(k)
	s.depth[k] = max(s.depth[k], held)
	return (s.depth[k]+2)*largest > s.classBytes(k)
}

func (s *source) hungry(k ring.Kind) bool {
	for _, p := range s.order {
		if p.kind == k && !p.ended && p.out.Hungry() {
			return true
		}
	}
	return false
}
