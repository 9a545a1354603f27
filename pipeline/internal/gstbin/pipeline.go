package gstbin

/*
#include "shim.h"
#include "gate.h"
#include "join.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/go-gst/go-gst/gst"

	"github.com/mpipe/mpipe/pipeline"
)

// Pipeline is a GStreamer pipeline that is built by name. Building belongs to
// one goroutine; Traffic may be called from any until Close.
type Pipeline struct {
	gst    *gst.Pipeline
	bus    *gst.Bus
	elems  map[string]*gst.Element
	feeds  []*Feed
	gates  []*Gate
	stages []*GoStage
	joins  []*Join

	mu     sync.Mutex // guards taps against Close
	taps   map[string]*C.MpipeTap
	closed bool
}

// New makes an empty pipeline.
func New(name string) (*Pipeline, error) {
	Init()
	p, err := gst.NewPipeline(name)
	if err != nil {
		return nil, fmt.Errorf("gstreamer made no pipeline: %w", err)
	}
	return &Pipeline{gst: p, bus: p.GetPipelineBus(), elems: map[string]*gst.Element{}, taps: map[string]*C.MpipeTap{}}, nil
}

// Add makes an element and sets its properties.
func (p *Pipeline) Add(id, factory string, set []pipeline.Setting) error {
	e, err := gst.NewElementWithName(factory, id)
	if err != nil {
		return fmt.Errorf("gstreamer has no element %q", factory)
	}
	for _, s := range set {
		if !setProperty(e, s.Name, s.Value) {
			return fmt.Errorf("%s does not take %s = %q", factory, s.Name, s.Value)
		}
	}
	if err := p.gst.Add(e); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	p.elems[id] = e
	switch factory {
	case "mp4mux":
		C.mpipe_mend_mp4(element(e))
	case "videorate":
		C.mpipe_end_rate(element(e))
	case "filesink":
		C.mpipe_mend_header(element(e))
	}
	return nil
}

func setProperty(e *gst.Element, name, value string) bool {
	n, free := cstr(name)
	defer free()
	v, free2 := cstr(value)
	defer free2()
	return C.mpipe_set_property((*C.GObject)(e.Unsafe()), n, v) == 1
}

// Set changes a property of an element that was added.
func (p *Pipeline) Set(id, name, value string) error {
	if !setProperty(p.elems[id], name, value) {
		return fmt.Errorf("%s does not take %s = %q", id, name, value)
	}
	return nil
}

// SetPad changes a property of a pad of an element that was added.
func (p *Pipeline) SetPad(id, pad, name, value string) error {
	gp := p.elems[id].GetStaticPad(pad)
	if gp == nil {
		return fmt.Errorf("%s has no pad %q", id, pad)
	}
	n, free := cstr(name)
	defer free()
	v, free2 := cstr(value)
	defer free2()
	if C.mpipe_set_property((*C.GObject)(gp.Unsafe()), n, v) != 1 {
		return fmt.Errorf("pad %s of %s does not take %s = %q", pad, id, name, value)
	}
	return nil
}

// Link connects two elements. sinkPad is a pad's name, made on request where its
// element does that, or a request template;
// caps restrict what may flow, "" restricts nothing.
func (p *Pipeline) Link(from, to, sinkPad, caps string) error {
	pad, free := cstr(sinkPad)
	defer free()
	c, free2 := cstr(caps)
	defer free2()
	if C.mpipe_link(element(p.elems[from]), element(p.elems[to]), pad, c) == 0 {
		return fmt.Errorf("gstreamer cannot link %s to %s", from, to)
	}
	return nil
}

// KeyRequests asks a video encoder for a key frame every d of the frames' own
// time. An x264enc whose look-ahead is longer than d answers few of them: where
// the frame rate is known, its own count of frames is better.
func (p *Pipeline) KeyRequests(id string, d time.Duration) {
	C.mpipe_key_requests(element(p.elems[id]), C.int64_t(d))
}

// Tap starts counting what passes an element's pad.
func (p *Pipeline) Tap(id, pad string) error {
	gp := p.elems[id].GetStaticPad(pad)
	if gp == nil {
		return fmt.Errorf("%s has no pad %q to count at", id, pad)
	}
	p.mu.Lock()
	p.taps[id+"."+pad] = C.mpipe_tap_new((*C.GstPad)(gp.Unsafe()))
	p.mu.Unlock()
	return nil
}

// Traffic reads a tap; zero counts after Close or without a tap there.
func (p *Pipeline) Traffic(id, pad string) Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.taps[id+"."+pad]
	if t == nil || p.closed {
		return Traffic{FirstPTS: -1, LastPTS: -1}
	}
	return readTap(t)
}

// Start sets the pipeline playing; errors that come later are on the bus.
func (p *Pipeline) Start() error {
	if err := p.gst.SetState(gst.StatePlaying); err != nil {
		return errors.New("gstreamer refused to start the pipeline")
	}
	return nil
}

// Fault is an error or a warning an element posted.
type Fault struct {
	Element string // id of the element
	Domain  string // "gst-resource-error-quark"
	Code    int
	Text    string // one sentence, for people
	Debug   string // source lines and details
	Warning bool
}

// Error gives GStreamer's sentence and the last line of the details, which
// usually names the cause.
func (f *Fault) Error() string {
	text := strings.TrimSuffix(f.Text, ".")
	lines := strings.Split(strings.TrimSpace(f.Debug), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); len(lines) > 1 && last != "" {
		text += " (" + last + ")"
	}
	return text
}

// Message is what the bus said: nothing, a fault, or the end of all sinks.
type Message struct {
	Fault *Fault
	EOS   bool
}

// Next waits for the bus up to d.
func (p *Pipeline) Next(d time.Duration) Message {
	m := p.bus.TimedPopFiltered(gst.ClockTime(d), gst.MessageError|gst.MessageWarning|gst.MessageEOS)
	if m == nil {
		return Message{}
	}
	if m.Type() == gst.MessageEOS {
		return Message{EOS: true}
	}
	e := C.mpipe_parse_error((*C.GstMessage)(unsafe.Pointer(m.Instance())))
	defer C.mpipe_error_clear(&e)
	defer runtime.KeepAlive(m)
	return Message{Fault: &Fault{
		Element: C.GoString(e.element),
		Domain:  C.GoString(e.domain),
		Code:    int(e.code),
		Text:    C.GoString(e.text),
		Debug:   C.GoString(e.debug),
		Warning: m.Type() == gst.MessageWarning,
	}}
}

// Stop stops the pipeline: every streaming thread ends and every borrowed frame
// is released before it returns. Counters stay readable.
func (p *Pipeline) Stop() error {
	if err := p.gst.BlockSetState(gst.StateNull); err != nil {
		return errors.New("gstreamer refused to stop the pipeline")
	}
	for _, f := range p.feeds {
		C.mpipe_feed_forget(f.c)
	}
	return nil
}

// Close frees everything; the pipeline must be stopped. The bindings let go of
// GStreamer's objects when the garbage collector finds them, so it is asked to.
func (p *Pipeline) Close() {
	p.mu.Lock()
	p.closed = true
	taps := p.taps
	p.taps = nil
	p.mu.Unlock()
	for _, f := range p.feeds {
		f.free()
	}
	for _, t := range taps {
		C.mpipe_tap_unref(t)
	}
	for _, s := range p.stages {
		s.close()
	}
	for _, j := range p.joins {
		C.mpipe_join_free(j.c)
		j.c = nil
	}
	for _, g := range p.gates {
		C.mpipe_gate_free(g.c)
	}
	p.elems, p.bus, p.gst = nil, nil, nil
	runtime.GC()
	runtime.GC() // finalizers of the first pass free what the second finds
}
