package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[aac]("aac", "AAC: plays everywhere, and the only good choice for RTMP. The best installed encoder does it.")
}

type aac struct {
	audio
	encoder string
}

// aacEncoders lists GStreamer's AAC encoders, the best first.
var aacEncoders = []pipeline.Node{
	{Factory: "fdkaacenc", Package: "gstreamer1.0-fdkaac"}, // in Debian's contrib
	{Factory: "avenc_aac", Package: pkgAV},
	{Factory: "voaacenc", Package: pkgBad},
}

func (e *aac) Props(p *pipeline.Props) {
	e.audio.props(p, "128k")
	p.String(&e.encoder, "encoder", "", "Which GStreamer element does it; empty takes the best that is installed.",
		pipeline.OneOf("", "fdkaacenc", "avenc_aac", "voaacenc"))
}

func (e *aac) Fragment(cat pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("bitrate", e.bitrate)
	n := e.choose(cat)
	n.Set = append(s, pipeline.Settings(e.raw)...)
	return encoder(pipeline.RawAudio, audioKind("aac"), n), nil
}

// choose falls back to the one that Debian's plugins always have, so that the
// planner's error about a missing element names a package that can be had.
func (e *aac) choose(cat pipeline.Catalog) pipeline.Node {
	for _, n := range aacEncoders {
		if e.encoder == n.Factory {
			return n
		}
		if _, ok := cat.Factory(n.Factory); ok && e.encoder == "" {
			return n
		}
	}
	return aacEncoders[1]
}
