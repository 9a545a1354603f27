package filter

import (
	"errors"
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[resample]("resample", "Sound in another rate, in mono or stereo, or with other samples.")
}

type resample struct {
	rate, channels int
	format         string
	quality        int
}

// samples are ffmpeg's words for layouts of a sample in GStreamer's.
var samples = map[string]string{"u8": "U8", "s16": "S16LE", "s32": "S32LE", "flt": "F32LE", "dbl": "F64LE"}

func (e *resample) Props(p *pipeline.Props) {
	p.Int(&e.rate, "rate", 0, "Samples a second; 0 keeps the rate.", pipeline.Between(0, 384000))
	p.Int(&e.channels, "channels", 0, "1 is mono, 2 is stereo; 0 keeps what comes.", pipeline.Between(0, 2))
	p.String(&e.format, "format", "", "Layout of a sample, in ffmpeg's words; empty keeps what comes.", pipeline.OneOf("", "u8", "s16", "s32", "flt", "dbl"))
	p.Int(&e.quality, "quality", 4, "Quality of another rate against CPU.", pipeline.Between(0, 10))
}

func (e *resample) Check() error {
	if e.rate == 0 && e.channels == 0 && e.format == "" {
		return errors.New("resample changes nothing; add rate, channels or format")
	}
	if e.rate > 0 && e.rate < 1000 {
		return pipeline.At("rate", "%d samples a second are too few; write the rate in Hz, such as 48000", e.rate)
	}
	return nil
}

// Fragment is the element for the rate alone: in front of whatever takes raw
// sound the planner has a converter, which heeds the caps behind it.
func (e *resample) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return filter(pipeline.RawAudio, pipeline.Node{
		Factory: "audioresample", Package: pkgBase, Set: set("quality", e.quality),
		Caps: soundCaps(samples[e.format], e.rate, e.channels),
	}), nil
}

// soundCaps are the caps of raw sound; what is zero stays open.
func soundCaps(format string, rate, channels int) string {
	caps := "audio/x-raw,layout=interleaved"
	if format != "" {
		caps += ",format=" + format
	}
	if rate > 0 {
		caps += fmt.Sprintf(",rate=%d", rate)
	}
	if channels > 0 {
		caps += fmt.Sprintf(",channels=%d", channels)
	}
	if channels == 2 {
		caps += ",channel-mask=(bitmask)0x3" // several encoders want positions
	}
	return caps
}
