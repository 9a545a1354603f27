package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mpipe/mpipe/elements/sink/internal/rtmp"
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[rtmpSink]("rtmp", "A live stream to an RTMP or RTMPS server: H.264 and AAC, connected anew when the line breaks.")
}

// rtmpSink publishes what flvmux gives out. It is in Go because rtmp2sink of
// GStreamer 1.22 waits for ever for an answer to its commands, notices a dead
// line when megabytes of kernel buffer are full, leaves a socket behind at each
// refused name and ends before anything has arrived.
type rtmpSink struct {
	url      pipeline.Secret
	key      pipeline.Secret
	ca       string
	insecure bool
	pings    bool
	statsURL string
	raw      map[string]any
	remote

	tags rtmp.Tags // of the present attempt
	line timeline

	mu        sync.Mutex
	where     string
	stream    *rtmp.Stream // nil while there is none
	confirmed int64        // bytes, by streams that have ended
	begins    int64
	broken    int64 // streams that did not end in good order
	up        bool  // it was published once
	counted   error // what the server's statistics say, at the end
}

// rtmpQueue is how much waits for a server by default: viewers want to see now,
// and two GOPs of the usual length bridge a short hiccup.
const rtmpQueue = 4 * time.Second

func (r *rtmpSink) Props(p *pipeline.Props) {
	p.SecretOrText(&r.url, "url", "Where to: \"rtmp://host/application/key\", or rtmps. With the stream key in it, it is a secret; with the key apart, it may stand in the file.", pipeline.Required)
	p.Secret(&r.key, "key", "The stream key, where the url ends with the application.")
	r.remote.props(p, "10s")
	p.String(&r.ca, "tls_ca", "", "PEM file with CAs to trust, beside the system's.")
	p.Bool(&r.insecure, "insecure", false, "Trust any certificate: whoever is on the way can read the key.")
	p.Bool(&r.pings, "pings", true, "Ask the server now and then how far it has read; false for one that minds.")
	p.String(&r.statsURL, "stats_url", "", "Page with the statistics of nginx's RTMP module: at the end, what it has counted is compared with what was sent.")
	p.Table(&r.raw, "gst", "Properties of GStreamer's flvmux in its own words; they win over everything above.")
}

func (r *rtmpSink) Check() error {
	if r.url.InFile() {
		const apart = `write url = { env = "RTMP_URL" }, or the url without the key and key = { env = "RTMP_KEY" }`
		if !r.key.IsSet() {
			return pipeline.At("url", "a stream key does not belong into the file; %s", apart)
		}
		text, _ := r.url.Reveal()
		if _, err := rtmp.ParseAddress(text, "key"); err != nil {
			return pipeline.At("url", "%w; %s", err, apart)
		}
	}
	return r.checkStats()
}

// Fragment takes AAC alone: FLV has MP3 too, but not at 48 kHz, the rate of most
// sources.
func (r *rtmpSink) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	again := r.restart()
	again.Stall = 0 // the stream looks after that itself
	return pipeline.Fragment{
		Nodes: []pipeline.Node{{Factory: "flvmux", Package: "gstreamer1.0-plugins-good",
			Set: append([]pipeline.Setting{{Name: "streamable", Value: "true"}}, pipeline.Settings(r.raw)...)}},
		Inputs: []pipeline.Input{
			{Pad: "video", Accepts: videoKinds("h264"), Max: 1},
			{Pad: "audio", Accepts: audioKinds("aac"), Max: 1},
		},
		Container: "flv", Where: r.place(), Live: true, QueueTime: rtmpQueue, Restart: again,
		Recovery: "what was sent",
		// Few servers and players follow another size within one stream.
		Change: pipeline.ChangeAnew,
	}, nil
}

// place is the address without its secrets, as far as it can be told now.
func (r *rtmpSink) place() string {
	if a, err := r.address(); err == nil {
		return a.String()
	}
	return "rtmp, url [secret]"
}

// address reads the secrets.
func (r *rtmpSink) address() (rtmp.Address, error) {
	url, err := r.url.Reveal()
	if err != nil {
		return rtmp.Address{}, pipeline.At("url", "%w; set it, or name another place", err)
	}
	key := ""
	if r.key.IsSet() {
		if key, err = r.key.Reveal(); err != nil {
			return rtmp.Address{}, pipeline.At("key", "%w; set it, or name another place", err)
		}
	}
	a, err := rtmp.ParseAddress(url, key)
	if err != nil {
		return rtmp.Address{}, pipeline.At("url", `%w; it wants the form "rtmp://host/application/key"`, err)
	}
	return a, nil
}

// Open looks at everything that can be wrong without a connection.
func (r *rtmpSink) Open(context.Context) error {
	a, err := r.address()
	if err == nil {
		_, err = r.tls(a)
	}
	return err
}

func (r *rtmpSink) tls(a rtmp.Address) (*tls.Config, error) {
	if !a.TLS {
		return nil, nil
	}
	c := &tls.Config{InsecureSkipVerify: r.insecure}
	if r.ca == "" {
		return c, nil
	}
	pool, err := withCA(r.ca)
	if err != nil {
		return nil, pipeline.At("tls_ca", "%w", err)
	}
	c.RootCAs = pool
	return c, nil
}

// open publishes within connect_timeout.
func (r *rtmpSink) open(ctx context.Context) (*rtmp.Stream, rtmp.Address, error) {
	a, err := r.address()
	if err != nil {
		return nil, a, err
	}
	c, err := r.tls(a)
	if err != nil {
		return nil, a, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.connect)
	defer cancel()
	s, err := rtmp.Open(ctx, a, rtmp.Options{TLS: c, Stall: r.stall, Pings: r.pings})
	if err != nil {
		return nil, a, r.failed(a, err)
	}
	return s, a, nil
}

// Probe publishes and ends again, with nothing in between: the server sees a
// publisher come and go.
func (r *rtmpSink) Probe(ctx context.Context) error {
	s, a, err := r.open(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.connect)
	defer cancel()
	if err := s.End(ctx); err != nil {
		return r.failed(a, err)
	}
	return nil
}

func (r *rtmpSink) Begin(ctx context.Context, env *pipeline.OutputEnv) error {
	r.mu.Lock()
	r.begins++
	if r.where = r.place(); r.begins == 1 && r.insecure {
		env.Log.Warn("the server's certificate is not checked (insecure = true)")
	}
	r.mu.Unlock()
	s, a, err := r.open(ctx)
	if err != nil {
		return err
	}
	r.tags = rtmp.Tags{}
	r.line.begin()
	r.mu.Lock()
	r.stream, r.up = s, true
	r.mu.Unlock()
	env.Log.Info("publishing", "to", a)
	return nil
}

func (r *rtmpSink) current() *rtmp.Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream
}

var errNoStream = errors.New("the stream was given up")

func (r *rtmpSink) Write(p []byte) (int, error) {
	s := r.current()
	if s == nil {
		return 0, errNoStream
	}
	err := r.tags.Write(p, func(t rtmp.Tag) error {
		t.Time = r.line.stamp(t.Time)
		return s.Send(t)
	})
	if err != nil {
		return 0, r.failed(s.Address(), err)
	}
	return len(p), nil
}

// Finish ends the stream and waits until the server has confirmed all of it.
func (r *rtmpSink) Finish(ctx context.Context) error {
	s := r.current()
	if s == nil {
		return errNoStream
	}
	counted := r.compare(ctx, s) // the page forgets a stream when it ends
	err := s.End(ctx)
	r.mu.Lock()
	r.counted = counted
	r.mu.Unlock()
	r.retire(err == nil)
	if err != nil {
		return r.failed(s.Address(), err)
	}
	return nil
}

func (r *rtmpSink) Abandon(error) { r.retire(false) }

// retire closes the stream and keeps its account. One that is not whole has lost
// what waited between muxer and server, confirmed or not.
func (r *rtmpSink) retire(whole bool) {
	r.mu.Lock()
	s := r.stream
	r.stream = nil
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed += s.Confirmed()
	if !whole {
		r.broken++
	}
}

// ReportOutput counts as confirmed what the server has read, in bytes of FLV.
func (r *rtmpSink) ReportOutput() pipeline.OutputReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := pipeline.OutputReport{Where: r.where, Confirmed: r.confirmed, Retries: max(0, r.begins-1)}
	if r.stream != nil {
		rep.Confirmed += r.stream.Confirmed()
	}
	return rep
}

// Verify tells what may be missing though every stream that was ended in good
// order was confirmed.
func (r *rtmpSink) Verify(context.Context, pipeline.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.broken == 1:
		return errors.New("the connection broke once; what was under way then is lost")
	case r.broken > 0:
		return fmt.Errorf("the connection broke %d times; what was under way then is lost", r.broken)
	}
	return r.counted
}

// timeline keeps time stamps growing over all attempts, though each begins at 0:
// what was not sent is a gap. Stamps are in ms.
type timeline struct {
	origin time.Time // when the first attempt's first tag came
	begun  bool      // the present attempt has one
	offset int64
	last   int64
}

func (l *timeline) begin() { l.begun = false }

func (l *timeline) stamp(ms uint32) uint32 {
	if !l.begun {
		l.begun = true
		if l.origin.IsZero() {
			l.origin = time.Now()
		} else {
			l.offset = max(time.Since(l.origin).Milliseconds(), l.last+1)
		}
	}
	at := l.offset + int64(ms)
	l.last = max(l.last, at)
	return uint32(at)
}
