package encode

import (
	"strconv"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// Debian's names of the packages that hold GStreamer's plugins.
const (
	pkgBase = "gstreamer1.0-plugins-base"
	pkgGood = "gstreamer1.0-plugins-good"
	pkgBad  = "gstreamer1.0-plugins-bad"
	pkgUgly = "gstreamer1.0-plugins-ugly"
	pkgAV   = "gstreamer1.0-libav"
)

// video is what every video encoder understands, so that one can take another's
// place by its type alone.
type video struct {
	bitrate     int64
	keyInterval time.Duration
	threads     int
	raw         map[string]any
}

func (v *video) props(p *pipeline.Props) {
	p.Bitrate(&v.bitrate, "bitrate", "2500k", "Target bit rate.", pipeline.AtLeast("10k"))
	p.Duration(&v.keyInterval, "keyframe_interval", "2s", "A key frame at least this often, at the stream's frame rate; \"0s\" leaves it to the encoder.")
	p.Int(&v.threads, "threads", 0, "Encoder threads; 0 lets the encoder choose.", pipeline.Between(0, 64))
	rawProps(p, &v.raw)
}

// audio is what every audio encoder with a bit rate understands.
type audio struct {
	bitrate int64
	raw     map[string]any
}

func (a *audio) props(p *pipeline.Props, bitrate string) {
	p.Bitrate(&a.bitrate, "bitrate", bitrate, "Target bit rate.", pipeline.AtLeast("8k"))
	rawProps(p, &a.raw)
}

func rawProps(p *pipeline.Props, raw *map[string]any) {
	p.Table(raw, "gst", "Properties of the GStreamer element in its own words; they win over everything above.")
}

func videoKind(codec string) pipeline.Kind { return pipeline.Kind{Media: pipeline.Video, Codec: codec} }
func audioKind(codec string) pipeline.Kind { return pipeline.Kind{Media: pipeline.Audio, Codec: codec} }

// encoder is the fragment of an encoder that is one GStreamer element.
func encoder(in, out pipeline.Kind, n pipeline.Node) pipeline.Fragment {
	return pipeline.Fragment{
		Nodes:  []pipeline.Node{n},
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{in}, Max: 1}},
		Output: out,
	}
}

// settings builds a node's property list.
type settings []pipeline.Setting

func (s *settings) str(name, value string) {
	*s = append(*s, pipeline.Setting{Name: name, Value: value})
}
func (s *settings) num(name string, v int64) {
	s.str(name, strconv.FormatInt(v, 10))
}
