package pipeline

import (
	"sync/atomic"
	"time"
)

// Timeline maps capture stamps (CLOCK_MONOTONIC) to running time, the same for
// every source of a run, so that what was captured together stays together.
type Timeline struct {
	base atomic.Int64 // ns; 0 is "not yet known"
}

// Start fixes zero at the given stamp unless it is fixed already, and returns
// the stamp that counts. Stamps are positive: CLOCK_MONOTONIC starts at boot.
func (t *Timeline) Start(stamp time.Duration) time.Duration {
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
