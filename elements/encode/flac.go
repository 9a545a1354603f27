package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[flac]("flac", "FLAC: lossless audio, about half the size of raw.")
}

type flac struct {
	level int
	raw   map[string]any
}

func (e *flac) Props(p *pipeline.Props) {
	p.Int(&e.level, "level", 5, "CPU against size; the sound is the same.", pipeline.Between(0, 8))
	rawProps(p, &e.raw)
}

func (e *flac) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("quality", int64(e.level))
	n := pipeline.Node{Factory: "flacenc", Package: pkgGood, Set: append(s, pipeline.Settings(e.raw)...)}
	return encoder(pipeline.RawAudio, audioKind("flac"), n), nil
}
