package run_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline/run"
)

// A recording in several files: each plays by itself from its first frame, and
// together they hold every frame once, in every container.
func TestSegments(t *testing.T) {
	for _, c := range []struct{ ending, segment string }{
		{"mp4", `{ time = "2s" }`}, {"mkv", `{ time = "2s" }`}, {"ts", `{ time = "3s" }`}, {"mkv", `{ size = "128KiB" }`},
	} {
		t.Run(c.ending+" "+c.segment, func(t *testing.T) {
			dir := t.TempDir()
			text := fmt.Sprintf(head, "frames = 600\nslow = \"6ms\"") + fmt.Sprintf(mp4, filepath.Join(dir, "a."+c.ending)) +
				"segment = " + c.segment + "\nindex = \"" + dir + "/index.csv\"\n"
			m, err := run.Run(context.Background(), plan(t, text), run.Options{})
			if err != nil || !m.Complete {
				t.Fatalf("err %v, manifest %+v", err, m.Outputs)
			}
			o := m.Outputs[0]
			total, files := int64(0), 0
			for i, p := range o.Parts {
				if want := filepath.Join(dir, fmt.Sprintf("a-%05d.%s", i, c.ending)); p.Path != want {
					t.Errorf("part %d is %s, want %s", i, p.Path, want)
				}
				n, err := strconv.ParseInt(frames(t, p.Path, "v"), 10, 64)
				if err != nil || n != p.Frames || !p.Complete {
					t.Errorf("part %+v decodes to %d pictures: %v", p, n, err)
				}
				if strings.Contains(c.segment, "2s") && i < len(o.Parts)-1 && n != 60 {
					t.Errorf("part %d has %d pictures, want 60", i, n)
				}
				total += n
				files++
			}
			if total != 600 || files < 3 || o.Streams[0].Frames != 600 {
				t.Errorf("%d files hold %d pictures, want at least 3 with 600; manifest %+v", files, total, o)
			}
			index, err := os.ReadFile(dir + "/index.csv")
			if err != nil || strings.Count(string(index), "\n") != files {
				t.Errorf("the index is %q (%v)", index, err)
			}
		})
	}
}
