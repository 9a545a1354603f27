package ring

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNowIsTheMonotonicClock compares stamps with those that a producer in C
// takes.
func TestNowIsTheMonotonicClock(t *testing.T) {
	least := int64(time.Hour)
	for range 1000 {
		before := Now()
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		after := Now()
		// The best of many: a test that was put aside in between says nothing.
		least = min(least, max(before-ts.Nano(), ts.Nano()-after, 0))
	}
	if least > int64(time.Microsecond) {
		t.Errorf("Now is %d ns away from CLOCK_MONOTONIC", least)
	}
}
