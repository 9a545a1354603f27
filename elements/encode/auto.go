package encode

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[auto]("auto", "The encoder that suits: by the medium that comes in, by what its outputs can hold, and by what is installed.")
}

// preferred lists the encoders for each medium, those first that suit live screen
// content on CPU.
var preferred = map[pipeline.Media][]string{
	pipeline.Video: {"x264", "openh264", "vp8", "x265", "vp9", "av1"},
	pipeline.Audio: {"opus", "aac", "mp3", "vorbis", "flac", "pcm"},
}

type auto struct {
	bitrate     int64
	keyInterval time.Duration
	threads     int

	media  pipeline.Media
	chosen *pipeline.Fragment
}

func (e *auto) Props(p *pipeline.Props) {
	p.Bitrate(&e.bitrate, "bitrate", "", "Target bit rate; empty takes the encoder's own default.", pipeline.AtLeast("10k"))
	p.Duration(&e.keyInterval, "keyframe_interval", "2s", "Of video: a key frame at least this often; \"0s\" leaves it to the encoder.")
	p.Int(&e.threads, "threads", 0, "Of video: encoder threads; 0 lets the encoder choose.", pipeline.Between(0, 64))
}

func (e *auto) Join(in []pipeline.Given) error {
	e.media = in[0].Kind.Media
	return nil
}

// Choose takes the encoder whose codec most outputs can hold, of several the one
// that is preferred. Sound that an output cannot hold is encoded once more by the
// planner; about pictures it says what is wrong.
func (e *auto) Choose(cat pipeline.Catalog, taken [][]pipeline.Kind) (why string, err error) {
	best, most, wrong := "", -1, error(nil)
	for _, name := range preferred[e.media] {
		f, err := e.make(name, cat)
		if err != nil { // it cannot do the bit rate; the next may
			wrong = cmp.Or(wrong, err)
			continue
		}
		if !installed(cat, f) {
			continue
		}
		holds := 0
		for _, kinds := range taken {
			if slices.Contains(kinds, f.Output) {
				holds++
			}
		}
		if holds > most {
			best, most, e.chosen = name, holds, &f
		}
	}
	names := strings.Join(preferred[e.media], ", ")
	switch {
	case best == "" && wrong != nil:
		return "", wrong
	case best == "":
		return "", fmt.Errorf("none of the encoders %s is installed; install one: apt-get install %s", names, pkgUgly)
	}
	return fmt.Sprintf("auto takes %s, the first of %s that is installed and that %d of %d outputs can hold", best, names, most, len(taken)), nil
}

// make gives the fragment of an encoder with the properties that auto shares with
// it.
func (e *auto) make(name string, cat pipeline.Catalog) (pipeline.Fragment, error) {
	reg, _ := pipeline.Lookup(name)
	n := reg.New().(pipeline.Native)
	for _, spec := range pipeline.Specs(n) {
		var err error
		switch {
		case spec.Name == "bitrate" && e.bitrate > 0:
			err = spec.Set(strconv.FormatInt(e.bitrate, 10))
		case spec.Name == "keyframe_interval":
			err = spec.Set(e.keyInterval.String())
		case spec.Name == "threads":
			err = spec.Set(int64(e.threads))
		}
		if err != nil {
			return pipeline.Fragment{}, pipeline.At(spec.Name, "%s: %w", name, err)
		}
	}
	return n.Fragment(cat)
}

func installed(cat pipeline.Catalog, f pipeline.Fragment) bool {
	for _, n := range f.Nodes {
		if _, ok := cat.Factory(n.Factory); !ok {
			return false
		}
	}
	return true
}

// Fragment is that of the encoder chosen. Before that it tells what can come in.
func (e *auto) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	if e.chosen != nil {
		return *e.chosen, nil
	}
	return pipeline.Fragment{Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{pipeline.RawVideo, pipeline.RawAudio}, Max: 1}}}, nil
}
