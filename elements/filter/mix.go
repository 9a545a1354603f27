package filter

import (
	"fmt"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[mix]("mix", "Several sounds in one.")
}

type mix struct {
	volumes  []string
	rate     int
	channels int
	wait     time.Duration

	inputs int
}

func (e *mix) Props(p *pipeline.Props) {
	p.Strings(&e.volumes, "volumes", "A volume for each input, in their order: a factor, \"0.5\", or decibels, \"-6dB\"; without them all are 1.", pipeline.Valid(validGain), pipeline.Live)
	p.Int(&e.rate, "rate", 48000, "Samples a second of the whole.", pipeline.Between(1000, 384000))
	p.Int(&e.channels, "channels", 2, "1 is mono, 2 is stereo.", pipeline.Between(1, 2))
	p.Duration(&e.wait, "wait", "500ms", "How long the others wait for an input that gives nothing, before they go on with silence in its place; \"0s\" is for ever.")
}

func (e *mix) Join(in []pipeline.Given) error {
	e.inputs = len(in)
	return e.oneEach()
}

func (e *mix) oneEach() error {
	if len(e.volumes) > 0 && len(e.volumes) != e.inputs {
		return pipeline.At("volumes", "%d volumes for %d inputs; write one for each, \"1\" for as it is", len(e.volumes), e.inputs)
	}
	return nil
}

// Fragment mixes floats, which do not clip before the encoder's converter.
func (e *mix) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	caps := soundCaps("F32LE", e.rate, e.channels)
	f := pipeline.Fragment{
		Nodes: []pipeline.Node{{
			Factory: "audiomixer", Package: pkgBase, Caps: caps,
			// Sound that goes on after a pause has its place by its stamp at once.
			Set: set("output-buffer-duration", (20 * time.Millisecond).Nanoseconds(), "discont-wait", 0),
		}},
		Output:   pipeline.RawAudio,
		Patience: e.wait,
	}
	if e.inputs == 0 {
		f.Inputs = []pipeline.Input{{Pad: "sink_%u", Accepts: []pipeline.Kind{pipeline.RawAudio}, Caps: caps}}
		return f, nil
	}
	if err := e.oneEach(); err != nil {
		return f, err
	}
	for i := range e.inputs {
		volume := "1"
		if len(e.volumes) > 0 {
			volume = gainSetting(e.volumes[i])
		}
		f.Inputs = append(f.Inputs, pipeline.Input{
			Pad: fmt.Sprintf("sink_%d", i), Accepts: []pipeline.Kind{pipeline.RawAudio}, Max: 1, Caps: caps,
			Set: set("volume", volume),
		})
	}
	return f, nil
}
