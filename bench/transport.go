package bench

import (
	"context"
	"errors"
)

// A transport is one way to move frames.
type transport struct {
	name, title string
	base        string // what drawing alone is for its producer; "" for drawing itself
	extra       bool   // measured only when it is named
	link        link   // nil when a side is another program
	run         runFunc
	missing     func(e *env) string // says why it cannot be measured here; "" when it can
}

// runFunc measures a transport once; nil stands for two processes of this binary.
type runFunc func(ctx context.Context, e *env, s spec) (sample, error)

const (
	drawingGo = "drawing"
	drawingC  = "drawing-c"
)

// transports lists all in the order of the table.
func transports() []*transport {
	return []*transport{
		{name: drawingGo, title: "drawing alone, in Go", link: drawingLink{}, run: runDrawing},
		{name: drawingC, title: "drawing alone, in C", run: runDrawingC, missing: needsCompiler},
		{name: "ring", title: "ring, drawn in place", base: drawingGo, link: ringLink{}},
		{name: "ring-copy", title: "ring, one copy in", base: drawingGo, link: ringLink{copied: true}},
		{name: "ring-c", title: "ring, drawn in place from C", base: drawingC, run: runRingC, missing: needsCompiler},
		{name: "shmsink", title: "shmsink, drawn in place from C", base: drawingC, run: runShmsink(false), missing: needsGStreamer},
		{name: "shmsink-copy", title: "shmsink, one copy in from C", base: drawingC, run: runShmsink(true), missing: needsGStreamer},
		{name: "pipe", title: "pipe", base: drawingGo, link: pipeLink{}, run: runPipe},
		{name: "unix", title: "Unix socket", base: drawingGo, link: streamLink{network: "unix", window: 1 << 20}},
		{name: "tcp", title: "TCP", base: drawingGo, link: streamLink{network: "tcp"}},
		{name: "websocket", title: "WebSocket", base: drawingGo, link: webSocketLink{}},
		{name: "minimal", title: "minimal C ring, drawn in place", base: drawingC, extra: true, run: runMinimal(false), missing: needsCompiler},
		{name: "minimal-copy", title: "minimal C ring, one copy in", base: drawingC, extra: true, run: runMinimal(true), missing: needsCompiler},
		{name: "websocket-python", title: "WebSocket to Python", base: drawingGo, extra: true, run: runPython, missing: needsPython},
		{name: "chromium-python", title: "WebSocket, Chromium to Python", base: drawingGo, extra: true, run: runChromium, missing: needsChromium},
		{name: "chromium-mpipe", title: "files, Chromium to mpipe", base: drawingGo, extra: true, run: runFiles, missing: needsMpipe},
	}
}

func findTransport(name string) *transport {
	for _, t := range transports() {
		if t.name == name {
			return t
		}
	}
	return nil
}

// Names lists the transports that can be chosen, those of the default first.
func Names() (names []string) {
	for _, extra := range []bool{false, true} {
		for _, t := range transports() {
			if t.extra == extra && t.base != "" {
				names = append(names, t.name)
			}
		}
	}
	return names
}

// spec is one run.
type spec struct {
	transport *transport
	payload   Payload
	paced     bool
	read      bool
	seconds   float64
}

func (s spec) order(role, addr string) order {
	return order{
		Role: role, Transport: s.transport.name, Payload: s.payload.Name, Addr: addr,
		Seconds: s.seconds, Paced: s.paced, Read: s.read,
	}
}

// sample is what one run gave.
type sample struct {
	producer, consumer float64 // CPU, us a frame
	rate               float64 // frames a second
	latency            []int64 // ns
	frames             int64
}

func (s sample) cpu() float64 { return s.producer + s.consumer }

// sampleOf joins what the two sides said.
func sampleOf(producer, consumer outcome) (sample, error) {
	if producer.Frames < 1 || consumer.Frames != producer.Frames {
		return sample{}, errors.New("the two sides do not agree on what was measured")
	}
	n := float64(producer.Frames)
	return sample{
		producer: float64(producer.CPU) / n / 1e3, consumer: float64(consumer.CPU) / n / 1e3,
		rate: n * 1e9 / float64(consumer.Wall), latency: consumer.Latency, frames: producer.Frames,
	}, nil
}
