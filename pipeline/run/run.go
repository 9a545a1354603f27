package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

const (
	// tick bounds how late a message of the bus, a signal or a deadline is seen.
	tick = 50 * time.Millisecond
	// flushed is how long encoders may take, after an error, to give out what they
	// hold once their sources have ended.
	flushed = 2 * time.Second
	// salvage is how long healthy outputs may take to finish after an error.
	salvage = 10 * time.Second
	// stopLimit bounds GStreamer's own stopping; an element that hangs in it is
	// abandoned with its thread.
	stopLimit = 10 * time.Second
	// killLimit is the same when the user wants it to be over.
	killLimit = time.Second
	// readBackLimit bounds reading a finished file back.
	readBackLimit = 2 * time.Minute
	// formatWait is how long the first formats of all sources are waited for once
	// one is known.
	formatWait = 2 * time.Second
	// DefaultDrain is the deadline between a stop and the end of all outputs.
	DefaultDrain = 30 * time.Second
)

// Options of a run. The zero value is usable.
type Options struct {
	Log          *slog.Logger    // nil discards
	Progress     func(Status)    // called from Run's goroutine; nil for none
	Every        time.Duration   // how often; 1 s when 0
	DrainTimeout time.Duration   // DefaultDrain when 0
	Kill         <-chan struct{} // closed: stop now, outputs stay as they are
	Control      *Control        // changes the run while it goes on; nil for nobody
}

// ErrKilled is the error of a run that was stopped without draining.
var ErrKilled = errors.New("stopped at once, without draining; outputs are as a kill leaves them")

type runner struct {
	plan *graph.Plan
	opts Options
	log  *slog.Logger

	gst     *gstbin.Pipeline
	nodes   map[string]*graph.Node
	into    map[string][]graph.Link       // by the node they end at
	joins   map[string]*gstbin.Join       // by node
	counted map[spot]bool                 // inputs of encoders with a tap
	outlets map[string]map[string]*outlet // by source stage and pad
	feeds   map[string]*outlet            // by node
	outputs []*output
	// outputEnds takes each output once, when it has ended.
	outputEnds chan *output
	goMu       sync.Mutex // guards goStages and their tied: outputs are made anew while the run goes on
	goStages   map[string]*goStage
	sources    []*liveSource
	swap       *encoderSwap // under way; the loop's own
	line       pipeline.Timeline

	state   stateCell
	started time.Time // of the run
	playing time.Time // when frames began to flow
	err     error     // the first error
	reason  string    // why it ended, for the manifest
	gauge   gauge
}

// liveSource is a source stage that has been opened.
type liveSource struct {
	stage *graph.Stage
	src   pipeline.Source
}

// Run carries out the plan until its sources end, ctx is done or something
// fails, and always returns a manifest. When ctx is done the sources stop, what
// is inside is drained and all outputs are finalised. The error is nil only if
// every output is complete.
func Run(ctx context.Context, plan *graph.Plan, o Options) (*Manifest, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = DefaultDrain
	}
	r := &runner{
		plan: plan, opts: o, log: o.Log, started: time.Now(),
		nodes: map[string]*graph.Node{}, into: map[string][]graph.Link{}, joins: map[string]*gstbin.Join{}, counted: map[spot]bool{},
		outlets: map[string]map[string]*outlet{}, feeds: map[string]*outlet{}, goStages: map[string]*goStage{},
	}
	return r.run(ctx)
}

func (r *runner) run(ctx context.Context) (*Manifest, error) {
	if err := r.build(); err != nil {
		r.fail(err)
	}
	r.state.advance(Opening)
	if r.err == nil {
		r.fail(r.openOutputs(ctx))
	}
	if r.err == nil {
		r.fail(r.startStages())
	}
	if r.err == nil {
		r.fail(r.openSources(ctx))
	}
	if r.err == nil {
		r.fail(r.flow(ctx))
	}
	r.state.advance(Finalising)
	stopped := r.stop()
	r.closeSources()
	r.closeStages()
	m := r.manifest()
	r.state.advance(Ended)
	m.State = r.state.get().String()
	r.progress()
	if r.gst != nil && stopped { // else its threads still use what Close frees
		r.gst.Close()
	}
	return m, r.err
}

// fail keeps the first error; later ones are its consequences and are logged.
func (r *runner) fail(err error) {
	switch {
	case err == nil:
	case r.err == nil:
		r.err = err
	default:
		r.log.Debug("also failed", "error", err)
	}
}

// openOutputs lets each element claim what it needs outside the process. An output
// with required = false that cannot is failed, and the others go on.
func (r *runner) openOutputs(ctx context.Context) error {
	var all pipeline.Errors
	for _, s := range r.plan.Graph.Stages {
		o, ok := s.Element.(pipeline.Opener)
		if !ok {
			continue
		}
		if err := o.Open(ctx); err != nil && s.Optional {
			r.failBefore(s, err)
		} else if err != nil {
			all = append(all, stageError(s, pipeline.Config, err))
		}
	}
	if len(all) > 0 {
		return all
	}
	return nil
}

// openSources attaches all sources at the same time.
func (r *runner) openSources(ctx context.Context) error {
	ctx, cancel := r.killable(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(r.plan.Graph.Stages))
	for i, s := range r.plan.Graph.Stages {
		src, ok := s.Element.(pipeline.Source)
		if !ok || r.outlets[s.ID] == nil {
			continue
		}
		live := &liveSource{stage: s, src: src}
		r.sources = append(r.sources, live)
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = src.Open(ctx, &pipeline.SourceEnv{
				Stage: s.ID, Pos: s.Pos, Log: r.log.With("stage", s.ID),
				Outlets: r.padsOf(s.ID), Timeline: &r.line,
			})
			if errs[i] != nil {
				cancel() // the others need not wait for a run that will not be
			}
		}()
	}
	r.line.Expect(len(r.sources))
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	r.progressUntil(done)
	for i, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return stageError(r.plan.Graph.Stages[i], pipeline.Environment, err)
		}
	}
	for i, err := range errs {
		if err != nil {
			return stageError(r.plan.Graph.Stages[i], pipeline.Environment, errors.New("stopped before a producer attached; nothing was recorded"))
		}
	}
	return nil
}

// killable ends with ctx or with a kill.
func (r *runner) killable(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if r.opts.Kill != nil {
		go func() {
			select {
			case <-r.opts.Kill:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

func (r *runner) padsOf(source string) map[string]pipeline.Outlet {
	out := map[string]pipeline.Outlet{}
	for pad, o := range r.outlets[source] {
		out[pad] = o
	}
	return out
}

// flow plays the pipeline to its end.
func (r *runner) flow(ctx context.Context) error {
	srcCtx, stopSources := context.WithCancel(ctx)
	defer stopSources()
	w := &watch{r: r, ctx: ctx, stopSources: stopSources, results: make(chan error, len(r.sources)), left: len(r.sources)}
	for _, s := range r.sources {
		go func() { w.results <- r.feedFrom(srcCtx, s) }()
	}
	err := w.firstFormats()
	if err == nil {
		err = r.start()
	}
	if err == nil {
		err = w.loop()
	}
	return w.join(err)
}

// start tells the encoders their frame rates, starts GStreamer and lets frames in.
func (r *runner) start() error {
	for _, n := range r.plan.Nodes {
		err := r.keyFrames(n,
			func(name, value string) error { return r.gst.Set(n.ID, name, value) },
			func(d time.Duration) { r.gst.KeyRequests(n.ID, d) })
		if err != nil {
			return internal(n.Stage, err)
		}
	}
	for _, o := range r.outputs {
		if !o.ended() {
			o.started = true
			go o.supervise()
		}
	}
	if err := r.gst.Start(); err != nil {
		// The element that refused has said why.
		for m := r.gst.Next(tick); m.Fault != nil; m = r.gst.Next(tick) {
			if !m.Fault.Warning {
				return r.faultError(m.Fault)
			}
		}
		return internal("", err)
	}
	r.playing = time.Now()
	if r.state.get() < Running { // sources that had nothing to give are draining already
		r.state.advance(Running)
	}
	for _, o := range r.feeds {
		o.open()
	}
	return nil
}

// keyFrames tells an encoder that has not begun how often it is to give a key
// frame: by a property, if it counts frames and their rate is known, else by asking
// for each.
func (r *runner) keyFrames(n *graph.Node, set func(name, value string) error, ask func(time.Duration)) error {
	if n.KeyInterval <= 0 {
		return nil
	}
	if frames := r.framesIn(n); n.KeyFrames != "" && frames > 0 {
		return set(n.KeyFrames, strconv.FormatInt(frames, 10))
	}
	ask(n.KeyInterval)
	return nil
}

// framesIn counts the frames of an encoder's key-frame interval at the rate of
// the stream it encodes; 0 when that is unknown or varies.
func (r *runner) framesIn(n *graph.Node) int64 {
	rate := r.rateInto(n.ID)
	if rate <= 0 {
		return 0
	}
	return max(1, int64(n.KeyInterval.Seconds()*rate+0.5))
}

// feedFrom runs one source. A source that fails still ends its pads, so that
// what came before is finalised.
func (r *runner) feedFrom(ctx context.Context, s *liveSource) error {
	err := s.src.Run(ctx)
	if err == nil {
		return nil
	}
	for _, o := range r.outlets[s.stage.ID] {
		o.EOS()
	}
	if errors.Is(err, gstbin.ErrStopped) {
		return err
	}
	return stageError(s.stage, pipeline.Environment, err)
}

// stop ends all streaming threads and all outputs that have not ended by
// themselves. It reports whether the encoders' pipeline did end.
func (r *runner) stop() bool {
	if r.gst == nil {
		return true
	}
	limit := stopLimit
	if errors.Is(r.err, ErrKilled) {
		limit = killLimit
	}
	for _, o := range r.outputs {
		o.halt()
	}
	r.endSwap(true)
	stopped := stopWithin(r.gst, limit)
	if !stopped {
		r.fail(fmt.Errorf("gstreamer did not stop within %v; outputs may be unfinished", limit))
	}
	timeout := time.After(retireLimit + time.Second)
	for _, o := range r.outputs {
		if !o.started {
			o.retire(limit)
			continue
		}
		select {
		case <-o.done:
		case <-timeout:
			r.log.Error("the output does not end", "stage", o.Stage)
			stopped = false
		}
	}
	return stopped
}

func (r *runner) closeSources() {
	for _, s := range r.sources {
		if err := s.src.Close(); err != nil {
			r.log.Warn("source did not close cleanly", "stage", s.stage.ID, "error", err)
		}
	}
}
