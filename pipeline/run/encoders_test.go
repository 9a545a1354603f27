package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// swapped has properties that all encoders of a medium understand.
const swapped = `version = 1
[sources.cam]
type = "lender"
[stages.v]
type = "x264"
inputs = ["cam.video"]
bitrate = "800k"
keyframe_interval = "1s"
[stages.a]
type = "opus"
inputs = ["cam.audio"]
[sinks.f]
type = "file"
inputs = ["v", "a"]
path = %q
`

// Every encoder takes another's place by one word of the file, or by --set, and
// both give the same plan. All of them go into MKV; there is a recording of each.
func TestEncodersAreOneWordAway(t *testing.T) {
	types := map[string][]string{
		"v": {"x264", "openh264", "x265", "vp8", "vp9", "av1", "auto"},
		"a": {"opus", "aac", "mp3", "vorbis", "flac", "pcm", "auto"},
	}
	for i := range types["v"] {
		video, audio := types["v"][i], types["a"][i]
		t.Run(video+" and "+audio, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.mkv")
			text := fmt.Sprintf(swapped, path)
			byWord := strings.NewReplacer(`"x264"`, `"`+video+`"`, `"opus"`, `"`+audio+`"`).Replace(text)
			one, err := graph.ParsePlan("test.toml", []byte(byWord), graph.Options{}, run.Catalog())
			if err != nil {
				t.Fatal(err)
			}
			two, err := graph.ParsePlan("test.toml", []byte(text), graph.Options{Set: map[string]string{"v.type": video, "a.type": audio}}, run.Catalog())
			if err != nil {
				t.Fatal(err)
			}
			if a, b := asJSON(t, one), asJSON(t, two); a != b {
				t.Errorf("by the file\n%s\nby --set\n%s", a, b)
			}
			m, err := run.Run(context.Background(), two, run.Options{})
			if err != nil || !m.Complete || !m.Outputs[0].Playable {
				t.Fatalf("err %v, manifest %+v", err, m)
			}
			if n := frames(t, path, "v"); n != "60" {
				t.Errorf("%s pictures decode, want 60", n)
			}
		})
	}
}

func asJSON(t *testing.T, p *graph.Plan) string {
	t.Helper()
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// auto takes what the outputs can hold and what is installed, and says so.
func TestAutoTakesWhatSuits(t *testing.T) {
	for _, c := range []struct {
		files        []string
		video, audio string
	}{
		{[]string{"a.mp4"}, "h264", "opus"},
		{[]string{"a.webm"}, "vp8", "opus"},
		{[]string{"a.ogg"}, "vp8", "opus"},
		{[]string{"a.ts", "a.mkv"}, "h264", "opus"},
		{[]string{"a.webm", "a.mkv"}, "vp8", "opus"},
		{[]string{"a.flac"}, "", "flac"},
		{[]string{"a.mp3", "b.mp3", "a.ogg"}, "", "mp3"}, // the Ogg gets a second encode
		{[]string{"a.wav"}, "", "pcm"},
	} {
		t.Run(strings.Join(c.files, " "), func(t *testing.T) {
			var b strings.Builder
			b.WriteString("version = 1\n[sources.cam]\ntype = \"lender\"\n[stages.a]\ntype = \"auto\"\ninputs = [\"cam.audio\"]\nbitrate = \"64k\"\n")
			inputs := `["a"]`
			if c.video != "" {
				b.WriteString("[stages.v]\ntype = \"auto\"\ninputs = [\"cam.video\"]\n")
				inputs = `["v", "a"]`
			}
			for i, f := range c.files {
				fmt.Fprintf(&b, "[sinks.f%d]\ntype = \"file\"\ninputs = %s\npath = %q\n", i, inputs, filepath.Join(t.TempDir(), f))
			}
			p := plan(t, b.String())
			want := map[pipeline.Media]string{pipeline.Video: c.video, pipeline.Audio: c.audio}
			for _, s := range p.Outputs[0].Streams {
				if s.Kind.Codec != want[s.Kind.Media] {
					t.Errorf("it takes %s", s.Kind)
				}
				delete(want, s.Kind.Media)
			}
			if maps.DeleteFunc(want, func(_ pipeline.Media, codec string) bool { return codec == "" }); len(want) > 0 {
				t.Errorf("nothing gives %v", slices.Collect(maps.Values(want)))
			}
			said := 0
			for _, n := range p.Notes {
				if strings.Contains(n.Text, "auto takes ") {
					said++
				}
			}
			if said == 0 {
				t.Errorf("the notes %v do not say what was taken", p.Notes)
			}
		})
	}
}

// Without x264 on the machine, the next that fits.
func TestAutoLeavesOutWhatIsNotInstalled(t *testing.T) {
	p, err := graph.ParsePlan("test.toml", []byte(strings.ReplaceAll(fmt.Sprintf(swapped, "a.mkv"), `"x264"`, `"auto"`)), graph.Options{}, without{run.Catalog(), "x264enc"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range p.Nodes {
		if n.Stage == "v" && n.Factory == "openh264enc" {
			return
		}
	}
	t.Errorf("no openh264enc in %+v", p.Nodes)
}

// without is a catalog that lacks one factory.
type without struct {
	pipeline.Catalog
	factory string
}

func (w without) Factory(name string) (pipeline.Factory, bool) {
	if name == w.factory {
		return pipeline.Factory{}, false
	}
	return w.Catalog.Factory(name)
}
