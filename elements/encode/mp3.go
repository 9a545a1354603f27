package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[mp3]("mp3", "MP3 by LAME: for players that know nothing newer.")
}

type mp3 struct {
	bitrate string
	raw     map[string]any
}

// Props: MP3 knows these bit rates only.
func (e *mp3) Props(p *pipeline.Props) {
	p.String(&e.bitrate, "bitrate", "128k", "Constant bit rate.",
		pipeline.OneOf("32k", "40k", "48k", "56k", "64k", "80k", "96k", "112k", "128k", "160k", "192k", "224k", "256k", "320k"))
	rawProps(p, &e.raw)
}

func (e *mp3) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.str("target", "bitrate")
	s.str("cbr", "true")
	s.str("bitrate", e.bitrate[:len(e.bitrate)-1])
	n := pipeline.Node{Factory: "lamemp3enc", Package: pkgGood, Set: append(s, pipeline.Settings(e.raw)...)}
	return encoder(pipeline.RawAudio, audioKind("mp3"), n), nil
}
