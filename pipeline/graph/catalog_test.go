package graph_test

import (
	"sort"

	"github.com/mpipe/mpipe/pipeline"
)

// catalog is a made-up set of installed plugins, with the factories and the
// properties that the tests use as GStreamer 1.22 describes them.
type catalog map[string]pipeline.Factory

func (c catalog) Factory(name string) (pipeline.Factory, bool) {
	f, ok := c[name]
	return f, ok
}

func (c catalog) Factories() []string {
	var names []string
	for n := range c {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// without gives the catalog of a machine that lacks some factories.
func (c catalog) without(names ...string) catalog {
	out := catalog{}
	for n, f := range c {
		out[n] = f
	}
	for _, n := range names {
		delete(out, n)
	}
	return out
}

func number(name, typ, low, high string) pipeline.FactoryProp {
	return pipeline.FactoryProp{Name: name, Type: typ, Writable: true, Min: low, Max: high}
}

func text(name string) pipeline.FactoryProp {
	return pipeline.FactoryProp{Name: name, Type: "gchararray", Writable: true}
}

func boolean(name string) pipeline.FactoryProp {
	return pipeline.FactoryProp{Name: name, Type: "gboolean", Writable: true}
}

func nicks(name, typ string, values ...string) pipeline.FactoryProp {
	return pipeline.FactoryProp{Name: name, Type: typ, Writable: true, Values: values}
}

func gives(caps ...string) []pipeline.PadTemplate {
	return []pipeline.PadTemplate{{Name: "src", Source: true, Presence: "always", Caps: caps}}
}

// installed is what the tests' machine has.
var installed = func() catalog {
	c := catalog{}
	add := func(name string, pads []pipeline.PadTemplate, props ...pipeline.FactoryProp) {
		c[name] = pipeline.Factory{Name: name, Pads: pads, Props: append(props, text("name"))}
	}
	raw := gives("video/x-raw", "audio/x-raw")
	for _, plain := range []string{"appsrc", "tee", "capsfilter", "videoconvert", "videoconvertscale", "audioconvert",
		"audioresample", "videoflip", "h264parse", "opusparse", "aacparse", "autovideosink", "webmmux", "matroskamux",
		"oggmux", "mpegtsmux", "flvmux", "wavenc", "compositor", "avdec_h264"} {
		add(plain, raw)
	}
	add("queue", nil,
		number("max-size-buffers", "guint", "0", "4294967295"),
		number("max-size-bytes", "guint", "0", "4294967295"),
		number("max-size-time", "guint64", "0", "18446744073709551615"),
		pipeline.FactoryProp{Name: "current-level-time", Type: "guint64"})
	add("x264enc", gives("video/x-h264"),
		number("bitrate", "guint", "1", "2048000"),
		number("key-int-max", "guint", "0", "2147483647"),
		number("rc-lookahead", "gint", "0", "250"),
		number("ip-factor", "gfloat", "0", "2"),
		nicks("speed-preset", "GstX264EncPreset", "None", "ultrafast", "superfast", "veryfast", "faster", "medium"),
		nicks("tune", "GstX264EncTune", "stillimage", "fastdecode", "zerolatency"),
		boolean("byte-stream"), text("option-string"))
	add("openh264enc", gives("video/x-h264"), number("bitrate", "guint", "0", "4294967295"), number("gop-size", "guint", "0", "4294967295"))
	add("vp8enc", gives("video/x-vp8"), number("target-bitrate", "gint", "0", "2147483647"), number("keyframe-max-dist", "gint", "0", "2147483647"))
	add("opusenc", gives("audio/x-opus"), number("bitrate", "gint", "4000", "650000"))
	add("avenc_aac", gives("audio/mpeg,mpegversion=4"))
	add("mp4mux", nil, number("fragment-duration", "guint", "0", "4294967295"),
		nicks("fragment-mode", "GstQTMuxFragmentMode", "dash-or-mss", "first-moov-then-finalise"))
	add("filesink", nil, text("location"), boolean("async"))
	add("rtmp2sink", nil, text("location"))
	return c
}()
