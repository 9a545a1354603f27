package sink

import (
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[gstsink]("gstsink", "Any installed GStreamer sink, by its GStreamer name.")
}

// gstsink ends a graph with one GStreamer element, as its plugin describes it.
type gstsink struct {
	element string
	raw     map[string]any
}

func (e *gstsink) Props(p *pipeline.Props) {
	p.String(&e.element, "element", "", "GStreamer's name of the element, as gst-inspect-1.0 lists it.", pipeline.Required)
	p.Table(&e.raw, "gst", "Properties of the GStreamer element in its own words.")
}

// anyKind is what a sink with the caps "ANY" takes.
var anyKind = append(append([]pipeline.Kind{pipeline.RawVideo, pipeline.RawAudio},
	videoKinds("h264", "h265", "vp8", "vp9", "av1", "mpeg2", "mpeg4", "theora", "mjpeg")...),
	audioKinds("opus", "aac", "mp3", "mp2", "vorbis", "flac", "ac3", "speex")...)

func (e *gstsink) Fragment(cat pipeline.Catalog) (pipeline.Fragment, error) {
	f, err := pipeline.Installed(cat, e.element)
	if err != nil {
		return pipeline.Fragment{}, err
	}
	for _, pad := range f.Pads {
		if pad.Source || pad.Presence != "always" || !strings.Contains(f.Klass, "Sink") {
			continue
		}
		accepts := pipeline.KindsOfCaps(pad.Caps)
		if len(accepts) == 0 {
			accepts = anyKind
		}
		return pipeline.Fragment{
			Nodes:  []pipeline.Node{{Factory: e.element, Set: append(unsynced(f), pipeline.Settings(e.raw)...)}},
			Inputs: []pipeline.Input{{Pad: pad.Name, Accepts: accepts, Max: 1}},
			Change: pipeline.ChangeInBand, // as far as the element can
		}, nil
	}
	return pipeline.Fragment{}, pipeline.At("element", "%s is no sink with a fixed input; take one that is, such as \"fakesink\" or \"udpsink\"", e.element)
}

// unsynced has a sink take buffers as they come and not wait for the others to
// preroll: the pace of a graph is the producer's.
func unsynced(f pipeline.Factory) []pipeline.Setting {
	var s []pipeline.Setting
	for _, p := range f.Props {
		switch p.Name {
		case "sync", "async", "enable-last-sample": // the last would pin a frame of the ring
			s = append(s, pipeline.Setting{Name: p.Name, Value: "false"})
		}
	}
	return s
}
