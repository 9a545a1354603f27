package run_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/hls"
	"github.com/mpipe/mpipe/pipeline/run"
)

func hlsSink(path, more string) string {
	return fmt.Sprintf("[sinks.hls]\ntype = \"hls\"\ninputs = [\"v\", \"a\"]\npath = %q\nsegment_time = \"2s\"\n%s\n", path, more)
}

func parseList(t *testing.T, path string) *hls.Playlist {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := hls.Parse(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Both formats: the playlist as ffmpeg reads it has every frame once, each segment
// begins with a key frame, and the durations say what is there.
func TestHLS(t *testing.T) {
	for _, format := range []string{"fmp4", "ts"} {
		for _, preset := range []string{"ultrafast", "veryfast"} { // without and with pictures out of order
			path := filepath.Join(t.TempDir(), "new", "talk.m3u8")
			text := strings.Replace(fmt.Sprintf(head, "frames = 290"), `"ultrafast"`, `"`+preset+`"`, 1)
			m, err := run.Run(context.Background(), plan(t, text+hlsSink(path, fmt.Sprintf("format = %q", format))), run.Options{})
			if err != nil || !m.Complete {
				t.Fatalf("%s: err %v, manifest %+v", format, err, m)
			}
			o := m.Outputs[0]
			if !o.Checked || !o.Playable || o.Streams[0].Frames != 290 {
				t.Errorf("%s: the manifest says %+v", format, o)
			}
			if format == "fmp4" && (o.SkewMS == nil || math.Abs(*o.SkewMS) > 33) {
				t.Errorf("%s: audio and video are %v ms apart, want within a frame", format, o.SkewMS)
			}
			list := parseList(t, path)
			if n := len(list.Segments); n != 5 || !list.Ended || list.Kind != hls.Event || (list.Map != "") != (format == "fmp4") {
				t.Fatalf("%s: the playlist is\n%s", format, list)
			}
			for i, s := range list.Segments {
				if d := s.Duration.Seconds(); i < 4 && math.Abs(d-2) > 0.02 || i == 4 && math.Abs(d-290.0/30+8) > 0.05 || d > float64(list.Target)+0.5 || s.At.IsZero() {
					t.Errorf("%s %s: segment %d is %+v, target %d", format, preset, i, s, list.Target)
				}
				if i > 0 && (s.At.Sub(list.Segments[i-1].At)-list.Segments[i-1].Duration).Abs() > 2e6 {
					t.Errorf("%s: segment %d begins at %v, the one before at %v for %v", format, i, s.At, list.Segments[i-1].At, list.Segments[i-1].Duration)
				}
			}
			if n := frames(t, path, "v"); n != "290" {
				t.Errorf("%s %s: %s pictures decode, want 290", format, preset, n)
			}
			duration := probeHLS(t, path)
			if math.Abs(duration-290.0/30) > 0.1 {
				t.Errorf("%s: ffprobe says %v s", format, duration)
			}
			// Every segment decodes alone, and begins with its key frame.
			for i, s := range list.Segments {
				part := alone(t, filepath.Dir(path), list.Map, s.Name)
				out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", part).Output()
				flags := strings.Fields(string(out))
				if want := []int{60, 60, 60, 60, 50}[i]; err != nil || len(flags) < want || !strings.HasPrefix(flags[0], "K") || strings.Count(string(out), "K") < 2-i/4 {
					t.Errorf("%s: segment %d: %v, %d packets, want %d with a key frame first", format, i, err, len(flags), want)
				}
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if len(left) > 0 {
				t.Errorf("%s: left %v", format, left)
			}
		}
	}
}

func probeHLS(t *testing.T, path string) float64 {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).CombinedOutput()
	d, perr := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil || perr != nil {
		t.Fatalf("ffprobe %s: %v %s", path, err, out)
	}
	return d
}

// alone puts an initial part and one segment into a file.
func alone(t *testing.T, dir string, names ...string) string {
	t.Helper()
	var all []byte
	for _, n := range names {
		if n == "" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return stored(t, all)
}

// A live playlist slides, and what it no longer names is deleted after a while.
func TestHLSLive(t *testing.T) {
	dir := t.TempDir()
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 600")+
		fmt.Sprintf("[sinks.hls]\ntype = \"hls\"\ninputs = [\"v\", \"a\"]\npath = %q\nsegment_time = \"1s\"\nplaylist = \"live\"\nwindow = 3\n", dir)), run.Options{})
	if err != nil || !m.Complete || !m.Outputs[0].Checked {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	list := parseList(t, filepath.Join(dir, "index.m3u8"))
	if list.First != 17 || len(list.Segments) != 3 || !list.Ended || list.Kind != hls.Live {
		t.Errorf("the playlist is\n%s", list)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.m4s"))
	if len(files) != 3+4 { // and four that are not named any more
		t.Errorf("segments left: %v", files)
	}
	if n := frames(t, filepath.Join(dir, "index.m3u8"), "v"); n != "90" {
		t.Errorf("%s pictures decode, want 90", n)
	}
}

// Sound alone is cut by time; a VOD appears at the end.
func TestHLSOfSoundAlone(t *testing.T) {
	for _, format := range []string{"fmp4", "ts"} {
		path := filepath.Join(t.TempDir(), "index.m3u8")
		text := "version = 1\n[sources.cam]\ntype = \"lender\"\nframes = 300\n[stages.a]\ntype = \"opus\"\ninputs = [\"cam.audio\"]\n" +
			fmt.Sprintf("[sinks.hls]\ntype = \"hls\"\ninputs = [\"a\"]\npath = %q\nformat = %q\nplaylist = \"vod\"\nsegment_time = \"2s\"\n", path, format)
		m, err := run.Run(context.Background(), plan(t, text), run.Options{})
		if err != nil || !m.Complete || !m.Outputs[0].Playable {
			t.Fatalf("%s: err %v, manifest %+v", format, err, m)
		}
		list := parseList(t, path)
		if n := len(list.Segments); n < 4 || n > 6 || list.Kind != hls.VOD || math.Abs(list.Length().Seconds()-10) > 0.1 {
			t.Errorf("%s: the playlist is\n%s", format, list)
		}
		if _, err := os.Stat(hls.Unfinished(path)); err == nil {
			t.Errorf("%s is left", hls.Unfinished(path))
		}
	}
}

// What is there stays unless the graph says otherwise, and then nothing of it is
// left between the new segments.
func TestHLSKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	record := func(n int, more string) error {
		text := fmt.Sprintf(head, fmt.Sprintf("frames = %d", n)) + hlsSink(dir, more)
		_, err := run.Run(context.Background(), plan(t, text), run.Options{})
		return err
	}
	if err := record(150, ""); err != nil {
		t.Fatal(err)
	}
	if err := record(60, ""); err == nil || !strings.Contains(err.Error(), "overwrite = true") {
		t.Errorf("an existing recording got %v", err)
	}
	if err := record(60, "overwrite = true"); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(dir + "/*"); len(files) != 3 {
		t.Errorf("there is %v, want a playlist, an initial part and a segment", files)
	}
	if n := frames(t, filepath.Join(dir, "index.m3u8"), "v"); n != "60" {
		t.Errorf("%s pictures decode, want 60", n)
	}
}
