package sink

import "github.com/mpipe/mpipe/pipeline"

func init() {
	pipeline.RegisterSink[null]("null", "Throws everything away: to measure what is before it.")
}

type null struct{}

func (null) Props(*pipeline.Props) {}

func (null) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{
		Nodes: []pipeline.Node{
			{Factory: "funnel", Package: "libgstreamer1.0-0"},
			{Factory: "fakesink", Package: "libgstreamer1.0-0", Set: []pipeline.Setting{
				{Name: "sync", Value: "false"}, {Name: "async", Value: "false"}, {Name: "enable-last-sample", Value: "false"}}},
		},
		Inputs: []pipeline.Input{{Pad: "sink_%u", Accepts: anyKind}},
		Where:  "nowhere",
		Change: pipeline.ChangeInBand,
	}, nil
}
