package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[av1]("av1", "AV1 by libaom: the smallest files, the most CPU, free of patent fees.")
}

type av1 struct {
	video
	speed int
}

func (e *av1) Props(p *pipeline.Props) {
	e.video.props(p)
	p.Int(&e.speed, "speed", 10, "libaom's cpu-used: 0 is the best quality, 10 the least CPU.", pipeline.Between(0, 10))
}

// Fragment sets libaom's real-time mode without frames held back. The range of
// quantizers is set because av1enc's own, 0 to 0, has libaom abort the process in
// constant bit rate; 4 to 56 leaves libaom its choice.
func (e *av1) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("target-bitrate", max(e.bitrate/1000, 1)) // in kbit/s
	s.str("end-usage", "cbr")
	s.str("usage-profile", "realtime")
	s.num("lag-in-frames", 0)
	s.num("min-quantizer", 4)
	s.num("max-quantizer", 56)
	s.num("cpu-used", int64(e.speed))
	s.str("row-mt", "true")
	if e.threads > 0 {
		s.num("threads", int64(e.threads))
	}
	n := pipeline.Node{Factory: "av1enc", Package: pkgBad, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "keyframe-max-dist"}
	return encoder(pipeline.RawVideo, videoKind("av1"), n), nil
}
