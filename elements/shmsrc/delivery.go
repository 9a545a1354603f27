package shmsrc

import (
	"context"
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// Delivery is what a source over another transport embeds: a ring inside of
// mpipe that the source itself writes as its producer, and all that shmsrc does
// with a ring: pads, timeline, look-ahead, holes, time-outs and counters. So
// every transport has the same policies, and tools can look into its ring.
type Delivery struct {
	source
}

// Declare declares the properties that all sources share. who is what feeds the
// source: "page", "client".
func (d *Delivery) Declare(p *pipeline.Props, who string) {
	d.source.Props(new(pipeline.Props)) // the defaults of all others
	d.who = who
	p.Size(&d.capacity, "capacity", "64MiB", "Memory for video frames between the "+who+" and the graph, used up in advance; a 1080p I420 frame is 3.0MiB.", pipeline.AtLeast("64KiB"))
	p.Size(&d.audioCapacity, "audio_capacity", "1MiB", "Memory for audio packets.", pipeline.AtLeast("16KiB"))
	p.Size(&d.copyLimit, "copy_limit", "256MiB", "Most memory for further copies of frames, made only while an encoder looks further ahead than capacity allows.")
	p.Duration(&d.attachTimeout, "attach_timeout", "30s", "How long to wait for a "+who+"; \"0s\" is for ever.")
	p.Duration(&d.stallTimeout, "stall_timeout", "0s", "End the recording with an error when a "+who+" gives nothing for so long; \"0s\" waits for ever.")
	p.String(&d.onProducerExit, "on_producer_exit", "eos", "When the "+who+" dies: end the recording in good order, or wait for the next one.", pipeline.OneOf("eos", "wait"))
	p.String(&d.onFormatChange, "on_format_change", "scale", formatChange, pipeline.OneOf("scale", "segment", "fail"))
	p.Table(&d.streams, "streams", "Kinds of streams whose names do not begin with video or audio: { screen = \"video\" }.")
	p.String(&d.addr, "ring", "", "Where tools such as mpipe ring stat find the memory between the "+who+" and the graph: unix:/path.sock; without it nowhere.")
}

// Check checks what Declare declared.
func (d *Delivery) Check() error {
	if d.addr != "" && (len(d.addr) < 5 || d.addr[:5] != "unix:") {
		return pipeline.At("ring", "want unix:/path/of.sock, got %q", d.addr)
	}
	addr := d.addr
	if addr == "" {
		d.addr = "unix:/none" // for the check alone
	}
	defer func() { d.addr = addr }()
	return d.source.Check()
}

// RingAddr is the property ring.
func (d *Delivery) RingAddr() string { return d.addr }

// Capacities are the bytes of the classes video and audio.
func (d *Delivery) Capacities() (video, audio int64) { return d.capacity, d.audioCapacity }

// OpenAt is Open with the ring at an address; absent says what to do when nobody
// came in time.
func (d *Delivery) OpenAt(ctx context.Context, env *pipeline.SourceEnv, addr string, absent func() string) error {
	d.addr, d.absent = addr, absent
	return d.source.Open(ctx, env)
}

// Reader is the current attachment; nil before the first.
func (d *Delivery) Reader() *ring.Reader {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reader
}

// Match finds for each pad the stream that feeds it: of its name, or, for a pad
// that is just "video" or "audio", the first of that kind. It may be called from
// any goroutine once OpenAt was called.
func (d *Delivery) Match(pads map[string]pipeline.Outlet, specs []ring.StreamSpec) (map[string]string, error) {
	found := map[string]string{}
	for name := range pads {
		kind := ring.KindVideo
		if k, _ := d.Output(name); k == pipeline.RawAudio {
			kind = ring.KindAudio
		}
		for _, s := range specs {
			if _, have := found[name]; s.Kind == kind && (s.Name == name || !have && name == kind.String()) {
				found[name] = s.Name
			}
		}
		if found[name] == "" {
			streams := make([]ring.Stream, len(specs))
			for i, s := range specs {
				streams[i].StreamSpec = s
			}
			return nil, fmt.Errorf("the graph uses .%s, but the %s offers %s", name, d.who, offered(streams))
		}
	}
	return found, nil
}

// nobody is the error after attach_timeout.
func (s *source) nobody() error {
	if s.absent != nil {
		return &timeoutError{fmt.Sprintf("no %s came within %v; %s, or raise attach_timeout", s.who, s.attachTimeout, s.absent())}
	}
	return &timeoutError{fmt.Sprintf("no producer attached to ring %q within %v; start one, such as: mpipe feed --ring %s, or raise attach_timeout", s.addr, s.attachTimeout, s.addr)}
}
