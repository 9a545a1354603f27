package sink

import (
	"strings"
	"testing"

	_ "github.com/mpipe/mpipe/elements/encode"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	_ "github.com/mpipe/mpipe/pipeline/pipelinetest" // its source, "lender"
	"github.com/mpipe/mpipe/pipeline/run"
)

// What an HLS sink is said to take, the containers take too.
func TestHLSTakesWhatItsMuxersTake(t *testing.T) {
	for name, inputs := range hlsInputs {
		for _, in := range inputs {
			for _, k := range in.Accepts {
				if len(containersFor([]string{name}, k)) == 0 {
					t.Errorf("%s does not take %s", name, k)
				}
			}
		}
	}
}

func TestHLSWhere(t *testing.T) {
	for _, c := range []struct{ set, where, wrong string }{
		{`path = "live"`, "live/index.m3u8", ""},
		{`path = "live/talk.m3u8"`, "live/talk.m3u8", ""},
		{`bucket = "b"`, "s3://b/index.m3u8", ""},
		{"bucket = \"b\"\nkey_prefix = \"talks/42/\"", "s3://b/talks/42/index.m3u8", ""},
		{``, "", "test.toml:9:1: stage out: path: want either path"},
		{"path = \"live\"\nbucket = \"b\"", "", "want either path"},
		{"path = \"live\"\nkey_prefix = \"k\"", "", "test.toml:13:14: stage out: key_prefix: it goes with a bucket"},
	} {
		text := "version = 1\n[sources.cam]\ntype = \"lender\"\n[stages.v]\ntype = \"x264\"\nkeyframe_interval = \"3s\"\ninputs = [\"cam.video\"]\n\n[sinks.out]\ntype = \"hls\"\ninputs = [\"v\"]\n" + c.set + "\n"
		p, err := graph.ParsePlan("test.toml", []byte(text), graph.Options{}, run.Catalog())
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: got %v, want %q", c.set, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		if o := p.Outputs[0]; o.File+o.Where != c.where {
			t.Errorf("%s: it is at %s%s", c.set, o.File, o.Where)
		}
		if len(p.Notes) == 0 || !strings.Contains(p.Notes[len(p.Notes)-1].Text, "segments last 6s and not 4s") {
			t.Errorf("%s: the notes are %v", c.set, p.Notes)
		}
	}
	if got := (&hlsSink{}).ContainersFor(pipeline.Kind{Media: pipeline.Video, Codec: "vp9"}); len(got) != 1 || got[0] != "mp4" {
		t.Errorf("VP9 goes into %v", got)
	}
}
