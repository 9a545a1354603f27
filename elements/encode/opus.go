package encode

import (
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[opus]("opus", "Opus: the best audio per bit, for MP4, WebM, MKV, Ogg and TS.")
}

type opus struct {
	audio
	content    string
	complexity int
	frame      string
}

func (e *opus) Props(p *pipeline.Props) {
	e.audio.props(p, "96k")
	p.String(&e.content, "content", "music", "What is heard: \"music\" for anything mixed, \"voice\" for speech alone, \"lowdelay\" for the shortest latency.",
		pipeline.OneOf("music", "voice", "lowdelay"))
	p.Int(&e.complexity, "complexity", 10, "CPU against quality.", pipeline.Between(0, 10))
	p.String(&e.frame, "frame", "20ms", "Length of a packet.", pipeline.OneOf("2.5ms", "5ms", "10ms", "20ms", "40ms", "60ms"))
}

func (e *opus) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("bitrate", e.bitrate)
	s.str("audio-type", map[string]string{"music": "generic", "voice": "voice", "lowdelay": "restricted-lowdelay"}[e.content])
	s.num("complexity", int64(e.complexity))
	s.str("frame-size", strings.TrimSuffix(e.frame, "ms"))
	n := pipeline.Node{Factory: "opusenc", Package: pkgBase, Set: append(s, pipeline.Settings(e.raw)...)}
	return encoder(pipeline.RawAudio, audioKind("opus"), n), nil
}
