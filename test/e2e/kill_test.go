package e2e

import (
	"math/rand"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// seed gives the faults' seed: MPIPE_SEED, or a new one. It is printed, so that
// a failure can be had again.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n, err := strconv.ParseInt(os.Getenv("MPIPE_SEED"), 10, 64)
	if err != nil {
		n = time.Now().UnixNano()
	}
	t.Logf("MPIPE_SEED=%d", n)
	return rand.New(rand.NewSource(n))
}

// kill -9 at random moments: what was recorded up to two seconds before plays.
func TestSIGKILLAtRandomMoments(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 3
	}
	rng := seed(t)
	names := []string{"a.mp4", "a.mp4", "a.mkv", "a.ts"}
	for i := range kills {
		name, after := names[i%len(names)], 2*time.Second+time.Duration(rng.Int63n(int64(3*time.Second)))
		r := recordTo(t, graph(t, record), ringName(), name, "--set", "v.preset=veryfast")
		feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
		r.says("stream=video")
		began := time.Now()
		time.Sleep(after)
		r.signal(syscall.SIGKILL)
		lived := time.Since(began).Seconds()
		<-r.done
		got := measure(t, r.out)
		if got.VideoEnd < lived-2 || got.AudioEnd < lived-2 {
			t.Errorf("%s killed after %.2f s plays video to %.2f s and sound to %.2f s", name, lived, got.VideoEnd, got.AudioEnd)
		}
		if got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("%s killed after %.2f s holds %+v", name, lived, got)
		}
		if code := feed.wait(10 * time.Second); code == 0 {
			t.Error("the producer did not notice that its consumer died")
		}
		os.Remove("/dev/shm/" + r.ring)
		os.Remove("/dev/shm/" + r.ring + ".consumer")
	}
}
