package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// Every graph of graphs/ runs, with a producer that suits it.
func TestGraphs(t *testing.T) {
	small := []string{"--pattern", "640x360@30"}
	known := map[string]struct {
		out     string
		feed    []string
		files   []string // endings added to out
		streams string
	}{
		"record.toml":       {"a.mp4", small, []string{""}, "h264 opus"},
		"webm.toml":         {"a.webm", small, []string{""}, "vp8 opus"},
		"two-files.toml":    {"a", small, []string{".mp4", ".ts"}, "h264 opus"},
		"two-pictures.toml": {"a.mkv", []string{"--pattern", "640x360@30", "--pattern", "320x180@15"}, []string{""}, "h264 h264 opus"},
		"sound.toml":        {"a.ogg", small, []string{""}, "opus"},
		"any-encoder.toml":  {"a.mkv", small, []string{""}, "vp9 flac"},
		"hls.toml":          {"a.m3u8", small, []string{""}, "h264 aac"},
		"pictures.toml":     {"a.mp4", []string{"--pattern", "640x360@30", "--no-audio"}, []string{""}, "h264"},
		"live.toml":         {"a.mp4", small, []string{""}, "h264 opus"},
		"everywhere.toml":   {"a.mp4", small, []string{""}, "h264 opus"},
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
		if name == "browser.toml" {
			continue // test/browser runs it
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
			r := recordTo(t, file, ringName(), k.out, more...)
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
