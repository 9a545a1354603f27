package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// Every graph of graphs/ runs, with a producer that suits it.
func TestGraphs(t *testing.T) {
	pattern := []string{"--pattern", "640x360@30"}
	known := map[string]struct {
		out     string
		feed    []string
		files   []string // endings added to out
		streams string
	}{
		"record.toml":       {"a.mp4", pattern, []string{""}, "h264 opus"},
		"webm.toml":         {"a.webm", pattern, []string{""}, "vp8 opus"},
		"two-files.toml":    {"a", pattern, []string{".mp4", ".ts"}, "h264 opus"},
		"two-pictures.toml": {"a.mkv", []string{"--pattern", "640x360@30", "--pattern", "320x180@15"}, []string{""}, "h264 h264 opus"},
		"sound.toml":        {"a.ogg", pattern, []string{""}, "opus"},
		"any-encoder.toml":  {"a.mkv", pattern, []string{""}, "vp9 flac"},
		"hls.toml":          {"a.m3u8", pattern, []string{""}, "h264 aac"},
		"pictures.toml":     {"a.mp4", []string{"--pattern", "640x360@30", "--no-audio"}, []string{""}, "h264"},
		"live.toml":         {"a.mp4", pattern, []string{""}, "h264 opus"},
		"everywhere.toml":   {"a.mp4", pattern, []string{""}, "h264 opus"},
		"preview.toml":      {"a", pattern, []string{".mp4"}, "h264 opus"},
		"grid.toml":         {"a.mp4", pattern, nil, ""},
		"process.toml":      {"a.mp4", pattern, nil, ""},
	}
	store := startStore(t)
	t.Setenv("MPIPE_SPOOL", t.TempDir())
	server := servers.StartRTMP(t, servers.RTMPOptions{})
	t.Setenv("RTMP_URL", server.URL("key"))
	files, err := filepath.Glob("../../graphs/*.toml")
	if err != nil || len(files) < len(known) {
		t.Fatalf("%d graphs found (%v), %d are known", len(files), err, len(known))
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "browser.toml" || name == "meeting.toml" {
			continue // test/browser runs them
		}
		t.Run(name, func(t *testing.T) {
			k, ok := known[name]
			if !ok {
				t.Fatal("this graph is not tested: add it here")
			}
			var more []string
			if name == "everywhere.toml" {
				more = []string{"--param", "bucket=" + store.bucket, "--param", "endpoint=" + store.URL}
			}
			if name == "grid.toml" { // nobody is given up, however busy the machine is
				more = []string{"--set", "picture.wait=30s", "--set", "sound.wait=30s"}
			}
			if name == "process.toml" {
				more = []string{"--param", "filter=" + inverter(t)}
			}
			r := recordTo(t, file, ringName(), k.out, more...)
			if name == "grid.toml" {
				start(t, "feed", "--ring", r.ring+"-b", "--pattern", "640x360@30", "--duration", "2s", "--pace", "reader")
			}
			start(t, append([]string{"feed", "--ring", r.ring, "--duration", "3s", "--pace", "reader"}, k.feed...)...)
			m := r.finish(time.Minute)
			if name == "live.toml" {
				whole(t, server.Recordings("key")[0], 90)
				if o := output(t, m, "live"); !o.Complete {
					t.Errorf("the stream is %+v", o)
				}
			}
			if name == "everywhere.toml" {
				whole(t, store.object("talk.mp4"), 90)
			}
			switch name {
			case "preview.toml":
				small(t, r.out+"-small.mp4")
			case "grid.toml":
				grid(t, r.out)
			case "process.toml":
				whole(t, turnedBack(t, r.out), 90)
			}
			for _, ending := range k.files {
				if filepath.Ext(k.out) == ".m3u8" {
					whole(t, played(t, r.out, 0), 90)
				} else if strings.Contains(k.streams, " ") {
					whole(t, r.out+ending, 90)
				}
				out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "default=nw=1:nk=1", r.out+ending).Output()
				if got := strings.Join(unique(strings.Fields(string(out)), k.streams), " "); err != nil || got != k.streams {
					t.Errorf("%s holds %q (%v), want %q", k.out+ending, got, err, k.streams)
				}
			}
		})
	}
}

// unique cuts ffprobe's list to the streams wanted: MPEG-TS lists each once more
// under its program.
func unique(have []string, want string) []string {
	if n := len(strings.Fields(want)); len(have) == 2*n {
		return have[:n]
	}
	return have
}

// small checks a copy of three seconds in 320x240 at 10 frames a second.
func small(t *testing.T, file string) {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=width,height,r_frame_rate,nb_read_frames", "-of", "csv=p=0", file).Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != "320,240,10/1,30" {
		t.Errorf("%s is %q (%v), want 320x240 at 10 frames a second, 30 of them", file, got, err)
	}
}

// grid checks that each half of a picture has all pictures of its producer, of
// three seconds at the left, of two at the right, in step with its clicks.
func grid(t *testing.T, file string) {
	t.Helper()
	for side, last := range []int{89, 59} {
		half := filepath.Join(t.TempDir(), "half.mkv")
		crop := fmt.Sprintf("crop=640:360:%d:180", 640*side)
		if out, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-vf", crop, "-c:v", "ffv1", "-c:a", "copy", half).CombinedOutput(); err != nil {
			t.Fatalf("ffmpeg: %v %s", err, out)
		}
		r := measure(t, half)
		if r.First != 0 || r.Last != last || r.Missing+r.OutOfOrder != 0 {
			t.Errorf("side %d holds %+v, want the frames 0 to %d", side, r, last)
		}
		if r.Pairs == 0 || r.SkewMost > 50 || r.SkewMost < -50 { // a frame, and half of one by which the two are apart
			t.Errorf("side %d: sound is up to %v ms from the picture in %d places", side, r.SkewMost, r.Pairs)
		}
	}
}
