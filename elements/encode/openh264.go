package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[openh264]("openh264", "H.264 by Cisco's OpenH264: baseline, no look-ahead, less CPU than x264 at the same speed for screen content.")
}

type openh264 struct {
	video
	complexity string
	content    string
}

func (e *openh264) Props(p *pipeline.Props) {
	e.video.props(p)
	p.String(&e.complexity, "complexity", "medium", "Speed against quality.", pipeline.OneOf("low", "medium", "high"))
	p.String(&e.content, "content", "camera", "What the pictures are.", pipeline.OneOf("camera", "screen"))
}

func (e *openh264) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.num("bitrate", e.bitrate)
	s.str("rate-control", "bitrate")
	s.str("complexity", e.complexity)
	s.str("usage-type", e.content)
	if e.threads > 0 {
		s.num("multi-thread", int64(e.threads))
	}
	n := pipeline.Node{Factory: "openh264enc", Package: pkgBad, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "gop-size"}
	return encoder(pipeline.RawVideo, videoKind("h264"), n), nil
}
