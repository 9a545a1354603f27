package filter

import "github.com/mpipe/mpipe/pipeline"

func init() {
	pipeline.Register[gate]("gate", "Lets pictures or sound through while it is open.")
}

type gate struct {
	open   bool
	closed string

	kind pipeline.Kind
}

func (e *gate) Props(p *pipeline.Props) {
	p.Bool(&e.open, "open", true, "Whether it is open.", pipeline.Live)
	p.String(&e.closed, "closed", "blank", "While it is closed: \"blank\" puts black and silence in the place of what comes, \"drop\" leaves it out; a file with other streams then waits for this one, so close those too.",
		pipeline.OneOf("blank", "drop"))
}

func (e *gate) Join(in []pipeline.Given) error {
	e.kind = in[0].Kind
	return nil
}

// Fragment passes frames on as they are while the gate is open, in place and
// without a copy. Time goes on while it is closed.
func (e *gate) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	if e.kind != pipeline.RawAudio {
		e.kind = pipeline.RawVideo
	}
	switch {
	case e.closed == "drop":
		// Only buffers stay behind: formats and the end of the stream go on.
		return filter(e.kind, pipeline.Node{Factory: "valve", Package: pkgCore, Set: set("drop-mode", "forward-sticky-events", "drop", !e.open)}), nil
	case e.kind == pipeline.RawAudio:
		return filter(e.kind, pipeline.Node{Factory: "volume", Package: pkgBase, Set: set("mute", !e.open)}), nil
	}
	light := 0.0
	if e.open {
		light = 1
	}
	return filter(e.kind, pipeline.Node{Factory: "videobalance", Package: pkgGood, Set: set("contrast", light, "saturation", light)}), nil
}
