package run_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mpipe/mpipe/elements/filter"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// Every video encoder begins anew with another size and gives out all that it
// held of the one before.
func TestEveryEncoderFollowsTheSize(t *testing.T) {
	for _, enc := range []string{"x264", "openh264", "x265", "vp8", "vp9", "av1"} {
		t.Run(enc, func(t *testing.T) {
			text := strings.NewReplacer(`"x264"`, fmt.Sprintf("%q", enc), "preset = \"ultrafast\"\n", "").Replace(
				fmt.Sprintf(head, "resize = 30\non_format_change = \"segment\"") + fmt.Sprintf(mp4, filepath.Join(t.TempDir(), "a-%d.mkv")))
			m, err := run.Run(context.Background(), plan(t, text), run.Options{})
			if err != nil || !m.Complete {
				t.Fatalf("err %v, manifest %+v", err, m)
			}
			o := m.Outputs[0]
			if len(o.Parts) != 2 || o.Streams[0].Frames != 60 || o.Streams[0].LostInEncoder != 0 {
				t.Fatalf("%+v", o)
			}
			for _, p := range o.Parts {
				if n := frames(t, p.Path, "v"); n != "30" {
					t.Errorf("%s holds %s pictures, want 30", p.Path, n)
				}
			}
		})
	}
}

// Which outputs can follow a new size, and what is said to those that cannot.
func TestWhoFollowsANewSize(t *testing.T) {
	base := strings.Replace(fmt.Sprintf(head, `on_format_change = "segment"`), `"opus"`, `"aac"`, 1)
	for _, c := range []struct{ sink, change, refused string }{
		{"type = \"file\"\npath = \"a-%d.mp4\"", graph.NewPart, ""},
		{"type = \"file\"\npath = \"a.mp4\"\nsegment = { time = \"1m\" }", graph.NewPart, ""},
		{"type = \"file\"\npath = \"a.ts\"", graph.InBand, ""},
		{"type = \"tcp\"\naddress = \"localhost:1\"", graph.InBand, ""},
		{"type = \"rtmp\"\nurl = { env = \"X\" }", graph.MadeAnew, ""},
		{"type = \"file\"\npath = \"a.mkv\"", "", `test.toml:16:8: stage s: cam.video may change its size in mid-recording (on_format_change = "segment"), which mkv cannot follow in one file; put a number into the path`},
		{"type = \"hls\"\npath = \"live\"", "", `test.toml:15:8: stage s: cam.video may change its size in mid-recording (on_format_change = "segment"), which hls cannot follow; set on_format_change = "scale" in source cam`},
	} {
		p, err := graph.ParsePlan("test.toml", []byte(base+"[sinks.s]\ninputs = [\"v\", \"a\"]\n"+c.sink+"\n"), graph.Options{}, run.Catalog())
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s\ngot  %v\nwant %s", c.sink, err, c.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", c.sink, err)
		case p.Outputs[0].Change != c.change:
			t.Errorf("%s: %q, want %q", c.sink, p.Outputs[0].Change, c.change)
		}
	}
	two := base + "[stages.v2]\ntype = \"x264\"\ninputs = [\"cam.video\"]\n[sinks.s]\ninputs = [\"v\", \"v2\"]\ntype = \"file\"\npath = \"a-%d.mkv\"\n"
	if _, err := graph.ParsePlan("test.toml", []byte(two), graph.Options{}, run.Catalog()); err == nil || !strings.Contains(err.Error(), "the other pictures of s cannot be cut") {
		t.Errorf("two pictures: %v", err)
	}
	fixed := strings.Replace(base, `inputs = ["cam.video"]`, `inputs = ["small"]`, 1) + "[stages.small]\ntype = \"scale\"\nwidth = 640\nheight = 360\ninputs = [\"cam.video\"]\n[sinks.s]\ninputs = [\"v\", \"a\"]\ntype = \"file\"\npath = \"a.mkv\"\n"
	if _, err := graph.ParsePlan("test.toml", []byte(fixed), graph.Options{}, run.Catalog()); err != nil {
		t.Errorf("behind a stage that fixes the size: %v", err)
	}
}
