package run

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// StageReport is the account of a stage or sink whose frames pass through Go, or
// of a stage with several inputs.
type StageReport struct {
	Frames   int64            `json:"frames"`
	Copied   int64            `json:"copied_frames"` // of Frames, those that were not the filter's to write into
	Dropped  int64            `json:"dropped"`       // of Frames, those it left out
	Counters map[string]int64 `json:"counters,omitempty"`
	// Inputs are those of a stage that puts several streams together, which has
	// no other counts.
	Inputs []InputReport `json:"inputs,omitempty"`
}

// InputReport is what came to one input of a stage that has several.
type InputReport struct {
	From    string  `json:"from"`
	Frames  int64   `json:"frames"`
	Late    int64   `json:"late"`      // of Frames, those from a time that had been passed: pictures are shown later, sound is left out
	Missing float64 `json:"missing_s"` // how much was passed without a frame
}

// goStage is a Filter or Viewer of the plan.
type goStage struct {
	stage *graph.Stage
	env   *pipeline.StageEnv
	tied  []*gstbin.GoStage // of each pipeline it was in
}

// tie has a node that is an element in Go call it.
func (r *runner) tie(p *gstbin.Pipeline, n *graph.Node) error {
	if n.Factory != pipeline.GoFactory {
		return nil
	}
	s := stageByID(r.plan.Graph, n.Stage)
	t, err := p.Tie(n.ID, s.Element)
	if err != nil {
		return err
	}
	r.goMu.Lock()
	defer r.goMu.Unlock()
	g := r.goStages[n.Stage]
	if g == nil {
		g = &goStage{stage: s, env: &pipeline.StageEnv{Stage: s.ID, Pos: s.Pos, Log: r.log.With("stage", s.ID), Timeline: &r.line}}
		r.goStages[n.Stage] = g
	}
	g.tied = append(g.tied, t)
	return nil
}

// startStages tells the elements in Go of their run.
func (r *runner) startStages() error {
	for _, s := range r.plan.Graph.Stages {
		g := r.goStages[s.ID]
		if g == nil {
			continue
		}
		if st, ok := s.Element.(pipeline.Starter); ok {
			if err := st.Start(g.env); err != nil {
				return stageError(s, pipeline.Environment, err)
			}
		}
	}
	return nil
}

// closeStages lets the elements in Go give back what they have.
func (r *runner) closeStages() {
	for id, g := range r.goStages {
		if c, ok := g.stage.Element.(pipeline.Closer); ok {
			if err := c.Close(); err != nil {
				r.log.Warn("the stage did not close cleanly", "stage", id, "error", err)
			}
		}
	}
}

// stageFault is what an element in Go said itself, instead of GStreamer's word
// for it.
func (r *runner) stageFault(id string) error {
	r.goMu.Lock()
	defer r.goMu.Unlock()
	g := r.goStages[id]
	if g == nil {
		return nil
	}
	for _, t := range g.tied {
		if err := t.Err(); err != nil {
			return stageError(g.stage, pipeline.Environment, err)
		}
	}
	return nil
}

func (r *runner) stageReports() map[string]StageReport {
	r.goMu.Lock()
	defer r.goMu.Unlock()
	if len(r.goStages)+len(r.joins) == 0 {
		return nil
	}
	out := map[string]StageReport{}
	for id, g := range r.goStages {
		rep := StageReport{Counters: g.env.Counters()}
		for _, t := range g.tied {
			st := t.Stats()
			rep.Frames, rep.Copied, rep.Dropped = rep.Frames+st.Frames, rep.Copied+st.Copied, rep.Dropped+st.Dropped
		}
		out[id] = rep
	}
	for node, j := range r.joins {
		rep := StageReport{}
		for _, l := range r.into[node] {
			st := j.Stats(l.ToPad)
			from, _, _ := strings.Cut(l.Edge, " -> ")
			rep.Inputs = append(rep.Inputs, InputReport{from, st.Frames, st.Late, st.Missing.Seconds()})
		}
		out[r.nodes[node].Stage] = rep
	}
	return out
}

// Control changes a run while it goes on; [NewControl] makes one for [Options]. Its
// methods may be called from any goroutine.
type Control struct {
	reach chan func(*runner)
}

// NewControl makes a Control for one run.
func NewControl() *Control { return &Control{reach: make(chan func(*runner))} }

// Set gives a property of a stage a new value, as TOML gives it (string, int64,
// float64, bool, []any, map[string]any). A stage in Go gets it between two
// frames, a GStreamer element at once. The error says why it cannot: the property
// is not one that may change while running, or the value is wrong. It waits
// until the run takes it; done ends the wait, as for a run that is over.
func (c *Control) Set(done <-chan struct{}, stage, prop string, value any) error {
	answer := make(chan error, 1)
	select {
	case c.reach <- func(r *runner) { answer <- r.set(stage, prop, value) }:
		return <-answer
	case <-done:
		return errors.New("the run takes no changes: it has ended, or did not start")
	}
}

func (r *runner) set(id, prop string, value any) error {
	s := stageByID(r.plan.Graph, id)
	if s == nil {
		return fmt.Errorf("no stage has the id %q", id)
	}
	if r.swap != nil && r.swap.stage == s {
		return fmt.Errorf("stage %s is being swapped; try again when that is done", id)
	}
	for _, spec := range s.Specs() {
		switch {
		case spec.Name != prop:
		case !spec.Live:
			return fmt.Errorf("stage %s: %s cannot change while running", id, prop)
		case pipeline.InGo(s.Element):
			return r.setBetween(id, spec, value)
		default:
			return r.setNative(s, spec, value)
		}
	}
	return fmt.Errorf("stage %s: %s has no property %q", id, s.Type, prop)
}

// setBetween checks the value on an element that nobody uses, and has the stage
// take it before its next frame.
func (r *runner) setBetween(id string, spec *pipeline.Spec, value any) error {
	g := r.goStages[id]
	reg, _ := pipeline.Lookup(g.stage.Type)
	for _, trial := range pipeline.Specs(reg.New()) {
		if trial.Name == spec.Name {
			if err := trial.Set(value); err != nil {
				return fmt.Errorf("stage %s: %s: %w", id, spec.Name, err)
			}
		}
	}
	g.tied[len(g.tied)-1].Between(func() {
		if err := spec.Set(value); err != nil {
			r.log.Error("a checked value was refused", "stage", id, "property", spec.Name, "error", err)
		}
	})
	return nil
}

// setNative makes the stage's fragment again and changes what is different.
func (r *runner) setNative(s *graph.Stage, spec *pipeline.Spec, value any) error {
	if err := spec.Set(value); err != nil {
		return fmt.Errorf("stage %s: %s: %w", s.ID, spec.Name, err)
	}
	f, _, err := pipeline.FragmentOf(s.Element, s.Role, Catalog())
	if err != nil {
		return err
	}
	var nodes []pipeline.Node // as the plan has them: those of the inputs first
	for _, in := range f.Inputs {
		nodes = append(nodes, in.Nodes...)
		if err := r.setPads(s, in); err != nil {
			return err
		}
	}
	nodes = append(nodes, f.Nodes...)
	for _, n := range r.plan.Nodes {
		if n.Stage != s.ID || n.Why != "" {
			continue
		}
		for _, set := range changed(n.Set, nodes[0].Set) {
			if err := r.gst.Set(n.ID, set.Name, set.Value); err != nil {
				return err
			}
		}
		n.Set, nodes = nodes[0].Set, nodes[1:]
	}
	return nil
}

// setPads changes what is different of the pads of one input.
func (r *runner) setPads(s *graph.Stage, in pipeline.Input) error {
	for i := range r.plan.Links {
		l := &r.plan.Links[i]
		if r.nodes[l.To].Stage != s.ID || l.ToPad != in.Pad || len(l.Set) == 0 {
			continue
		}
		for _, set := range changed(l.Set, in.Set) {
			if err := r.gst.SetPad(l.To, l.ToPad, set.Name, set.Value); err != nil {
				return err
			}
		}
		l.Set = in.Set
	}
	return nil
}

// changed lists the settings that are not what they were.
func changed(old, now []pipeline.Setting) (out []pipeline.Setting) {
	for i, set := range now {
		if i >= len(old) || old[i] != set {
			out = append(out, set)
		}
	}
	return out
}
