package filter

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // the formats that are told apart from what is no picture
	_ "image/jpeg"
	_ "image/png"
	"os"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[overlay]("overlay", "A text, a clock or an image on the picture.")
}

type overlay struct {
	text, clock, image string
	position           string
	margin             int
	font               string
	fontSize           int
	fontColor          string
	box                bool
	width, height      int
	alpha              float64

	what string // which of text, clock and image it is; live changes do not change that
}

func (e *overlay) Props(p *pipeline.Props) {
	p.String(&e.text, "text", "", "The text; \\n begins a new line.", pipeline.Live)
	p.String(&e.clock, "clock", "", "The time of day as strftime writes it, such as \"%H:%M:%S\", when the picture passes.")
	p.String(&e.image, "image", "", "Path of an image, PNG, JPEG or GIF, that stays where it is.")
	p.String(&e.position, "position", "top-left", "Where on the picture.", pipeline.OneOf(positions...), pipeline.Live)
	p.Int(&e.margin, "margin", 16, "Pixels between it and the edges.", pipeline.Between(0, maxSide), pipeline.Live)
	p.String(&e.font, "font", "Sans", "Font family and style, such as \"DejaVu Sans Bold\".")
	p.Int(&e.fontSize, "fontsize", 24, "Height of the font in pixels.", pipeline.Between(4, 1000), pipeline.Live)
	p.String(&e.fontColor, "fontcolor", "white", "A name such as \"yellow\", \"#rrggbb\" or \"#rrggbbaa\"; \"white@0.5\" is half transparent.", pipeline.Valid(validColor), pipeline.Live)
	p.Bool(&e.box, "box", false, "Darken the picture behind the text.", pipeline.Live)
	p.Int(&e.width, "width", 0, "Width of an image in pixels; 0 is its own.", pipeline.Between(0, maxSide), pipeline.Live)
	p.Int(&e.height, "height", 0, "Height of an image in pixels; 0 is its own.", pipeline.Between(0, maxSide), pipeline.Live)
	p.Float(&e.alpha, "alpha", 1, "How much of an image is seen: 1 covers the picture, 0 is nothing.", pipeline.Between(0, 1), pipeline.Live)
}

// positions are the places of an overlay, row by row.
var positions = []string{"top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"}

func (e *overlay) Check() error {
	have := e.given()
	switch len(have) {
	case 0:
		return errors.New("overlay shows nothing; add text, clock or image")
	case 1:
		return nil
	}
	return pipeline.At(have[1], "one overlay shows one thing, and %s is there too; take one away, or add a second stage for it", have[0])
}

func (e *overlay) given() (names []string) {
	for _, p := range []struct{ name, value string }{{"text", e.text}, {"clock", e.clock}, {"image", e.image}} {
		if p.value != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// Open looks at the image: GStreamer's element would fail only when the first
// picture comes.
func (e *overlay) Open(context.Context) error {
	if e.image == "" {
		return nil
	}
	f, err := os.Open(e.image)
	if err != nil {
		return pipeline.At("image", "%w; name a file that is there", err)
	}
	defer f.Close()
	if _, _, err := image.DecodeConfig(f); err != nil {
		return pipeline.At("image", "%s cannot be read as an image: %w; use PNG, JPEG or GIF", e.image, err)
	}
	return nil
}

func (e *overlay) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	if have := e.given(); e.what == "" && len(have) > 0 {
		e.what = have[0]
	}
	switch e.what {
	case "image":
		return filter(pipeline.RawVideo, e.imageNode()), nil
	case "clock":
		return written(e.textNode("clockoverlay", "time-format", e.clock)), nil
	}
	return written(e.textNode("textoverlay", "text", strings.ReplaceAll(e.text, `\n`, "\n"))), nil
}

// written is the fragment of an element that writes on pictures, whose pad has
// another name than others'.
func written(n pipeline.Node) pipeline.Fragment {
	f := filter(pipeline.RawVideo, n)
	f.Inputs[0].Pad = "video_sink"
	return f
}

func (e *overlay) textNode(factory, property, value string) pipeline.Node {
	h, v := place(e.position)
	return pipeline.Node{Factory: factory, Package: pkgPango, Set: set(
		property, value,
		"halignment", [3]string{"left", "center", "right"}[h], "valignment", [3]string{"top", "center", "bottom"}[v],
		"line-alignment", [3]string{"left", "center", "right"}[h],
		"xpad", e.margin, "ypad", e.margin,
		"font-desc", fmt.Sprintf("%s %dpx", e.font, e.fontSize), "auto-resize", false,
		"color", argb(e.fontColor), "shaded-background", e.box)}
}

func (e *overlay) imageNode() pipeline.Node {
	h, v := place(e.position)
	n := pipeline.Node{Factory: "gdkpixbufoverlay", Package: pkgGood, Set: set(
		"location", e.image, "overlay-width", e.width, "overlay-height", e.height, "alpha", e.alpha,
		"positioning-mode", "pixels-absolute")}
	// Its place is coef of the picture's size + relative of its own + offset.
	for _, axis := range []struct {
		name string
		at   int
	}{{"x", h}, {"y", v}} {
		n.Set = append(n.Set, set("coef-"+axis.name, float64(axis.at)/2, "relative-"+axis.name, -float64(axis.at)/2,
			"offset-"+axis.name, e.margin*(1-axis.at))...)
	}
	return n
}

// place gives the column and the row of a position, each 0 to 2.
func place(position string) (column, row int) {
	for i, p := range positions {
		if p == position {
			return i % 3, i / 3
		}
	}
	return 0, 0
}
