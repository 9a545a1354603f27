package pipelinetest

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[sink](Sink, "Counts frames and throws them away, for tests.")
}

// Sink is the type of a sink that takes one stream of any kind, for graphs of
// tests. Its property wait is how long it takes for each frame.
const Sink = "counter"

type sink struct{ wait int }

func (s *sink) Props(p *pipeline.Props) {
	p.Int(&s.wait, "wait", 0, "Microseconds that each frame takes.", pipeline.Between(0, 1e6))
}

func (s *sink) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var any []pipeline.Kind
	for _, c := range pipeline.Codecs() {
		any = append(any, c.Kind)
	}
	return pipeline.Fragment{
		Nodes: []pipeline.Node{
			{Factory: "identity", Set: []pipeline.Setting{{Name: "sleep-time", Value: fmt.Sprint(s.wait)}}},
			{Factory: "fakesink", Set: []pipeline.Setting{
				{Name: "sync", Value: "false"}, {Name: "async", Value: "false"}, {Name: "enable-last-sample", Value: "false"}}},
		},
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: any, Max: 1}},
		Where:  "nowhere",
	}, nil
}
