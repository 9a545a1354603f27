package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[compose]("compose", "Several pictures side by side in one, at a fixed size and rate.")
}

type compose struct {
	width, height int
	fps           string
	layout        string
	spotlight     string
	fit           string
	gap           int
	background    string
	labels        []string
	onEnd         string
	wait          time.Duration

	inputs []string // the names of what it puts together
}

func (e *compose) Props(p *pipeline.Props) {
	p.Int(&e.width, "width", 1280, "Width of the whole in pixels.", pipeline.Between(16, maxSide))
	p.Int(&e.height, "height", 720, "Height of the whole in pixels.", pipeline.Between(16, maxSide))
	p.String(&e.fps, "fps", "30", "Frames a second of the whole: \"30\", \"30000/1001\".", pipeline.Valid(validRate))
	p.String(&e.layout, "layout", "grid", "\"grid\" gives all the same size, \"spotlight\" shows one large and the others in a column beside it.", pipeline.OneOf("grid", "spotlight"), pipeline.Live)
	p.String(&e.spotlight, "spotlight", "", "The input that the spotlight is on, as inputs names it; empty is the first.", pipeline.Valid(e.isInput), pipeline.Live)
	p.String(&e.fit, "fit", "contain", "Where a picture has another shape than its place: \"contain\" shows all of it, \"cover\" cuts off what does not fit, \"stretch\" distorts.", pipeline.OneOf(fits...))
	p.Int(&e.gap, "gap", 0, "Pixels between pictures, and around them.", pipeline.Between(0, maxSide))
	p.String(&e.background, "background", "black", "What is seen where no picture is.", pipeline.OneOf("black", "white"))
	p.Strings(&e.labels, "labels", "A text for each input, in their order, at the lower left of its picture.")
	p.String(&e.onEnd, "on_end", "keep", "When an input ends before the others: \"keep\" its last picture, or \"clear\" its place.", pipeline.OneOf("keep", "clear"), pipeline.Live)
	p.Duration(&e.wait, "wait", "500ms", "How long the others wait for an input that gives nothing, before they go on beside its latest picture; \"0s\" is for ever.")
}

func (e *compose) isInput(name string) error {
	if name == "" || len(e.inputs) == 0 || slices.Contains(e.inputs, name) {
		return nil
	}
	return fmt.Errorf("%q is not one of the inputs; they are %s", name, strings.Join(e.inputs, ", "))
}

func (e *compose) Check() error {
	if err := even("width", e.width); err != nil {
		return err
	}
	if err := even("height", e.height); err != nil {
		return err
	}
	return even("gap", e.gap)
}

// least is the smallest side of a picture's place, in pixels.
const least = 16

func (e *compose) Join(in []pipeline.Given) error {
	e.inputs = nil
	for _, g := range in {
		e.inputs = append(e.inputs, g.Name)
	}
	if err := e.isInput(e.spotlight); err != nil {
		return pipeline.At("spotlight", "%w", err)
	}
	if len(e.labels) > 0 && len(e.labels) != len(in) {
		return pipeline.At("labels", "%d labels for %d inputs; write one for each, \"\" for none", len(e.labels), len(in))
	}
	// Both layouts, since the layout may change while it runs.
	for _, b := range append(grid(e.width, e.height, e.gap, len(in)), spotlight(e.width, e.height, e.gap, len(in), 0)...) {
		if b.width < least || b.height < least {
			return pipeline.At("width", "%d inputs would be %dx%d pixels small; make the whole larger, the gap smaller, or take fewer inputs", len(in), b.width, b.height)
		}
	}
	return nil
}

func (e *compose) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	f := pipeline.Fragment{
		Nodes: []pipeline.Node{{
			Factory: "compositor", Package: pkgBase, Set: set("background", e.background),
			Caps: fmt.Sprintf("video/x-raw,format=I420,width=%d,height=%d,pixel-aspect-ratio=1/1,%s", e.width, e.height, rateCaps(e.fps)),
		}},
		Output:   pipeline.RawVideo,
		Patience: e.wait,
	}
	if len(e.inputs) == 0 {
		f.Inputs = []pipeline.Input{{Pad: "sink_%u", Accepts: []pipeline.Kind{pipeline.RawVideo}}}
		return f, nil
	}
	for i, b := range e.boxes() {
		f.Inputs = append(f.Inputs, e.input(i, b))
	}
	return f, nil
}

func (e *compose) boxes() []box {
	if e.layout == "spotlight" {
		return spotlight(e.width, e.height, e.gap, len(e.inputs), max(0, slices.Index(e.inputs, e.spotlight)))
	}
	return grid(e.width, e.height, e.gap, len(e.inputs))
}

// input puts one picture into its box.
func (e *compose) input(i int, b box) pipeline.Input {
	policy := "none"
	if e.fit == "contain" {
		policy = "keep-aspect-ratio"
	}
	in := pipeline.Input{
		Pad: fmt.Sprintf("sink_%d", i), Accepts: []pipeline.Kind{pipeline.RawVideo}, Max: 1,
		Set: set("xpos", b.x, "ypos", b.y, "width", b.width, "height", b.height, "sizing-policy", policy, "repeat-after-eos", e.onEnd == "keep"),
	}
	if e.fit == "cover" {
		in.Nodes = append(in.Nodes, cropTo(b.width, b.height))
	}
	if len(e.labels) > 0 {
		// The size is that of a picture 640 pixels wide, and grows with it.
		in.Nodes = append(in.Nodes, pipeline.Node{Factory: "textoverlay", Package: pkgPango, Set: set(
			"text", e.labels[i], "halignment", "left", "valignment", "bottom", "xpad", 12, "ypad", 12,
			"font-desc", "Sans 28px", "shaded-background", true)})
	}
	return in
}
