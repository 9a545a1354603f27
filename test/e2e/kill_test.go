package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// kill -9 at random moments, in each container that plays after it: what was
// recorded up to two seconds before does. The matrix of faults kills more often,
// with more outputs.
func TestSIGKILLAtRandomMoments(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 3
	}
	rng := seed(t)
	names := []string{"a.mkv", "a.ts", "a.mp4"}
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
