package sink

import (
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// container is one way to put streams into a file.
type container struct {
	muxer   string
	pkg     string   // Debian package
	endings []string // file name endings that stand for it
	inputs  []pipeline.Input
	// needsSeek: the muxer goes back in the file to finish it
	needsSeek bool
	settings  func(recovery time.Duration) []pipeline.Setting
	recovery  func(recovery time.Duration) string // what a kill -9 leaves
}

func videoKinds(codecs ...string) []pipeline.Kind { return kinds(pipeline.Video, codecs) }
func audioKinds(codecs ...string) []pipeline.Kind { return kinds(pipeline.Audio, codecs) }

func kinds(m pipeline.Media, codecs []string) []pipeline.Kind {
	out := make([]pipeline.Kind, len(codecs))
	for i, c := range codecs {
		out[i] = pipeline.Kind{Media: m, Codec: c}
	}
	return out
}

// containers holds what the muxers of GStreamer 1.22 take; a test compares it
// with their pad templates.
var containers = map[string]container{
	"mp4": {
		muxer: "mp4mux", pkg: "gstreamer1.0-plugins-good", endings: []string{".mp4", ".m4v", ".m4a"},
		inputs: []pipeline.Input{
			{Pad: "video_%u", Accepts: videoKinds("h264", "h265", "av1", "vp9", "mpeg4")},
			{Pad: "audio_%u", Accepts: audioKinds("aac", "opus", "mp3", "ac3")},
		},
		needsSeek: true,
		// Fragments while it records, so that a kill leaves a playable file; at a
		// clean end one moov for all of it and no fragments, without a second
		// copy of the data.
		settings: func(d time.Duration) []pipeline.Setting {
			return []pipeline.Setting{
				{Name: "fragment-duration", Value: millis(d)},
				{Name: "fragment-mode", Value: "first-moov-then-finalise"},
			}
		},
		recovery: func(d time.Duration) string {
			return "all but the last " + d.String() + " and what the encoder holds"
		},
	},
	"mkv": {
		muxer: "matroskamux", pkg: "gstreamer1.0-plugins-good", endings: []string{".mkv", ".mka"},
		inputs: []pipeline.Input{
			{Pad: "video_%u", Accepts: videoKinds("h264", "h265", "vp8", "vp9", "av1", "mpeg2", "mpeg4", "theora", "mjpeg")},
			{Pad: "audio_%u", Accepts: audioKinds("opus", "aac", "mp3", "mp2", "vorbis", "flac", "ac3", "speex")},
		},
		needsSeek: true,
		settings:  matroskaSettings,
		recovery:  streamed,
	},
	"webm": {
		muxer: "webmmux", pkg: "gstreamer1.0-plugins-good", endings: []string{".webm"},
		inputs: []pipeline.Input{
			{Pad: "video_%u", Accepts: videoKinds("vp8", "vp9", "av1")},
			{Pad: "audio_%u", Accepts: audioKinds("opus", "vorbis")},
		},
		needsSeek: true,
		settings:  matroskaSettings,
		recovery:  streamed,
	},
	"ogg": {
		muxer: "oggmux", pkg: "gstreamer1.0-plugins-base", endings: []string{".ogg", ".oga", ".ogv", ".opus"},
		inputs: []pipeline.Input{
			{Pad: "video_%u", Accepts: videoKinds("theora", "vp8")},
			{Pad: "audio_%u", Accepts: audioKinds("opus", "vorbis", "flac", "speex")},
		},
		// A page is written when it is this old, full or not.
		settings: func(d time.Duration) []pipeline.Setting {
			return []pipeline.Setting{{Name: "max-delay", Value: nanos(d / 2)}, {Name: "max-page-delay", Value: nanos(d)}}
		},
		recovery: func(d time.Duration) string { return "all but the last " + d.String() },
	},
	"ts": {
		muxer: "mpegtsmux", pkg: "gstreamer1.0-plugins-bad", endings: []string{".ts", ".m2ts"},
		inputs: []pipeline.Input{
			{Pad: "sink_%d", Accepts: append(videoKinds("h264", "h265", "mpeg2"), audioKinds("aac", "opus", "mp3", "mp2", "ac3")...)},
		},
		settings: func(time.Duration) []pipeline.Setting { return nil },
		recovery: streamed,
	},
}

// matroskaSettings starts a cluster at least once per recovery time; a reader
// that meets the end of a killed file keeps all whole clusters and what of the
// last one is there.
func matroskaSettings(d time.Duration) []pipeline.Setting {
	return []pipeline.Setting{
		{Name: "min-cluster-duration", Value: nanos(min(d/2, 500*time.Millisecond))},
		{Name: "max-cluster-duration", Value: nanos(d)},
		{Name: "offset-to-zero", Value: "true"},
	}
}

func streamed(time.Duration) string { return "all but what the encoder holds" }

func containerNames() []string {
	names := make([]string, 0, len(containers))
	for n := range containers {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func containerOf(path string) (string, bool) {
	ending := strings.ToLower(filepath.Ext(path))
	for name, c := range containers {
		for _, e := range c.endings {
			if e == ending {
				return name, true
			}
		}
	}
	return "", false
}

func allEndings() string {
	var out []string
	for _, n := range containerNames() {
		out = append(out, containers[n].endings...)
	}
	return strings.Join(out, ", ")
}
