package encode_test

import (
	"fmt"
	"strings"
	"testing"

	_ "github.com/mpipe/mpipe/elements/encode"
	_ "github.com/mpipe/mpipe/elements/shmsrc"
	_ "github.com/mpipe/mpipe/elements/sink"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// plan makes the plan of a graph with one encoder; pad is "video" or "audio".
func plan(typ, pad, props string) (*graph.Plan, error) {
	text := fmt.Sprintf("version = 1\n[sources.app]\ntype = \"shmsrc\"\nring = \"r\"\n[stages.e]\ntype = %q\ninputs = [\"app.%s\"]\n%s\n"+
		"[sinks.f]\ntype = \"file\"\ninputs = [\"e\"]\npath = \"a.mkv\"\n", typ, pad, props)
	return graph.ParsePlan("e.toml", []byte(text), graph.Options{}, run.Catalog())
}

func encoders() map[string]string {
	return map[string]string{
		"x264": "video", "openh264": "video", "x265": "video", "vp8": "video", "vp9": "video", "av1": "video",
		"opus": "audio", "aac": "audio", "mp3": "audio", "vorbis": "audio", "flac": "audio", "pcm": "audio", "auto": "video",
	}
}

// Every encoder is known here, and every value its properties allow is one that
// its GStreamer element takes: the planner checks each against the plugin.
func TestEveryAllowedValueSuitsThePlugin(t *testing.T) {
	for _, r := range pipeline.Types() {
		pad, ok := encoders()[r.Type]
		if !ok {
			if r.Role == pipeline.RoleStage && r.Type != "gst" {
				t.Errorf("encoder %s is not tested: add it here", r.Type)
			}
			continue
		}
		for _, s := range pipeline.Specs(r.New()) {
			for _, v := range values(s) {
				if _, err := plan(r.Type, pad, s.Name+" = "+v); err != nil && v != `"fdkaacenc"` { // Debian's main has none
					t.Errorf("%s with %s = %s: %v", r.Type, s.Name, v, err)
				}
			}
		}
	}
}

func values(s *pipeline.Spec) (out []string) {
	for _, v := range s.OneOf {
		out = append(out, fmt.Sprintf("%q", v))
	}
	switch s.Type {
	case pipeline.TInt, pipeline.TFloat:
		out = append(out, s.Min, s.Max)
	case pipeline.TBitrate, pipeline.TDuration:
		if s.Default != "" {
			out = append(out, fmt.Sprintf("%q", s.Default))
		}
		if s.Min != "" {
			out = append(out, fmt.Sprintf("%q", s.Min))
		}
	}
	return out
}

// The common part alone keeps a graph valid whichever encoder it names.
func TestTheCommonPartFitsEveryVideoEncoder(t *testing.T) {
	for typ, pad := range encoders() {
		if pad != "video" {
			continue
		}
		p, err := plan(typ, pad, "bitrate = \"1M\"\nkeyframe_interval = \"3s\"\nthreads = 2")
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		for _, n := range p.Nodes {
			if n.Stage == "e" && n.ID == "e" && n.KeyInterval.Seconds() != 3 {
				t.Errorf("%s has a key-frame interval of %v, want 3 s", typ, n.KeyInterval)
			}
		}
	}
}

func TestRawPropertiesAreChecked(t *testing.T) {
	for props, want := range map[string]string{
		`gst = { rc-lookahead = 10 }`: "",
		`gst = { rc-lokahead = 10 }`:  `rc-lookahead`,
		`gst = { me = "warp" }`:       `me`,
		`preset = "fastest"`:          `did you mean "faster"`,
	} {
		_, err := plan("x264", "video", props)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", props, err, want)
		}
	}
}

func TestAnyElement(t *testing.T) {
	for props, want := range map[string]string{
		`element = "vp9enc"`:                              "",
		`element = "videobalance"`:                        "raw video", // a filter: MKV cannot hold what it gives
		`element = "x264encc"`:                            `did you mean "x264enc"`,
		`element = "identity"`:                            "does not say what it gives",
		`element = "fakesink"`:                            "no fixed input and output",
		"element = \"vp9enc\"\noutput = \"h264 video\"":   "never h264 video",
		"element = \"identity\"\noutput = \"moving sea\"": "no kind of stream",
	} {
		_, err := plan("gst", "video", props)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", props, err, want)
		}
	}
}
