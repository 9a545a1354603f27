package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[vp8]("vp8", "VP8 by libvpx: free of patent fees, for WebM and MKV.")
}

type vp8 struct {
	video
	speed int
}

func (e *vp8) Props(p *pipeline.Props) {
	e.video.props(p)
	p.Int(&e.speed, "speed", 8, "libvpx's cpu-used: 0 is the best quality, 16 the least CPU.", pipeline.Between(0, 16))
}

// Fragment sets deadline=1, libvpx's real-time mode: without it vp8enc takes as
// long as it likes for a frame.
func (e *vp8) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("target-bitrate", e.bitrate)
	s.str("end-usage", "cbr")
	s.num("deadline", 1)
	s.num("cpu-used", int64(e.speed))
	if e.threads > 0 {
		s.num("threads", int64(e.threads))
	}
	n := pipeline.Node{Factory: "vp8enc", Package: pkgGood, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "keyframe-max-dist"}
	return encoder(pipeline.RawVideo, videoKind("vp8"), n), nil
}
