package run_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline/run"
)

// Every container gives back all of the sound, to a reader that is not
// GStreamer, and tells how long it is: two seconds at 48 kHz, but for the
// encoder's padding.
func TestSoundIsWholeForOtherReaders(t *testing.T) {
	for _, c := range []struct{ file, audio string }{
		{"a.mp4", "opus"}, {"a.mp4", "aac"}, {"a.mkv", "opus"}, {"a.ts", "opus"}, {"a.mkv", "flac"},
		{"a.m4a", "aac"}, {"a.mp3", "mp3"}, {"a.flac", "flac"}, {"a.wav", ""}, {"a.ogg", "opus"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		text := fmt.Sprintf("version = 1\n[sources.cam]\ntype = \"lender\"\n[stages.a]\ntype = %q\ninputs = [\"cam.audio\"]\n[sinks.f]\ntype = \"file\"\ninputs = [\"a\"]\npath = %q\n", c.audio, path)
		if c.audio == "" {
			text = fmt.Sprintf("version = 1\n[sources.cam]\ntype = \"lender\"\n[sinks.f]\ntype = \"file\"\ninputs = [\"cam.audio\"]\npath = %q\n", path)
		}
		m, err := run.Run(context.Background(), plan(t, text), run.Options{})
		if err != nil || !m.Complete || !m.Outputs[0].Playable {
			t.Fatalf("%s in %s: %v, %+v", c.audio, c.file, err, m)
		}
		pcm, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ac", "2", "-ar", "48000", "-").Output()
		if err != nil {
			t.Fatalf("%s in %s: %v", c.audio, c.file, err)
		}
		if samples := len(pcm) / 4; samples < 96000-960 || samples > 96000+4800 {
			t.Errorf("%s in %s: ffmpeg decodes %d samples, 96000 were recorded", c.audio, c.file, samples)
		}
		out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).Output()
		if d, perr := strconv.ParseFloat(strings.TrimSpace(string(out)), 64); err != nil || perr != nil || d < 1.98 || d > 2.1 {
			t.Errorf("%s in %s: ffprobe says it lasts %q (%v), want 2 s", c.audio, c.file, out, err)
		}
	}
}
