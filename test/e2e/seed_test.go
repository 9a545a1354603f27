package e2e

import (
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"
)

// seed is a source of faults from seedNumber.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewSource(seedNumber(t)))
}

// seedNumber gives the faults' seed: MPIPE_SEED, or a new one. It is printed, so
// that a failure can be had again.
func seedNumber(t *testing.T) int64 {
	t.Helper()
	n, err := strconv.ParseInt(os.Getenv("MPIPE_SEED"), 10, 64)
	if err != nil {
		n = time.Now().UnixNano()
	}
	t.Logf("MPIPE_SEED=%d", n)
	return n
}
