package pipeline

import (
	"slices"
	"sort"
	"strings"
)

// Media is what a stream carries.
type Media uint8

const (
	Video Media = iota + 1
	Audio
	Data // a container's bytes, or anything that is neither of the above
)

func (m Media) String() string {
	switch m {
	case Video:
		return "video"
	case Audio:
		return "audio"
	default:
		return "data"
	}
}

// Raw is the codec of uncompressed video and audio.
const Raw = "raw"

// Kind says what flows over an edge: the medium and the codec.
type Kind struct {
	Media Media
	Codec string // "raw", or a name of the table below: "h264", "opus", …
}

// IsRaw tells whether the stream is uncompressed.
func (k Kind) IsRaw() bool { return k.Codec == Raw }

// Samples tells whether the stream is bare samples of sound or pictures, which
// WAV keeps without a border between one buffer and the next.
func (k Kind) Samples() bool { return k.OfCaps().IsRaw() }

// OfCaps is what GStreamer's caps say of the stream: they tell no pcm, which only
// the graph means to be in a file, from raw sound.
func (k Kind) OfCaps() Kind {
	if k.Codec == "pcm" {
		k.Codec = Raw
	}
	return k
}

// String gives "raw video", "h264 video", "opus audio".
func (k Kind) String() string {
	if k.Codec == "" {
		return k.Media.String()
	}
	return k.Codec + " " + k.Media.String()
}

// MarshalText writes the kind as String does, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// RawVideo and RawAudio are the kinds a source gives and an encoder takes.
var (
	RawVideo = Kind{Video, Raw}
	RawAudio = Kind{Audio, Raw}
)

// Codec ties a codec's name in graph files to GStreamer's words for it.
type Codec struct {
	Kind   Kind
	Caps   string // the caps that stand for it, as gst_caps_from_string takes them
	Parser string // the factory that splits it into frames; "" where muxers need none
}

// codecs lists every codec the planner knows. Caps names are those of
// GStreamer's "list of defined types".
var codecs = []Codec{
	{RawVideo, "video/x-raw", ""},
	{RawAudio, "audio/x-raw", ""},
	{Kind{Video, "h264"}, "video/x-h264", "h264parse"},
	{Kind{Video, "h265"}, "video/x-h265", "h265parse"},
	{Kind{Video, "vp8"}, "video/x-vp8", ""},
	{Kind{Video, "vp9"}, "video/x-vp9", "vp9parse"},
	{Kind{Video, "av1"}, "video/x-av1", "av1parse"},
	{Kind{Video, "mpeg2"}, "video/mpeg,mpegversion=2,systemstream=false", "mpegvideoparse"},
	{Kind{Video, "mpeg4"}, "video/mpeg,mpegversion=4,systemstream=false", "mpeg4videoparse"},
	{Kind{Video, "theora"}, "video/x-theora", "theoraparse"},
	{Kind{Video, "mjpeg"}, "image/jpeg", "jpegparse"},
	{Kind{Audio, "opus"}, "audio/x-opus", "opusparse"},
	{Kind{Audio, "aac"}, "audio/mpeg,mpegversion=4", "aacparse"},
	{Kind{Audio, "mp3"}, "audio/mpeg,mpegversion=1,layer=3", "mpegaudioparse"},
	{Kind{Audio, "mp2"}, "audio/mpeg,mpegversion=1,layer=2", "mpegaudioparse"},
	{Kind{Audio, "vorbis"}, "audio/x-vorbis", "vorbisparse"},
	{Kind{Audio, "flac"}, "audio/x-flac", "flacparse"},
	{Kind{Audio, "ac3"}, "audio/x-ac3", "ac3parse"},
	{Kind{Audio, "speex"}, "audio/x-speex", ""},
}

// Codecs lists every codec the planner knows.
func Codecs() []Codec { return slices.Clone(codecs) }

// CodecOf looks a kind up in the table of codecs.
func CodecOf(k Kind) (Codec, bool) {
	for _, c := range codecs {
		if c.Kind == k {
			return c, true
		}
	}
	return Codec{}, false
}

// KindsOfCaps tells which known kinds a set of GStreamer caps can carry, given
// its structures ("video/x-h264, stream-format=avc", …). A structure without a
// field the table fixes ("audio/mpeg" alone) stands for every codec it allows.
func KindsOfCaps(structures []string) []Kind {
	seen := map[Kind]bool{}
	for _, s := range structures {
		name, fields := splitCaps(s)
		for _, c := range codecs {
			cname, want := splitCaps(c.Caps)
			if cname != name {
				continue
			}
			fits := true
			for k, v := range want {
				if have, ok := fields[k]; ok && !capsValueAllows(have, v) {
					fits = false
				}
			}
			if fits {
				seen[c.Kind] = true
			}
		}
	}
	out := make([]Kind, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

// splitCaps takes "name(features), key=(type)value, …" apart. Only top-level
// commas separate: lists and ranges keep theirs.
func splitCaps(s string) (name string, fields map[string]string) {
	fields = map[string]string{}
	depth, start := 0, 0
	var parts []string
	for i, r := range s {
		switch r {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		}
	}
	parts = append(parts, s[start:])
	name = strings.TrimSpace(parts[0])
	if i := strings.IndexByte(name, '('); i >= 0 {
		name = name[:i]
	}
	for _, p := range parts[1:] {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			continue
		}
		v = strings.TrimSpace(v)
		if strings.HasPrefix(v, "(") {
			if i := strings.IndexByte(v, ')'); i >= 0 {
				v = strings.TrimSpace(v[i+1:])
			}
		}
		fields[strings.TrimSpace(k)] = v
	}
	return name, fields
}

func capsValueAllows(have, want string) bool {
	if have == want {
		return true
	}
	switch {
	case strings.HasPrefix(have, "{"):
		for _, v := range strings.Split(strings.Trim(have, "{} "), ",") {
			if capsValueAllows(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(v), "(int)")), want) {
				return true
			}
		}
		return false
	case strings.HasPrefix(have, "["):
		lo, hi, ok := strings.Cut(strings.Trim(have, "[] "), ",")
		if !ok {
			return true
		}
		lo, hi = strings.TrimSpace(lo), strings.TrimSpace(hi)
		// Ranges in the table's fields are small integers; comparing by length
		// and text orders them right.
		le := func(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a <= b }
		return le(lo, want) && le(want, hi)
	}
	return false
}
