package pipeline

import "strings"

// GoFactory is the GStreamer element that calls a Filter or a Viewer.
const GoFactory = "mpipego"

// FragmentOf gives the GStreamer elements of a stage or sink: those a Native says,
// or for a Filter or Viewer the element that calls it. ok is false for a Source.
func FragmentOf(e Element, role Role, cat Catalog) (f Fragment, ok bool, err error) {
	if n, native := e.(Native); native {
		f, err = n.Fragment(cat)
		return f, true, err
	}
	if !InGo(e) {
		return f, false, nil
	}
	kind, formats := RawVideo, []string{"I420"}
	if t, ok := e.(Taker); ok {
		kind, formats = t.Takes()
	}
	f = Fragment{
		Nodes:  []Node{{Factory: GoFactory}},
		Inputs: []Input{{Pad: "sink", Accepts: []Kind{kind}, Max: 1, Caps: goCaps(kind, formats)}},
		Output: kind,
	}
	if role == RoleSink {
		f.Output, f.Change = Kind{}, ChangeInBand // Format tells it
		f.Nodes = append(f.Nodes, Node{Factory: "fakesink", Package: "libgstreamer1.0-0", Set: []Setting{
			{Name: "sync", Value: "false"}, {Name: "async", Value: "false"}, {Name: "enable-last-sample", Value: "false"}}})
	}
	return f, true, nil
}

// InGo tells that an element's frames pass through Go.
func InGo(e Element) bool {
	_, filter := e.(Filter)
	_, viewer := e.(Viewer)
	return filter || viewer
}

func goCaps(k Kind, formats []string) string {
	c, _ := CodecOf(k)
	if len(formats) == 0 {
		return ""
	}
	caps := c.Caps + ",format={(string)" + strings.Join(formats, ",(string)") + "}"
	if k == RawAudio {
		caps += ",layout=interleaved"
	}
	return caps
}
