package filter_test

import (
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

func init() {
	pipeline.Register[leaky]("leaky", "An encoder that loses frames.")
}

type leaky struct{}

func (leaky) Props(*pipeline.Props) {}

func (leaky) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{
		Nodes: []pipeline.Node{
			{Factory: "x264enc", Set: []pipeline.Setting{{Name: "speed-preset", Value: "ultrafast"}, {Name: "key-int-max", Value: "1"}}},
			{Factory: "identity", Set: []pipeline.Setting{{Name: "drop-probability", Value: "0.3"}}},
		},
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{pipeline.RawVideo}, Max: 1}},
		Output: pipeline.Kind{Media: pipeline.Video, Codec: "h264"},
	}, nil
}

// What an encoder loses is counted by what went into it, whatever number of frames
// a stage before it makes of those that came.
func TestLostInEncoderBehindAFilter(t *testing.T) {
	for stage, taken := range map[string]int64{
		"type = \"scale\"\nwidth = 80": 60, "type = \"framerate\"\nfps = \"60\"": 120, "type = \"framerate\"\nfps = \"20\"": 40,
	} {
		p, err := parse(one("video", "frames = 60", stage) +
			"[stages.e]\ntype = \"leaky\"\ninputs = [\"it\"]\n[sinks.n]\ntype = \"null\"\ninputs = [\"e\"]\n")
		if err != nil {
			t.Fatal(err)
		}
		m, err := run.Run(t.Context(), p, run.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s := m.Outputs[0].Streams[0]; s.Captured != 60 || s.LostInEncoder == 0 || s.Sent+s.LostInEncoder != taken {
			t.Errorf("%s: the account says %+v, want %d taken", stage, s, taken)
		}
	}
}
