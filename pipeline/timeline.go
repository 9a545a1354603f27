package pipeline

import (
	"sync"
	"sync/atomic"
	"time"
)

// Timeline maps capture stamps (CLOCK_MONOTONIC) to running time, the same for
// every source of a run, so that what was captured together stays together.
type Timeline struct {
	base atomic.Int64 // ns; 0 is "not yet known"

	mu      sync.Mutex
	sources int                      // that are expected to offer
	offers  map[string]time.Duration // by source
}

// Expect says how many sources a run has. It comes before their first offers.
func (t *Timeline) Expect(sources int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sources = sources
}

// Offer tells the earliest stamp that a source has, before it starts the timeline:
// whoever starts it does so at the earliest of all offers. all tells that every
// source has made one; a source waits a moment for that, or what another has from
// before its own first frame comes too late.
func (t *Timeline) Offer(source string, stamp time.Duration) (all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.offers == nil {
		t.offers = map[string]time.Duration{}
	}
	t.offers[source] = stamp
	return len(t.offers) >= t.sources
}

// Start fixes zero, unless it is fixed already, at the given stamp or the earliest
// offer, and returns the stamp that counts. Stamps are positive: CLOCK_MONOTONIC
// starts at boot.
func (t *Timeline) Start(stamp time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.offers {
		stamp = min(stamp, s)
	}
	t.base.CompareAndSwap(0, int64(max(stamp, 1)))
	return time.Duration(t.base.Load())
}

// Started tells whether zero is fixed.
func (t *Timeline) Started() bool { return t.base.Load() != 0 }

// Zero is the stamp that zero was fixed at; 0 before that.
func (t *Timeline) Zero() time.Duration { return time.Duration(t.base.Load()) }

// At gives the running time of a stamp, and false for a stamp before the start
// or when the timeline has not started.
func (t *Timeline) At(stamp time.Duration) (time.Duration, bool) {
	base := time.Duration(t.base.Load())
	if base == 0 || stamp < base {
		return 0, false
	}
	return stamp - base, true
}
