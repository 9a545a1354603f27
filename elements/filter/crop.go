package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[crop]("crop", "A part of the picture.")
}

type crop struct{ width, height, x, y int }

func (e *crop) Props(p *pipeline.Props) {
	p.Int(&e.width, "width", 0, "Width of the part in pixels; 0 goes to the right edge.", pipeline.Between(0, maxSide))
	p.Int(&e.height, "height", 0, "Height of the part in pixels; 0 goes to the lower edge.", pipeline.Between(0, maxSide))
	p.Int(&e.x, "x", -1, "Left edge of the part in pixels; -1 is in the middle, or with no width at the left.", pipeline.Between(-1, maxSide))
	p.Int(&e.y, "y", -1, "Upper edge of the part in pixels; -1 is in the middle, or with no height at the top.", pipeline.Between(-1, maxSide))
}

func (e *crop) Check() error {
	if e.width == 0 && e.height == 0 && e.x <= 0 && e.y <= 0 {
		return errors.New("crop takes nothing away; add width, height, x or y")
	}
	for _, p := range []struct {
		name string
		n    int
	}{{"width", e.width}, {"height", e.height}, {"x", max(e.x, 0)}, {"y", max(e.y, 0)}} {
		if err := even(p.name, p.n); err != nil {
			return err
		}
	}
	return nil
}

// Fragment lets videocrop find the edges that depend on the picture's size, which
// is not known before it comes: -1 is whatever makes the size in the caps.
func (e *crop) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	n := pipeline.Node{Factory: "videocrop", Package: pkgGood}
	var caps []string
	edges := func(near, far, side string, at, size int) {
		switch {
		case size == 0:
			n.Set = append(n.Set, set(near, max(at, 0))...)
		default:
			n.Set = append(n.Set, set(near, at, far, -1)...)
			caps = append(caps, fmt.Sprintf("%s=%d", side, size))
		}
	}
	edges("left", "right", "width", e.x, e.width)
	edges("top", "bottom", "height", e.y, e.height)
	if len(caps) > 0 {
		n.Caps = "video/x-raw," + strings.Join(caps, ",")
	}
	return filter(pipeline.RawVideo, n), nil
}
