package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

const everywhere = `[sinks.live]
type = "rtmp"
inputs = ["v", "a"]
url = { env = "MPIPE_TEST_RTMP" }
`

// One encode of the picture and one of the sound, and AAC for RTMP, which takes no
// Opus: a file, a live stream and an object hold the same frames, every one of
// them. MPIPE_MINUTES=5 makes it as long as a talk.
func TestThreeOutputs(t *testing.T) {
	frames := 30 * 30
	if testing.Short() {
		frames = 10 * 30
	}
	if m := os.Getenv("MPIPE_MINUTES"); m != "" {
		var minutes int
		fmt.Sscan(m, &minutes)
		frames = minutes * 60 * 30
	}
	s, live := startStore(t), servers.StartRTMP(t, servers.RTMPOptions{})
	t.Setenv("MPIPE_TEST_RTMP", live.URL("talk"))
	spool := t.TempDir()
	r := recordTo(t, graph(t, record+everywhere+s.sink(s.URL, "talk.mp4", spool, "")), ringName(), "talk.mp4")
	feed := start(t, "feed", "--ring", r.ring, "--pattern", "1280x720@30", "--frames", fmt.Sprint(frames))
	limit := time.Duration(frames)*time.Second/30 + time.Minute
	if code := feed.wait(limit); code != 0 {
		t.Fatalf("feed ended with %d", code)
	}
	m := r.finish(time.Minute)
	whole(t, r.out, frames)
	whole(t, s.object("talk.mp4"), frames)
	recordings := live.Recordings("talk")
	if len(recordings) != 1 {
		t.Fatalf("the server recorded %v", recordings)
	}
	if got := measure(t, recordings[0]); got.Frames != frames || got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
		t.Errorf("the server recorded %+v, want the frames 0 to %d once each", got, frames-1)
	}
	for _, o := range m.Outputs {
		if !o.Complete || !o.Checked && o.Stage != "live" {
			t.Errorf("the manifest says of %s: %+v", o.Stage, o)
		}
	}
	s.nothingLeft(spool)
}
