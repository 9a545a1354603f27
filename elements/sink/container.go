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
	muxer   string   // "" where the stream as it is makes a file
	pkg     string   // Debian package
	endings []string // file name endings that stand for it
	inputs  []pipeline.Input
	// needsSeek: the muxer goes back in the file to finish it
	needsSeek bool
	settings  func(recovery time.Duration) []pipeline.Setting
	recovery  func(recovery time.Duration) string // what a kill -9 leaves
}

// mux gives the muxer, as the first node of a fragment; none without one. What
// the graph says in GStreamer's words wins.
func (c container) mux(recovery time.Duration, raw map[string]any) []pipeline.Node {
	if c.muxer == "" {
		return nil
	}
	var set []pipeline.Setting
	if c.settings != nil {
		set = c.settings(recovery)
	}
	return []pipeline.Node{{Factory: c.muxer, Package: c.pkg, Set: append(set, pipeline.Settings(raw)...)}}
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
			{Pad: "audio_%u", Accepts: audioKinds("opus", "aac", "mp3", "mp2", "vorbis", "flac", "ac3", "speex", "pcm")},
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
	"mp3": {
		endings:  []string{".mp3"},
		inputs:   []pipeline.Input{{Pad: "sink", Accepts: audioKinds("mp3"), Max: 1}},
		recovery: streamed,
	},
	"flac": {
		endings: []string{".flac"},
		inputs:  []pipeline.Input{{Pad: "sink", Accepts: audioKinds("flac"), Max: 1}},
		recovery: func(time.Duration) string {
			return "all but what the encoder holds, without a duration until `mpipe repair`"
		},
	},
	"wav": {
		muxer: "wavenc", pkg: "gstreamer1.0-plugins-good", endings: []string{".wav"},
		inputs:    []pipeline.Input{{Pad: "sink", Accepts: append(audioKinds("pcm"), pipeline.RawAudio), Max: 1}},
		needsSeek: true,
		recovery:  func(time.Duration) string { return "all of it; its header gives no length until `mpipe repair`" },
	},
	"ts": {
		muxer: "mpegtsmux", pkg: "gstreamer1.0-plugins-bad", endings: []string{".ts", ".m2ts"},
		inputs: []pipeline.Input{
			{Pad: "sink_%d", Accepts: append(videoKinds("h264", "h265", "mpeg2"), audioKinds("aac", "opus", "mp3", "mp2", "ac3")...)},
		},
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
