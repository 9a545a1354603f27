package filter

import (
	"math"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[volume]("volume", "Sound louder, softer or muted.")
}

type volume struct {
	volume string
	mute   bool
}

func (e *volume) Props(p *pipeline.Props) {
	p.String(&e.volume, "volume", "1.0", "A factor, \"0.5\", or decibels, \"-6dB\".", pipeline.Valid(validGain), pipeline.Live)
	p.Bool(&e.mute, "mute", false, "Silence, whatever the volume.", pipeline.Live)
}

func (e *volume) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return filter(pipeline.RawAudio, pipeline.Node{
		Factory: "volume", Package: pkgBase, Set: set("volume", gainSetting(e.volume), "mute", e.mute),
	}), nil
}

func decibels(db float64) float64 { return math.Pow(10, db/20) }
