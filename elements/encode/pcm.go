package encode

import (
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[pcm]("pcm", "PCM: sound as it is, for WAV and MKV. 1.5 Mbit/s for 48 kHz stereo of 16 bits.")
}

type pcm struct {
	format string
	raw    map[string]any
}

func (e *pcm) Props(p *pipeline.Props) {
	p.String(&e.format, "format", "S16LE", "Samples: signed integers of 16, 24 or 32 bits, or 32-bit floats, little-endian.",
		pipeline.OneOf("S16LE", "S24LE", "S32LE", "F32LE"))
	rawProps(p, &e.raw)
}

// Fragment converts nothing but the form of the samples; rate and channels stay.
func (e *pcm) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	n := pipeline.Node{Factory: "audioconvert", Package: pkgBase, Set: pipeline.Settings(e.raw), Caps: "audio/x-raw,layout=interleaved,format=" + e.format}
	return encoder(pipeline.RawAudio, audioKind("pcm"), n), nil
}
