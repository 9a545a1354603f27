package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

const (
	// retireLimit bounds the stopping of one output's pipeline. An element that
	// waits for a dead server in it is abandoned with its thread.
	retireLimit = 5 * time.Second
	// watchEvery is how often a sink's Guard and its progress are looked at.
	watchEvery = time.Second
	// steady is how long an attempt must have worked to be a success: the next
	// failure is then a new outage.
	steady = 10 * time.Second
)

// supervise is the life of an output, in its own goroutine.
func (o *output) supervise() {
	err := o.live()
	o.gate.Shut()
	o.mu.Lock()
	o.err, o.phase = err, Done
	if err != nil {
		o.phase = Failed
		if o.last == nil || !errors.Is(err, errStopped) { // else what it waited for says more
			o.last = err
		}
	}
	o.mu.Unlock()
	close(o.done)
	o.run.outputEnds <- o
}

// live makes attempts until one reaches the end of the stream or no further one
// can help.
func (o *output) live() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-o.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	var wait time.Duration
	down := time.Now() // when the present outage began
	for {
		began := time.Now()
		worked, err := o.attempt(ctx)
		if err == nil && (o.Segment != nil || o.Change == graph.MadeAnew) {
			more, err := o.endPart()
			if more && err == nil {
				continue
			}
			return err
		}
		if err != nil && ctx.Err() != nil {
			return o.stopped()
		}
		if err == nil || o.Restart == nil || o.final(err) || o.over() {
			return err
		}
		if worked && time.Since(began) > steady {
			wait, down = 0, time.Now()
		}
		o.mu.Lock()
		o.last, o.phase = err, Waiting
		o.mu.Unlock()
		if limit := o.Restart.GiveUp; limit > 0 && time.Since(down) > limit {
			return wrapMsg(fmt.Sprintf("given up after %v", limit), err)
		}
		if o.streamEnded() {
			return wrapMsg("not reached again before the recording ended", err)
		}
		wait = min(max(o.Restart.Min, 2*wait), o.Restart.Max)
		pause := wait/2 + rand.N(wait/2+1) // so that many do not come back at one moment
		o.run.log.Warn("the output failed and is made anew", "stage", o.Stage, "error", brief(err), "in", pause.Round(time.Millisecond))
		if !o.pause(ctx, pause) {
			return o.stopped()
		}
		if err := o.make(); err != nil {
			return err
		}
	}
}

// stopped is the error of an output that the run ends.
func (o *output) stopped() error {
	if _, last := o.now(); last != nil {
		return fmt.Errorf("%w; before that: %s", errStopped, brief(last))
	}
	return errStopped
}

// over tells that the stream has ended and nothing of it waits: a further attempt
// would have nothing to send.
func (o *output) over() bool {
	for i := range o.lanes {
		if o.gate.Stats(i).Bytes > 0 {
			return false
		}
	}
	return o.streamEnded()
}

// pause waits before the next attempt, and not for long once the stream has
// ended: then the last attempt is due. It gives false when ctx is done.
func (o *output) pause(ctx context.Context, d time.Duration) bool {
	for end := time.Now().Add(d); time.Now().Before(end) && !o.streamEnded(); {
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// streamEnded tells that the encoders gave out all they will for this output.
func (o *output) streamEnded() bool {
	for i := range o.lanes {
		if !o.gate.Stats(i).EOS {
			return false
		}
	}
	return true
}

// wrapMsg puts words in front of an error, and keeps its place and remedy.
func wrapMsg(words string, err error) error {
	var known *pipeline.Error
	if !errors.As(err, &known) {
		return fmt.Errorf("%s: %w", words, err)
	}
	e := *known
	e.Msg = words + ": " + e.Msg
	return &e
}

// brief is an error without its place and remedy, for lines that come often.
func brief(err error) string {
	var e *pipeline.Error
	switch {
	case !errors.As(err, &e):
		return err.Error()
	case e.Err != nil:
		return e.Msg + ": " + e.Err.Error()
	}
	return e.Msg
}

// final tells that an error will be the same at every further attempt.
func (o *output) final(err error) bool {
	var f interface{ Final() bool }
	if errors.As(err, &f) && f.Final() {
		return true
	}
	return o.Restart.Final != nil && o.Restart.Final(err.Error())
}

// attempt plays the output's pipeline to its end. It tells whether anything got
// through.
func (o *output) attempt(ctx context.Context) (worked bool, err error) {
	limit := retireLimit
	defer func() {
		if o.tapped {
			worked = o.pipe.Traffic(o.sink, "sink").Bytes > 0
		}
		if ctx.Err() != nil {
			limit = killLimit
		}
		o.retire(limit)
	}()
	first := o.attempts == 0
	o.mu.Lock()
	o.attempts++
	o.mu.Unlock()
	if o.writer != nil {
		env := &pipeline.OutputEnv{Stage: o.Stage, Pos: o.stage.Pos, Log: o.run.log.With("stage", o.Stage), Starts: o.starts, Zero: o.run.zero}
		if err := o.writer.Begin(ctx, env); err != nil {
			return false, err
		}
	}
	cut, err := o.play(ctx, first)
	switch {
	case o.writer == nil && err == nil:
		return false, cut
	case o.writer == nil:
		return false, err
	case err != nil:
		o.writer.Abandon(err)
		return false, err
	}
	o.enter(Finishing)
	if err := o.writer.Finish(ctx); err != nil {
		return false, err
	}
	return false, cut
}

// starts tells where each stream begins.
func (o *output) starts() []pipeline.StreamStart {
	out := make([]pipeline.StreamStart, len(o.ins))
	for i, in := range o.ins {
		out[i] = pipeline.StreamStart{Kind: o.Streams[i].Kind, First: o.traffic(in.node, in.pad).FirstPTS}
	}
	return out
}

// zero is the time of day at running time 0.
func (r *runner) zero() time.Time {
	var now unix.Timespec
	if !r.line.Started() || unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return time.Time{}
	}
	return time.Now().Add(r.line.Zero() - time.Duration(now.Nano()))
}

// play starts the pipeline and watches it to the end of its stream, which a
// Guard may have brought about early: cut says why.
func (o *output) play(ctx context.Context, first bool) (cut, err error) {
	p := o.pipe
	if err := p.Start(); err != nil {
		for m := p.Next(tick); m.Fault != nil; m = p.Next(tick) {
			if !m.Fault.Warning {
				return nil, o.fault(m.Fault)
			}
		}
		return nil, err
	}
	ids := make([]string, len(o.lanes))
	for i, n := range o.lanes {
		ids[i] = n.ID
	}
	o.boundPart()
	o.gate.Attach(p, ids, !first)
	o.enter(Streaming)
	written := make(chan error, 1)
	if o.writer != nil {
		go func() { written <- p.WriteTo(o.sink, o.writer) }()
	}
	w := progressWatch{o: o, at: time.Now()}
	for {
		m := p.Next(tick)
		switch {
		case m.EOS && o.writer == nil:
			select {
			case <-time.After(o.Linger):
			case <-ctx.Done():
			}
			return w.cut, nil
		case m.Fault != nil && m.Fault.Warning:
			o.run.log.Warn("gstreamer", "stage", o.Stage, "warning", o.redactText(m.Fault.Error()))
		case m.Fault != nil:
			return nil, o.joinWriter(written, o.fault(m.Fault))
		}
		select {
		case <-ctx.Done():
			return nil, o.joinWriter(written, errStopped)
		case err := <-written:
			return w.cut, err
		default:
		}
		if err := w.look(); err != nil {
			return nil, o.joinWriter(written, err)
		}
	}
}

// joinWriter waits for the goroutine that writes, which uses the pipeline.
func (o *output) joinWriter(written <-chan error, reason error) error {
	if o.writer == nil {
		return reason
	}
	o.gate.Detach()
	o.writer.Abandon(reason) // it may block in Write
	go o.pipe.Stop()
	select {
	case <-written:
	case <-time.After(retireLimit):
	}
	return reason
}

// progressWatch looks once in a while at what an output takes.
type progressWatch struct {
	o     *output
	next  time.Time
	at    time.Time // when it last took something, or had nothing to take
	bytes int64
	cut   error // why a Guard ended it
}

func (w *progressWatch) look() error {
	now := time.Now()
	if now.Before(w.next) {
		return nil
	}
	w.next = now.Add(watchEvery)
	w.o.cutBySize()
	if g, ok := w.o.stage.Element.(pipeline.Guard); ok && w.cut == nil {
		if w.cut = g.Watch(); w.cut != nil {
			w.o.run.log.Error("the output is finished early", "stage", w.o.Stage, "error", w.cut)
			w.o.gate.End()
		}
	}
	if w.o.Restart == nil || w.o.Restart.Stall <= 0 {
		return nil
	}
	bytes, waiting := w.o.traffic(w.o.sink, "sink").Bytes, int64(0)
	for i := range w.o.lanes {
		waiting += w.o.gate.Stats(i).Bytes
	}
	if bytes != w.bytes || waiting == 0 {
		w.bytes, w.at = bytes, now
	}
	if stalled := now.Sub(w.at); stalled > w.o.Restart.Stall {
		return fmt.Errorf("the other side took nothing for %v", stalled.Round(time.Second))
	}
	return nil
}

// takeOutputs looks at outputs that have ended. One that failed does not end the
// run while another that is required goes on; with nothing required left, the
// run is over.
func (w *watch) takeOutputs() {
	for {
		select {
		case o := <-w.r.outputEnds:
			w.outputEnded(o)
		default:
			return
		}
	}
}

func (w *watch) outputEnded(o *output) {
	if o.err == nil {
		return
	}
	e := *stageError(o.stage, pipeline.Environment, o.err)
	if e.Class == pipeline.Config { // the author may be to blame, but the run has begun
		e.Class = pipeline.Environment
	}
	var err error = &e
	if w.r.needed() {
		level := w.r.log.Error
		if o.Optional {
			level = w.r.log.Warn
		}
		level("an output failed; the others go on", "error", err)
		if !o.Optional && w.outputErr == nil {
			w.outputErr = err
		}
		return
	}
	if errors.Is(o.err, errStopped) && w.err != nil {
		return
	}
	if w.outputErr != nil {
		err = w.outputErr
	}
	w.fail(err)
}

// needed tells that an output is left for whose sake the run goes on: one that
// is required and has not failed, or any when none is required.
func (r *runner) needed() bool {
	required := false
	for _, o := range r.outputs {
		required = required || !o.Optional
	}
	for _, o := range r.outputs {
		if ph, _ := o.now(); ph != Failed && (!required || !o.Optional) {
			return true
		}
	}
	return false
}

// settled tells that every output has ended, or is one that nobody waits for.
func (w *watch) settled() bool {
	all, required, some := true, true, false
	for _, o := range w.r.outputs {
		all = all && o.ended()
		required = required && (o.ended() || o.Optional)
		some = some || !o.Optional
	}
	switch {
	case all:
		return true
	case !required || !some:
		w.optionalSince = time.Time{}
		return false
	case w.optionalSince.IsZero():
		w.optionalSince = time.Now()
	}
	return time.Since(w.optionalSince) > optionalGrace
}

// optionalGrace is how long an output with required = false may still take when
// all required ones are complete.
const optionalGrace = 10 * time.Second
