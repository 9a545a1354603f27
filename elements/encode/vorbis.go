package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[vorbis]("vorbis", "Vorbis: for WebM and Ogg players that know no Opus.")
}

type vorbis struct{ audio }

func (e *vorbis) Props(p *pipeline.Props) { e.audio.props(p, "112k") }

func (e *vorbis) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("bitrate", e.bitrate)
	n := pipeline.Node{Factory: "vorbisenc", Package: pkgBase, Set: append(s, pipeline.Settings(e.raw)...)}
	return encoder(pipeline.RawAudio, audioKind("vorbis"), n), nil
}
