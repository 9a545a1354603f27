package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[vp9]("vp9", "VP9 by libvpx: smaller than VP8 for more CPU, free of patent fees.")
}

type vp9 struct {
	video
	speed int
}

func (e *vp9) Props(p *pipeline.Props) {
	e.video.props(p)
	p.Int(&e.speed, "speed", 8, "libvpx's cpu-used: 0 is the best quality, 9 the least CPU.", pipeline.Between(0, 9))
}

// Fragment sets libvpx's real-time mode, and rows in parallel, without which
// VP9 keeps one core busy. Frames are not held back: vp9enc 1.22 loses those it
// still holds when the stream ends (40 of 60 came out with its default of 25).
func (e *vp9) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("target-bitrate", e.bitrate)
	s.str("end-usage", "cbr")
	s.num("deadline", 1)
	s.num("lag-in-frames", 0)
	s.num("cpu-used", int64(e.speed))
	s.str("row-mt", "true")
	if e.threads > 0 {
		s.num("threads", int64(e.threads))
	}
	n := pipeline.Node{Factory: "vp9enc", Package: pkgGood, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "keyframe-max-dist"}
	return encoder(pipeline.RawVideo, videoKind("vp9"), n), nil
}
