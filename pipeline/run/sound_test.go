package run_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mpipe/mpipe/pipeline/run"
)

// Every container gives back all of the sound, to a reader that is not
// GStreamer: two seconds at 48 kHz, but for the encoder's padding.
func TestSoundIsWholeForOtherReaders(t *testing.T) {
	for _, c := range []struct{ file, audio string }{
		{"a.mp4", "opus"}, {"a.mp4", "aac"}, {"a.mkv", "opus"}, {"a.ts", "opus"}, {"a.mkv", "flac"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		text := fmt.Sprintf("version = 1\n[sources.cam]\ntype = \"lender\"\n[stages.a]\ntype = %q\ninputs = [\"cam.audio\"]\n[sinks.f]\ntype = \"file\"\ninputs = [\"a\"]\npath = %q\n", c.audio, path)
		if _, err := run.Run(context.Background(), plan(t, text), run.Options{}); err != nil {
			t.Fatal(err)
		}
		pcm, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ac", "2", "-ar", "48000", "-").Output()
		if err != nil {
			t.Fatalf("%s in %s: %v", c.audio, c.file, err)
		}
		if samples := len(pcm) / 4; samples < 96000-960 || samples > 96000+4800 {
			t.Errorf("%s in %s: ffmpeg decodes %d samples, 96000 were recorded", c.audio, c.file, samples)
		}
	}
}
