package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// output is one sink of the plan, in a GStreamer pipeline of its own behind a
// gate, so that whatever becomes of it stays its own affair. A failed one may be
// made anew; each pipeline it has had is an attempt.
type output struct {
	graph.Output
	run    *runner
	stage  *graph.Stage
	nodes  []*graph.Node // of its own pipeline; of a gate's node, the appsrc behind it
	links  []graph.Link
	lanes  []*graph.Node // the gate's nodes, in the order of its lanes
	gate   *gstbin.Gate
	sink   string          // the last element
	tapped bool            // bytes are counted at the last element's pad "sink"
	ins    []measured      // one for each of Streams
	writer pipeline.Writer // nil for an output that GStreamer writes

	headers map[string]bool // parsers that repeat a stream's headers at key frames; guarded by mu

	stop chan struct{} // closed: end now, unfinished
	once sync.Once     // of closing it
	done chan struct{} // closed when it has ended; err is final then

	started  bool // it is supervised
	mu       sync.Mutex
	phase    Phase
	pipe     *gstbin.Pipeline // of the present attempt
	past     map[string]gstbin.Traffic
	attempts int64
	latest   map[string]gstbin.Traffic // of the attempt that ended last
	parts    []part                    // finished files of a Segment
	last     error                     // why the latest attempt failed
	err      error
}

// measured is a stream on its way into an output.
type measured struct {
	node, pad string   // where it is counted
	sources   []string // ids of the source nodes it comes from
	encoder   spot     // where it goes into its encoder; none without one
	lane      int
}

// Phase is how far an output has come.
type Phase string

const (
	Waiting   Phase = "waiting"   // for the run to start, or to be made anew
	Streaming Phase = "streaming" // frames flow into it
	Finishing Phase = "finishing" // it has all and completes what it writes to
	Done      Phase = "done"
	Failed    Phase = "failed"
)

// errStopped is the end of an output that the run ended.
var errStopped = errors.New("the output was stopped before it had its end of stream")

// newOutput collects an output's part of the plan.
func (r *runner) newOutput(o graph.Output) *output {
	out := &output{
		Output: o, run: r, stage: stageByID(r.plan.Graph, o.Stage), sink: o.Node, phase: Waiting,
		stop: make(chan struct{}), done: make(chan struct{}), past: map[string]gstbin.Traffic{}, headers: map[string]bool{},
	}
	out.writer, _ = out.stage.Element.(pipeline.Writer)
	for _, n := range r.plan.Nodes {
		if n.Stage != o.Stage {
			continue
		}
		out.nodes = append(out.nodes, n)
		if n.Gate != "" {
			out.lanes = append(out.lanes, n)
		}
	}
	for _, l := range r.plan.Links {
		if from := r.nodes[l.From]; from.Stage == o.Stage {
			out.links = append(out.links, l)
			if l.From == out.sink { // a muxer, and what is behind it
				out.sink = l.To
			}
		}
	}
	for _, l := range out.links {
		out.tapped = out.tapped || l.To == out.sink && l.ToPad == "sink"
		if l.To == o.Node {
			out.ins = append(out.ins, out.measure(l))
		}
	}
	return out
}

// measure finds where a stream into the output is counted: at a fixed pad of the
// first element, or at what leads to one that it makes on request.
func (o *output) measure(l graph.Link) measured {
	m := measured{node: l.From, pad: "src", sources: o.run.sourcesOf(l.From)}
	if l.ToPad == "sink" {
		m.node, m.pad = o.Node, "sink"
	}
	lane := l.From
	for o.run.nodes[lane].Gate == "" {
		lane = o.run.into[lane][0].From
	}
	m.lane = slices.Index(o.lanes, o.run.nodes[lane])
	m.encoder, _ = o.run.encoderOf(m)
	return m
}

// countEncoders counts what goes into the encoders of the output's streams.
func (o *output) countEncoders() error {
	for _, m := range o.ins {
		if e := m.encoder; e.node != "" && !o.run.counted[e] {
			o.run.counted[e] = true
			if err := o.run.gst.Tap(e.node, e.pad); err != nil {
				return err
			}
		}
	}
	return nil
}

// addGate puts the output's gate at the end of the encoders' pipeline.
func (o *output) addGate() error {
	p := o.run.gst
	o.gate = p.NewGate()
	if o.Change == graph.NewPart || o.Change == graph.MadeAnew {
		o.gate.CutAtFormats()
	}
	for _, n := range o.lanes {
		if err := o.gate.Lane(p, n.ID, n.Kind.Media == pipeline.Video, limits(n)); err != nil {
			return err
		}
	}
	return nil
}

func limits(n *graph.Node) gstbin.Limits {
	l := gstbin.Limits{WhenFull: map[string]gstbin.WhenFull{
		graph.WhenFullBlock: gstbin.Block, graph.WhenFullDropGOP: gstbin.DropGOP,
		graph.WhenFullDropNewest: gstbin.DropNewest, graph.WhenFullDropOldest: gstbin.DropOldest,
	}[n.Gate]}
	frames, size, span := n.Bounds()
	l.Frames, l.Bytes, l.Time = int(frames), size, span
	return l
}

// make builds the pipeline of the next attempt.
func (o *output) make() error {
	p, err := gstbin.New(o.Stage)
	if err != nil {
		return err
	}
	if err := o.fill(p); err != nil {
		p.Close()
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.headers {
		if err := p.Set(id, "config-interval", "-1"); err != nil {
			return internal(o.Stage, err)
		}
	}
	o.pipe = p
	return nil
}

func (o *output) fill(p *gstbin.Pipeline) error {
	for _, n := range o.nodes {
		factory, set := n.Factory, n.Set
		if n.Gate != "" {
			factory, set = "appsrc", gstbin.GateSource
		}
		set, err := o.reveal(n, o.inPart(n, set))
		if err != nil {
			return err
		}
		if err := p.Add(n.ID, factory, set); err != nil {
			return internal(o.Stage, o.redact(err))
		}
		if err := o.run.tie(p, n); err != nil {
			return internal(o.Stage, err)
		}
	}
	for _, l := range o.links {
		if err := p.Link(l.From, l.To, l.ToPad, l.Caps); err != nil {
			return internal(o.Stage, fmt.Errorf("%s: %w", l.Edge, err))
		}
	}
	o.holdCaps(p)
	for _, m := range o.counted() {
		if err := p.Tap(m.node, m.pad); err != nil {
			return internal(o.Stage, err)
		}
	}
	return nil
}

// counted lists the places where the output is counted, each once.
func (o *output) counted() []measured {
	var places []measured
	if o.tapped {
		places = append(places, measured{node: o.sink, pad: "sink"})
	}
	for _, m := range o.ins {
		if m.node != o.sink || !o.tapped {
			places = append(places, m)
		}
	}
	return places
}

func (m measured) key() string { return m.node + "." + m.pad }

// reveal puts a node's secrets in their places.
func (o *output) reveal(n *graph.Node, set []pipeline.Setting) ([]pipeline.Setting, error) {
	if len(n.Secrets) == 0 {
		return set, nil
	}
	set = slices.Clone(set)
	for i := range set {
		get := n.Secrets[set[i].Name]
		if get == nil {
			continue
		}
		value, err := get()
		if err != nil {
			return nil, stageError(o.stage, pipeline.Config, err)
		}
		set[i].Value = value
	}
	return set, nil
}

// redactText takes every secret of the output out of a text.
func (o *output) redactText(text string) string {
	for _, n := range o.nodes {
		for _, get := range n.Secrets {
			if v, err := get(); err == nil && v != "" {
				text = strings.ReplaceAll(text, v, "[secret]")
			}
		}
	}
	return text
}

func (o *output) redact(err error) error {
	if text := o.redactText(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// traffic counts what passed a pad in all attempts.
func (o *output) traffic(node, pad string) gstbin.Traffic {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.before(measured{node: node, pad: pad})
	if o.pipe == nil {
		return t
	}
	return t.Plus(o.pipe.Traffic(node, pad))
}

// before is what passed a place in the attempts that have ended. The lock is held.
func (o *output) before(m measured) gstbin.Traffic {
	if t, ok := o.past[m.key()]; ok {
		return t
	}
	return gstbin.Traffic{FirstPTS: -1, LastPTS: -1}
}

// retire ends an attempt: what it counted is kept, its pipeline freed. A pipeline
// that does not stop is left to itself.
func (o *output) retire(limit time.Duration) {
	o.gate.Detach()
	p := o.pipe
	stopped := stopWithin(p, limit)
	o.mu.Lock()
	o.latest = map[string]gstbin.Traffic{}
	for _, m := range o.counted() {
		o.latest[m.key()] = p.Traffic(m.node, m.pad)
		o.past[m.key()] = o.before(m).Plus(o.latest[m.key()])
	}
	o.pipe = nil
	o.mu.Unlock()
	if !stopped {
		o.run.log.Error("gstreamer does not stop; its thread is left behind", "stage", o.Stage, "after", limit)
		return
	}
	p.Close()
}

// stopWithin stops a pipeline, and gives up when an element hangs in that.
func stopWithin(p *gstbin.Pipeline, limit time.Duration) bool {
	done := make(chan struct{})
	go func() { p.Stop(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// failBefore fails an output that is not required before anything started.
func (r *runner) failBefore(s *graph.Stage, err error) {
	r.log.Warn("an output failed; the others go on", "error", stageError(s, pipeline.Environment, err))
	for _, o := range r.outputs {
		if o.Stage == s.ID {
			o.err, o.last, o.phase = err, err, Failed
			o.gate.Shut()
			close(o.done)
		}
	}
}

func (o *output) enter(ph Phase) {
	o.mu.Lock()
	o.phase = ph
	o.mu.Unlock()
}

func (o *output) now() (Phase, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.phase, o.last
}

// ended tells that nothing more will happen to the output.
func (o *output) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// halt has the output end now, unfinished.
func (o *output) halt() {
	o.once.Do(func() { close(o.stop) })
	o.gate.Shut()
}
