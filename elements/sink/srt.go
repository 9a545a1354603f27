package sink

import (
	"net/url"
	"strconv"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[srt]("srt", "MPEG-TS over SRT, as a caller or as a listener.")
}

type srt struct {
	url        string
	latency    int
	passphrase pipeline.Secret
	streamID   string
	raw        map[string]any
	remote
}

func (s *srt) Props(p *pipeline.Props) {
	p.String(&s.url, "url", "", "Where to: \"srt://host:port\"; \"srt://:port?mode=listener\" waits for a caller.", pipeline.Required)
	p.Int(&s.latency, "latency", 125, "Milliseconds that a lost packet may take to be sent again.", pipeline.Between(0, 60000))
	p.Secret(&s.passphrase, "passphrase", "Encrypts the stream: 10 to 79 characters.")
	p.String(&s.streamID, "stream_id", "", "What the server is told of the stream.")
	s.remote.props(p, "5s")
	p.Table(&s.raw, "gst", "Properties of GStreamer's srtsink in its own words; they win over everything above.")
}

func (s *srt) Check() error {
	u, err := url.Parse(s.url)
	if err != nil || u.Scheme != "srt" || u.Port() == "" {
		return pipeline.At("url", `want "srt://host:port", got %q`, s.url)
	}
	if u.Query().Has("passphrase") {
		return pipeline.At("url", `a passphrase does not belong into the file; add passphrase = { env = "SRT_PASSPHRASE" }`)
	}
	return nil
}

func (s *srt) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	sink := pipeline.Node{Factory: "srtsink", Package: "gstreamer1.0-plugins-bad", Set: append([]pipeline.Setting{
		{Name: "uri", Value: s.url}, {Name: "latency", Value: strconv.Itoa(s.latency)},
		// Connecting again is the run's affair, which begins with a key frame.
		{Name: "auto-reconnect", Value: "false"},
		{Name: "sync", Value: "false"}, {Name: "async", Value: "false"},
	}, pipeline.Settings(s.raw)...)}
	if s.streamID != "" {
		sink.Set = append(sink.Set, pipeline.Setting{Name: "streamid", Value: s.streamID})
	}
	if s.passphrase.IsSet() {
		sink.Set = append(sink.Set, pipeline.Setting{Name: "passphrase", Value: s.passphrase.String()})
		sink.Secrets = map[string]func() (string, error){"passphrase": s.passphrase.Reveal}
	}
	f := muxed("ts", nil, sink)
	f.Where, f.Live, f.Restart, f.Recovery = s.url, true, s.restart(), "what was sent"
	// Closing forgets what is still under way: sent packets wait for their turn as
	// long as the latency, here and there.
	f.Linger = 2*time.Duration(s.latency)*time.Millisecond + 250*time.Millisecond
	return f, nil
}
