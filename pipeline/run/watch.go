package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// watch is the loop of a running pipeline: bus, signals, sources, deadlines.
type watch struct {
	r           *runner
	ctx         context.Context
	stopSources context.CancelFunc
	results     chan error
	left        int // sources that still run

	deadline  time.Time // zero until something ends
	err       error     // the first error
	outputErr error     // of the first required output that failed while others went on

	ended         bool      // the encoders gave out all they will
	broken        bool      // one of them failed
	optionalSince time.Time // since when only outputs that are not required keep the run
	sourcesGone   time.Time // when the last source had ended
}

// firstFormats waits until every pad has its format or will have none, so that
// the pipeline starts knowing them; with one known it does not wait long for
// the others.
func (w *watch) firstFormats() error {
	var since time.Time
	var nextProgress time.Time
	for {
		all, some := true, false
		for _, o := range w.r.feeds {
			_, decided := o.known()
			all, some = all && decided, some || decided
		}
		if some && since.IsZero() {
			since = time.Now()
		}
		if all || some && time.Since(since) > formatWait {
			return nil
		}
		if w.killed() {
			w.r.reason = "killed"
			return ErrKilled
		}
		if w.collect() { // they ended without a frame, and their pads know it
			return w.err
		}
		now := time.Now()
		if now.After(nextProgress) {
			w.r.progress()
			nextProgress = now.Add(w.r.opts.Every)
		}
		time.Sleep(tick / 10)
	}
}

// loop returns when every output has its end, or nothing more can be done.
func (w *watch) loop() error {
	r := w.r
	var nextProgress time.Time
	for {
		m := r.gst.Next(tick)
		switch {
		case m.EOS:
			w.ended = true
		case m.Fault != nil && m.Fault.Warning:
			r.log.Warn("gstreamer", "element", m.Fault.Element, "warning", m.Fault.Error())
		case m.Fault != nil:
			r.log.Debug("gstreamer", "element", m.Fault.Element, "error", m.Fault.Text, "details", m.Fault.Debug)
			w.broken = true
			w.fail(r.faultError(m.Fault))
		}
		w.takeOutputs()
		w.takeChanges()
		r.endSwap(false)
		gone := w.collect()
		w.salvage(gone)
		if w.settled() && (w.ended || gone) {
			w.why()
			w.fail(w.outputErr)
			return w.err
		}
		if w.killed() {
			r.reason = "killed"
			return ErrKilled
		}
		if w.ctx.Err() != nil && r.reason == "" {
			r.reason = "signal"
			r.log.Info("draining", "deadline", r.opts.DrainTimeout)
			if w.deadline.IsZero() {
				w.drain(r.opts.DrainTimeout)
			}
		}
		now := time.Now()
		if !w.deadline.IsZero() && now.After(w.deadline) && !r.finishing() {
			w.fail(&pipeline.Error{Class: pipeline.Environment, Msg: fmt.Sprintf("outputs did not finish within the drain deadline (%s waits)", r.unfinished()),
				Remedy: "see what holds that output up, or raise --drain-timeout"})
			return w.err
		}
		if now.After(nextProgress) {
			r.progress()
			nextProgress = now.Add(r.opts.Every)
		}
	}
}

// salvage ends the outputs once all sources have: behind an encoder that failed
// no end of the stream comes, and what the others hold is through by then.
func (w *watch) salvage(gone bool) {
	switch {
	case !gone || !w.broken:
	case w.sourcesGone.IsZero():
		w.sourcesGone = time.Now()
	case time.Since(w.sourcesGone) > flushed:
		for _, o := range w.r.outputs {
			o.gate.End()
		}
	}
}

// takeChanges carries out what a Control asks for.
func (w *watch) takeChanges() {
	if w.r.opts.Control == nil {
		return
	}
	for {
		select {
		case f := <-w.r.opts.Control.reach:
			f(w.r)
		default:
			return
		}
	}
}

// why names the reason when nothing else has.
func (w *watch) why() {
	if w.r.reason != "" {
		return
	}
	w.r.reason = "end of stream"
	if w.ctx.Err() != nil {
		w.r.reason = "signal"
	}
}

func (w *watch) killed() bool {
	select {
	case <-w.r.opts.Kill:
		return true
	default:
		return false
	}
}

// drain starts the last phase: sources stop, the deadline runs.
func (w *watch) drain(limit time.Duration) {
	w.r.state.advance(Draining)
	w.stopSources()
	w.deadline = time.Now().Add(limit)
}

// collect takes the results of sources that have ended; true when all have.
func (w *watch) collect() bool {
	for w.left > 0 {
		select {
		case err := <-w.results:
			w.left--
			w.fail(err)
			if w.left == 0 && w.deadline.IsZero() {
				w.drain(w.r.opts.DrainTimeout)
			}
		default:
			return false
		}
	}
	return true
}

// join waits for the sources' goroutines and adds what they have to say about
// an end that looked good. After an error nothing is taken from them any more.
func (w *watch) join(err error) error {
	w.err = err
	w.stopSources()
	if err != nil {
		for _, o := range w.r.feeds {
			o.close()
		}
	}
	for ; w.left > 0; w.left-- {
		w.fail(<-w.results)
	}
	return w.err
}

// fail is the one way of an error. A source that finds the pipeline stopped is
// only the echo of an element's failure: it counts if nothing else was said.
func (w *watch) fail(err error) {
	if err == nil {
		return
	}
	if w.err == nil || errors.Is(w.err, gstbin.ErrStopped) && !errors.Is(err, gstbin.ErrStopped) {
		w.err = err
	}
	w.r.reason = "error"
	if w.deadline.IsZero() && w.r.state.get() <= Draining {
		w.r.log.Error("stopping", "error", err)
		w.drain(min(salvage, w.r.opts.DrainTimeout))
	}
}

// fault is the error of an element of the output, without its secrets.
func (o *output) fault(f *gstbin.Fault) error {
	safe := *f
	safe.Text, safe.Debug = o.redactText(f.Text), o.redactText(f.Debug)
	o.run.log.Debug("gstreamer", "element", safe.Element, "error", safe.Text, "details", safe.Debug)
	return o.run.faultError(&safe)
}

// faultError says which stage an element's error belongs to.
func (r *runner) faultError(f *gstbin.Fault) error {
	e := &pipeline.Error{Class: pipeline.Environment, Msg: f.Error(), Remedy: remedy(f)}
	if n := r.nodes[f.Element]; n != nil {
		if own := r.stageFault(n.Stage); own != nil {
			return own
		}
		e.Stage = n.Stage
		if s := stageByID(r.plan.Graph, n.Stage); s != nil {
			e.Pos = s.Pos
		}
	}
	return e
}

// remedy knows the failures that users meet most.
func remedy(f *gstbin.Fault) string {
	text := f.Text + f.Debug
	switch {
	case strings.Contains(text, "No space left"):
		return "free space on the disk; what was written so far is kept"
	case strings.Contains(text, "Permission denied"):
		return "allow writing there, or choose another path"
	case strings.Contains(text, "not-negotiated"):
		return "the format that arrives does not suit an element behind it; `mpipe explain` shows the chain, `gst-inspect-1.0` what each element takes"
	default:
		return "run again with --log-level debug for GStreamer's details"
	}
}

// finishing tells that all outputs that have not ended have all their data and
// complete what they write to, which takes as long as it takes.
func (r *runner) finishing() bool {
	for _, o := range r.outputs {
		if ph, _ := o.now(); !o.ended() && ph != Finishing {
			return false
		}
	}
	return true
}

func (r *runner) unfinished() string {
	var ids []string
	for _, o := range r.outputs {
		if !o.ended() {
			ids = append(ids, o.Stage)
		}
	}
	return strings.Join(ids, ", ")
}

func stageByID(g *graph.Graph, id string) *graph.Stage {
	for _, s := range g.Stages {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// stageError gives err its stage and place, unless it has them.
func stageError(s *graph.Stage, class pipeline.Class, err error) *pipeline.Error {
	var known *pipeline.Error
	if errors.As(err, &known) {
		if known.Stage == "" && known.Pos.Line == 0 {
			known.Stage, known.Pos = s.ID, s.Pos
		}
		return known
	}
	e := &pipeline.Error{Class: class, Pos: s.Pos, Stage: s.ID}
	var prop *pipeline.PropError
	if errors.As(err, &prop) {
		e.Pos = s.PosOf(prop.Prop)
		err = prop.Err // the place says which property
	}
	e.Msg = err.Error()
	return e
}
