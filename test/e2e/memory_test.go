package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

const (
	soakBitrate = 2_000_000 // bits a second, filled up
	soakSpeed   = 20        // times real time that a throttled store takes

	// The program with its libraries, a ring of 8 and 1 MiB, the encoders' own
	// frames, the parts being sent, and queues that are as good as empty.
	soakMost = 160 << 20
	// Of the last third's median above the first's, for any length up to half an
	// hour. An MP4 keeps size, time and place of each frame for its index, about
	// 0.4 MiB a minute; MPEG-TS, which has none, does not grow.
	soakGrowth = 12 << 20
)

const soak = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
capacity = "8MiB"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "ultrafast"
bitrate = "%d"
gst = { pass = "cbr", option-string = "nal-hrd=cbr" }
[stages.a]
type = "opus"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "${out}"
`

// Memory does not grow with the length of a recording: half an hour of stamps, as
// fast as it goes, into a file and a store, once a store that takes twenty times
// real time and no more, so that the spool is full. MPIPE_RECORD=30m is as long;
// without it, two minutes.
func TestMemoryStaysFlat(t *testing.T) {
	length := 2 * time.Minute
	if testing.Short() {
		length = time.Minute
	}
	if d, err := time.ParseDuration(os.Getenv("MPIPE_RECORD")); err == nil {
		length = d
	}
	for _, store := range []string{"fast", "throttled"} {
		t.Run(store+" store", func(t *testing.T) {
			s := startStore(t)
			url, spool := s.URL, t.TempDir()
			if store == "throttled" {
				link := servers.StartToxiproxy(t).Proxy(s.Addr)
				link.Bandwidth(soakSpeed * soakBitrate / 8)
				url = "http://" + link.Addr
			}
			text := fmt.Sprintf(soak, soakBitrate) + s.sink(url, "a.mp4", spool, "part_size = \"5MiB\"\nspool_max = \"24MiB\"\nparallel = 1")
			r := recordTo(t, graph(t, text), ringName(), "a.mp4")
			frames := int(length.Seconds()) * 30
			feed := start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--frames", fmt.Sprint(frames), "--pace", "reader")
			r.says("stream=video")
			began := time.Now()
			rss := resident(t, r, feed)
			took := time.Since(began)
			if code := feed.wait(time.Second); code != 0 {
				t.Fatalf("feed ended with %d", code)
			}
			r.finish(5 * time.Minute)
			whole(t, r.out, frames)
			whole(t, s.object("a.mp4"), frames)

			third := len(rss) / 3
			first, last := medianOf(rss[:third]), medianOf(rss[len(rss)-third:])
			t.Logf("%v recorded in %v (%.0f times real time), %d samples: resident %.1f MiB in the first third, %.1f in the last (bound +%d), %.1f at most (bound %d)",
				length, took.Round(time.Second), length.Seconds()/took.Seconds(), len(rss), mib(first), mib(last), soakGrowth>>20, mib(slices.Max(rss)), soakMost>>20)
			if last > first+soakGrowth || slices.Max(rss) > soakMost {
				t.Errorf("memory grows, or is too much: %v MiB", inMiB(rss))
			}
		})
	}
}

// resident samples how much memory a run has until its producer has ended.
func resident(t *testing.T, r *recording, feed *proc) (rss []int64) {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-feed.done:
			if len(rss) < 6 {
				t.Fatalf("%d samples say nothing", len(rss))
			}
			return rss
		case <-r.done:
			t.Fatal("mpipe ended before its producer")
		case <-tick.C:
			rss = append(rss, memory(t, r.cmd.Process.Pid))
		}
	}
}

func medianOf(v []int64) int64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func inMiB(v []int64) string {
	var b strings.Builder
	for _, n := range v {
		fmt.Fprintf(&b, "%d ", n>>20)
	}
	return b.String()
}
