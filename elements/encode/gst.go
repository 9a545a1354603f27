package encode

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[gst]("gst", "Any installed GStreamer element with one input and one output, by its GStreamer name.")
}

// gst is a stage made of one GStreamer element, as its plugin describes it.
type gst struct {
	element string
	output  string
	raw     map[string]any
}

func (e *gst) Props(p *pipeline.Props) {
	p.String(&e.element, "element", "", "GStreamer's name of the element, as gst-inspect-1.0 lists it.", pipeline.Required)
	p.String(&e.output, "output", "", "What leaves it, such as \"h264 video\" or \"raw video\"; needed only where the element can give several kinds.")
	rawProps(p, &e.raw)
}

func (e *gst) Fragment(cat pipeline.Catalog) (pipeline.Fragment, error) {
	f, err := pipeline.Installed(cat, e.element)
	if err != nil {
		return pipeline.Fragment{}, err
	}
	sink, src := pad(f, false), pad(f, true)
	if sink == nil || src == nil {
		return pipeline.Fragment{}, pipeline.At("element", "%s has no fixed input and output pad; a stage needs one of each", e.element)
	}
	accepts, gives := pipeline.KindsOfCaps(sink.Caps), pipeline.KindsOfCaps(src.Caps)
	out, err := e.choose(gives)
	if err != nil {
		return pipeline.Fragment{}, err
	}
	if len(accepts) == 0 { // "ANY": what goes in comes out
		accepts = []pipeline.Kind{out}
	}
	return pipeline.Fragment{
		Nodes:  []pipeline.Node{{Factory: e.element, Set: pipeline.Settings(e.raw)}},
		Inputs: []pipeline.Input{{Pad: sink.Name, Accepts: accepts, Max: 1}},
		Output: out,
	}, nil
}

// choose picks what leaves the element: the only kind it can give, or the one
// the graph names.
func (e *gst) choose(gives []pipeline.Kind) (pipeline.Kind, error) {
	if e.output == "" {
		switch len(gives) {
		case 1:
			return gives[0], nil
		case 0:
			return pipeline.Kind{}, pipeline.At("element", `%s does not say what it gives; add output = "raw video" or the like`, e.element)
		default:
			return pipeline.Kind{}, pipeline.At("element", `%s can give %s; add output = %q or another of them`, e.element, kindList(gives), gives[0])
		}
	}
	codec, medium, _ := strings.Cut(e.output, " ")
	for _, m := range []pipeline.Media{pipeline.Video, pipeline.Audio} {
		k := pipeline.Kind{Media: m, Codec: codec}
		if _, known := pipeline.CodecOf(k); !known || m.String() != medium {
			continue
		}
		for _, g := range gives {
			if g == k {
				return k, nil
			}
		}
		if len(gives) > 0 {
			return pipeline.Kind{}, pipeline.At("output", "%s gives %s, never %s", e.element, kindList(gives), k)
		}
		return k, nil
	}
	return pipeline.Kind{}, pipeline.At("output", `%q is no kind of stream; write a codec and a medium, such as "h264 video", "opus audio" or "raw video"`, e.output)
}

// pad is the first pad of a direction that is always there.
func pad(f pipeline.Factory, source bool) *pipeline.PadTemplate {
	for i, p := range f.Pads {
		if p.Source == source && p.Presence == "always" {
			return &f.Pads[i]
		}
	}
	return nil
}

func kindList(kinds []pipeline.Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = fmt.Sprintf("%q", k)
	}
	return strings.Join(names, ", ")
}
