package filter

import "github.com/mpipe/mpipe/pipeline"

func init() {
	pipeline.Register[framerate]("framerate", "Pictures at a fixed rate: repeated where there are too few, left out where there are too many.")
}

type framerate struct{ fps string }

func (e *framerate) Props(p *pipeline.Props) {
	p.String(&e.fps, "fps", "", "Frames a second: \"30\", \"29.97\", \"30000/1001\".", pipeline.Required, pipeline.Valid(validRate))
}

// Fragment begins with the first picture and not at the run's zero, so that
// nothing is shown before it was there.
func (e *framerate) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return filter(pipeline.RawVideo, pipeline.Node{
		Factory: "videorate", Package: pkgBase, Set: set("skip-to-first", true),
		Caps: "video/x-raw," + rateCaps(e.fps),
	}), nil
}
