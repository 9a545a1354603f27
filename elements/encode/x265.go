package encode

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[x265]("x265", "H.265 by libx265: smaller than H.264 for more CPU, patents to be licensed.")
}

type x265 struct {
	video
	preset string
	tune   string
}

func (e *x265) Props(p *pipeline.Props) {
	e.video.props(p)
	p.String(&e.preset, "preset", "ultrafast", "Speed against quality, in x265's words.",
		pipeline.OneOf("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"))
	p.String(&e.tune, "tune", "", "What to tune for; \"zerolatency\" gives each frame out before it takes the next.",
		pipeline.OneOf("", "grain", "fastdecode", "zerolatency"))
}

// Fragment: x265enc has no property for threads, only x265's own option, and no
// value for "no tune" but its default. Its bit rate is in kbit/s.
func (e *x265) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.str("speed-preset", e.preset)
	s.num("bitrate", max(e.bitrate/1000, 1))
	if e.tune != "" {
		s.str("tune", e.tune)
	}
	if e.threads > 0 {
		s.str("option-string", fmt.Sprintf("pools=%d", e.threads))
	}
	n := pipeline.Node{Factory: "x265enc", Package: pkgBad, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "key-int-max"}
	return encoder(pipeline.RawVideo, videoKind("h265"), n), nil
}
