package graph_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[shmsrc]("shmsrc", "Frames of another process.")
	pipeline.Register[tonesrc]("tone", "A sine tone.")
	pipeline.Register[x264]("x264", "H.264 by x264.")
	pipeline.Register[openh264]("openh264", "H.264 by Cisco.")
	pipeline.Register[vp8]("vp8", "VP8 by libvpx.")
	pipeline.Register[svtav1]("svtav1", "AV1 by SVT, which is not installed.")
	pipeline.Register[opus]("opus", "Opus.")
	pipeline.Register[aac]("aac", "AAC.")
	pipeline.Register[flip]("flip", "Turns the picture.")
	pipeline.Register[mix]("mix", "Puts pictures side by side.")
	pipeline.Register[clash]("clash", "Two elements, the first of them a queue.")
	pipeline.Register[greedy]("greedy", "Declares a key of the planner.")
	pipeline.Register[gst]("gst", "Any GStreamer element.")
	pipeline.Register[odd]("odd", "Fails as asked.")
	pipeline.RegisterSink[file]("file", "A file.")
	pipeline.RegisterSink[rtmp]("rtmp", "A live stream.")
	pipeline.RegisterSink[show]("show", "A window.")
}

// source is the part of a source that no test of this package runs.
type source struct{}

func (source) Open(context.Context, *pipeline.SourceEnv) error { return nil }
func (source) Run(context.Context) error                       { return nil }
func (source) Close() error                                    { return nil }

type shmsrc struct {
	source
	ring, exit, change string
	attach             time.Duration
}

func (s *shmsrc) Props(p *pipeline.Props) {
	p.String(&s.ring, "ring", "", "Address of the ring.", pipeline.Required)
	p.Duration(&s.attach, "attach_timeout", "30s", "How long to wait for a producer.", pipeline.AtLeast("100ms"))
	p.String(&s.exit, "on_producer_exit", "eos", "What the end of the producer means.", pipeline.OneOf("eos", "wait"))
	p.String(&s.change, "on_format_change", "scale", "What a new size means.", pipeline.OneOf("scale", "segment", "fail"))
}

func (s *shmsrc) OnFormatChange() string { return s.change }

func (s *shmsrc) Output(pad string) (pipeline.Kind, error) {
	switch {
	case strings.HasPrefix(pad, "video"):
		return pipeline.RawVideo, nil
	case strings.HasPrefix(pad, "audio"):
		return pipeline.RawAudio, nil
	case pad == "":
		return pipeline.Kind{}, errors.New("a ring has more than one pad")
	}
	return pipeline.Kind{}, errors.New(`a pad's name starts with "video" or "audio"`)
}

// tonesrc has one output without a name.
type tonesrc struct {
	source
	freq float64
}

func (t *tonesrc) Props(p *pipeline.Props) {
	p.Float(&t.freq, "frequency", 440, "Hertz.", pipeline.Between(20, 20000))
}

func (t *tonesrc) Output(pad string) (pipeline.Kind, error) {
	if pad != "" {
		return pipeline.Kind{}, errors.New("it has one output, without a name")
	}
	return pipeline.RawAudio, nil
}

// common is what encoders share.
type common struct {
	bitrate  int64
	interval time.Duration
	gst      map[string]any
}

func (c *common) declare(p *pipeline.Props, bitrate string) {
	p.Bitrate(&c.bitrate, "bitrate", bitrate, "Bits per second.", pipeline.AtLeast("1k"), pipeline.Live)
	p.Duration(&c.interval, "keyframe_interval", "2s", "Most time between key frames.")
	p.Table(&c.gst, "gst", "Raw GStreamer properties.")
}

func (c *common) set(own ...pipeline.Setting) []pipeline.Setting {
	return append(own, rawSettings(c.gst)...)
}

func rawSettings(gst map[string]any) []pipeline.Setting {
	var out []pipeline.Setting
	for _, name := range sorted(gst) {
		value := fmt.Sprint(gst[name])
		if f, ok := gst[name].(float64); ok {
			value = strconv.FormatFloat(f, 'f', -1, 64)
		}
		out = append(out, pipeline.Setting{Name: name, Value: value})
	}
	return out
}

func encoder(node pipeline.Node, from, to pipeline.Kind) pipeline.Fragment {
	return pipeline.Fragment{
		Nodes:  []pipeline.Node{node},
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{from}, Max: 1}},
		Output: to,
	}
}

var (
	h264Video = pipeline.Kind{Media: pipeline.Video, Codec: "h264"}
	vp8Video  = pipeline.Kind{Media: pipeline.Video, Codec: "vp8"}
	av1Video  = pipeline.Kind{Media: pipeline.Video, Codec: "av1"}
	opusAudio = pipeline.Kind{Media: pipeline.Audio, Codec: "opus"}
	aacAudio  = pipeline.Kind{Media: pipeline.Audio, Codec: "aac"}
)

type x264 struct {
	common
	preset, tune string
	threads      int
}

func (e *x264) Props(p *pipeline.Props) {
	e.declare(p, "2500k")
	p.String(&e.preset, "preset", "veryfast", "Speed against size.", pipeline.OneOf("ultrafast", "superfast", "veryfast", "medium"))
	p.String(&e.tune, "tune", "", "What to tune for.")
	p.Int(&e.threads, "threads", 0, "Threads, 0 for one per core.", pipeline.Between(0, 128))
}

// Check refuses what no single property can tell.
func (e *x264) Check() error {
	if e.preset == "medium" && e.tune == "zerolatency" {
		return pipeline.At("tune", "zerolatency is wasted on the preset medium; take the preset veryfast")
	}
	return nil
}

func (e *x264) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	set := []pipeline.Setting{{Name: "bitrate", Value: strconv.FormatInt(e.bitrate/1000, 10)}, {Name: "speed-preset", Value: e.preset}}
	if e.tune != "" {
		set = append(set, pipeline.Setting{Name: "tune", Value: e.tune})
	}
	f := encoder(pipeline.Node{Factory: "x264enc", Package: "gstreamer1.0-plugins-ugly", Set: e.set(set...),
		Caps: "video/x-h264,profile=high"}, pipeline.RawVideo, h264Video)
	f.Inputs[0].Caps = "video/x-raw,format=I420"
	return f, nil
}

type openh264 struct{ common }

func (e *openh264) Props(p *pipeline.Props) { e.declare(p, "2500k") }

func (e *openh264) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "openh264enc", Package: "gstreamer1.0-plugins-bad",
		Set: e.set(pipeline.Setting{Name: "bitrate", Value: fmt.Sprint(e.bitrate)})}, pipeline.RawVideo, h264Video), nil
}

type vp8 struct{ common }

func (e *vp8) Props(p *pipeline.Props) { e.declare(p, "2500k") }

func (e *vp8) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "vp8enc", Package: "gstreamer1.0-plugins-good",
		Set: e.set(pipeline.Setting{Name: "target-bitrate", Value: fmt.Sprint(e.bitrate)})}, pipeline.RawVideo, vp8Video), nil
}

type svtav1 struct{ common }

func (e *svtav1) Props(p *pipeline.Props) { e.declare(p, "2500k") }

func (e *svtav1) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "svtav1enc", Package: "gstreamer1.0-plugins-bad-extra", Set: e.set()},
		pipeline.RawVideo, av1Video), nil
}

type opus struct{ common }

func (e *opus) Props(p *pipeline.Props) { e.declare(p, "96k") }

func (e *opus) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "opusenc", Package: "gstreamer1.0-plugins-base",
		Set: e.set(pipeline.Setting{Name: "bitrate", Value: fmt.Sprint(e.bitrate)})}, pipeline.RawAudio, opusAudio), nil
}

type aac struct{ common }

func (e *aac) Props(p *pipeline.Props) { e.declare(p, "128k") }

func (e *aac) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "avenc_aac", Package: "gstreamer1.0-libav", Set: e.set()}, pipeline.RawAudio, aacAudio), nil
}

// flip is a filter of two elements, both of one factory.
type flip struct{ gst map[string]any }

func (f *flip) Props(p *pipeline.Props) { p.Table(&f.gst, "gst", "Raw GStreamer properties.") }

func (f *flip) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	frag := encoder(pipeline.Node{Factory: "videoflip", Set: rawSettings(f.gst)}, pipeline.RawVideo, pipeline.RawVideo)
	frag.Nodes = append(frag.Nodes, pipeline.Node{Factory: "videoflip", Caps: "video/x-raw,format=NV12"})
	return frag, nil
}

// clash has an element of its own with the name of one the planner puts in.
type clash struct{}

func (*clash) Props(*pipeline.Props) {}

func (*clash) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	frag := encoder(pipeline.Node{Factory: "queue"}, pipeline.RawVideo, pipeline.RawVideo)
	frag.Nodes = append(frag.Nodes, pipeline.Node{Factory: "videoflip"})
	return frag, nil
}

// greedy declares a property that every stage has already.
type greedy struct{ flip }

func (g *greedy) Props(p *pipeline.Props) { p.Table(&g.gst, "queue", "Not to be had.") }

// mix takes any number of pictures.
type mix struct{}

func (*mix) Props(*pipeline.Props) {}

func (*mix) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	frag := encoder(pipeline.Node{Factory: "compositor"}, pipeline.RawVideo, pipeline.RawVideo)
	frag.Inputs[0] = pipeline.Input{Pad: "sink_%u", Accepts: []pipeline.Kind{pipeline.RawVideo}}
	return frag, nil
}

// gst takes the kinds from the factory's name, which will do for the tests.
type gst struct {
	element string
	gst     map[string]any
}

func (g *gst) Props(p *pipeline.Props) {
	p.String(&g.element, "element", "", "GStreamer's name of the element.", pipeline.Required)
	p.Table(&g.gst, "gst", "Raw GStreamer properties.")
}

func (g *gst) Fragment(cat pipeline.Catalog) (pipeline.Fragment, error) {
	if g.element != "missing" { // "missing" leaves it to the planner to find out
		if _, err := pipeline.Installed(cat, g.element); err != nil {
			return pipeline.Fragment{}, err
		}
	}
	from, to := pipeline.RawVideo, pipeline.RawVideo
	switch g.element {
	case "x264enc":
		to = h264Video
	case "avdec_h264", "h264parse":
		from = h264Video
	}
	f := encoder(pipeline.Node{Factory: g.element, Set: rawSettings(g.gst)}, from, to)
	if from == h264Video {
		f.Inputs[0].Caps = "video/x-h264,stream-format=byte-stream"
	}
	return f, nil
}

// odd does wrong what elements can do wrong.
type odd struct{ how string }

func (o *odd) Props(p *pipeline.Props) { p.String(&o.how, "how", "", "What to do wrong.") }

func (o *odd) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	good := encoder(pipeline.Node{Factory: "videoflip"}, pipeline.RawVideo, pipeline.RawVideo)
	switch o.how {
	case "empty":
		return pipeline.Fragment{}, nil
	case "no_output":
		good.Output = pipeline.Kind{}
	case "no_input":
		good.Inputs = nil
	case "joined":
		return good, errors.Join(pipeline.At("how", "first fault; mend the first"), errors.New("second fault"))
	case "complete":
		return good, fmt.Errorf("wrapped: %w", &pipeline.Error{Msg: "a complete error", Remedy: "as it stands"})
	}
	return good, nil
}

// file writes the container that the path's ending names.
type file struct {
	path      string
	overwrite bool
}

func (f *file) Props(p *pipeline.Props) {
	p.String(&f.path, "path", "", "Where to write; the ending says the container.", pipeline.Required)
	p.Bool(&f.overwrite, "overwrite", false, "Replace a file that is there.")
}

// containers are what the file sink knows, with what each can hold.
var containers = []struct {
	name, mux    string
	video, audio []pipeline.Kind
}{
	{"mp4", "mp4mux", []pipeline.Kind{h264Video, av1Video}, []pipeline.Kind{opusAudio, aacAudio}},
	{"mkv", "matroskamux", []pipeline.Kind{h264Video, vp8Video, av1Video}, []pipeline.Kind{opusAudio, aacAudio}},
	{"webm", "webmmux", []pipeline.Kind{vp8Video, av1Video}, []pipeline.Kind{opusAudio}},
	{"ogg", "oggmux", nil, []pipeline.Kind{opusAudio}},
	{"ts", "mpegtsmux", []pipeline.Kind{h264Video}, []pipeline.Kind{opusAudio, aacAudio}},
}

func (f *file) Check() error {
	for _, c := range containers {
		if filepath.Ext(f.path) == "."+c.name {
			return nil
		}
	}
	return pipeline.At("path", "the ending %q names no container; end it in .mp4, .mkv, .webm, .ogg or .ts", filepath.Ext(f.path))
}

func (f *file) ContainersFor(k pipeline.Kind) []string {
	var names []string
	for _, c := range containers {
		for _, have := range append(append([]pipeline.Kind{}, c.video...), c.audio...) {
			if have == k {
				names = append(names, c.name)
			}
		}
	}
	return names
}

func (f *file) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	for _, c := range containers {
		if filepath.Ext(f.path) != "."+c.name {
			continue
		}
		frag := pipeline.Fragment{File: f.path, Container: c.name, Recovery: "all but the last second", Nodes: []pipeline.Node{
			{Factory: c.mux, Package: "gstreamer1.0-plugins-good"},
			{Factory: "filesink", Set: []pipeline.Setting{{Name: "location", Value: f.path}, {Name: "async", Value: "false"}}},
		}}
		if c.video != nil {
			frag.Inputs = append(frag.Inputs, pipeline.Input{Pad: "video_%u", Accepts: c.video, Max: 1})
		}
		frag.Inputs = append(frag.Inputs, pipeline.Input{Pad: "audio_%u", Accepts: c.audio, Max: 8})
		return frag, nil
	}
	return pipeline.Fragment{}, f.Check()
}

type rtmp struct {
	url     pipeline.Secret
	timeout time.Duration
}

func (r *rtmp) Props(p *pipeline.Props) {
	p.Secret(&r.url, "url", "Where to publish, with the stream key.", pipeline.Required)
	p.Duration(&r.timeout, "timeout", "5s", "How long a server may keep silent.")
}

func (r *rtmp) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{
		Container: "flv",
		Nodes:     []pipeline.Node{{Factory: "flvmux", Package: "gstreamer1.0-plugins-good"}, {Factory: "rtmp2sink", Package: "gstreamer1.0-plugins-bad"}},
		Inputs: []pipeline.Input{
			{Pad: "video", Accepts: []pipeline.Kind{h264Video}, Max: 1, Caps: "video/x-h264,stream-format=avc"},
			{Pad: "audio", Accepts: []pipeline.Kind{aacAudio}, Max: 1},
		},
	}, nil
}

// show is a sink of one raw input.
type show struct{}

func (*show) Props(*pipeline.Props) {}

func (*show) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return encoder(pipeline.Node{Factory: "autovideosink"}, pipeline.RawVideo, pipeline.Kind{}), nil
}
