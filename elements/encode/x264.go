package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[x264]("x264", "H.264 by libx264: the best quality for the CPU, patents to be licensed.")
}

type x264 struct {
	video
	preset    string
	tune      string
	profile   string
	crf       int
	bframes   int
	lookahead int
}

func (e *x264) Props(p *pipeline.Props) {
	e.video.props(p)
	p.String(&e.preset, "preset", "veryfast", "Speed against quality, in x264's words.",
		pipeline.OneOf("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"))
	p.String(&e.tune, "tune", "", "What to tune for; \"zerolatency\" gives each frame out before it takes the next.",
		pipeline.OneOf("", "stillimage", "fastdecode", "zerolatency"))
	p.String(&e.profile, "profile", "", "H.264 profile; empty takes the highest the settings need.",
		pipeline.OneOf("", "baseline", "main", "high"))
	p.Int(&e.crf, "crf", 0, "Constant rate factor: quality instead of bit rate, 18 is near lossless, 28 is small; 0 uses the bit rate.", pipeline.Between(0, 50))
	p.Int(&e.bframes, "bframes", 0, "B-frames between two others: smaller files for more latency; -1 leaves it to the preset.", pipeline.Between(-1, 16))
	p.Int(&e.lookahead, "lookahead", -1, "Frames the rate control looks ahead, each one held in memory; -1 leaves it to the preset.", pipeline.Between(-1, 250))
}

// Fragment leaves every property alone that the graph does not set: x264enc lets
// a set property win over the preset, and an unset one follow it. Its bit rate
// is in kbit/s.
func (e *x264) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	var s settings
	s.str("speed-preset", e.preset)
	s.num("bitrate", max(e.bitrate/1000, 1))
	if e.tune != "" {
		s.str("tune", e.tune)
	}
	if e.crf > 0 {
		s.str("pass", "qual")
		s.num("quantizer", int64(e.crf))
	}
	if e.bframes >= 0 {
		s.num("bframes", int64(e.bframes))
	}
	if e.lookahead >= 0 {
		s.num("rc-lookahead", int64(e.lookahead))
	}
	if e.threads > 0 {
		s.num("threads", int64(e.threads))
	}
	n := pipeline.Node{Factory: "x264enc", Package: pkgUgly, Set: append(s, pipeline.Settings(e.raw)...), KeyInterval: e.keyInterval, KeyFrames: "key-int-max"}
	if e.profile != "" {
		n.Caps = "video/x-h264,profile=" + e.profile
	}
	return encoder(pipeline.RawVideo, videoKind("h264"), n), nil
}
