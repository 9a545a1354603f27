package run

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// build makes the GStreamer pipelines of the plan: one for the sources and
// encoders, with an outlet for every source pad, and one for each output, with a
// gate in between and a counter at every input and end.
func (r *runner) build() error {
	p, err := gstbin.New(r.plan.Name)
	if err != nil {
		return internal("", err)
	}
	r.gst = p
	for _, n := range r.plan.Nodes {
		r.nodes[n.ID] = n
		factory, set := n.Factory, n.Set
		switch {
		case n.Gate != "":
			factory, set = "appsink", nil
		case r.ofOutput(n):
			continue
		}
		if err := p.Add(n.ID, factory, set); err != nil {
			return internal(n.Stage, err)
		}
		if err := r.tie(p, n); err != nil {
			return internal(n.Stage, err)
		}
	}
	for _, l := range r.plan.Links {
		r.into[l.To] = append(r.into[l.To], l)
		if r.ofOutput(r.nodes[l.From]) {
			continue
		}
		if err := p.Link(l.From, l.To, l.ToPad, l.Caps); err != nil {
			return internal(r.nodes[l.To].Stage, fmt.Errorf("%s: %w", l.Edge, err))
		}
		for _, s := range l.Set {
			if err := p.SetPad(l.To, l.ToPad, s.Name, s.Value); err != nil {
				return internal(r.nodes[l.To].Stage, err)
			}
		}
	}
	for _, n := range r.plan.Nodes {
		if !r.joining(n) {
			continue
		}
		if j := p.Join(n.ID, n.Patience); j != nil {
			r.joins[n.ID] = j
		}
	}
	for _, n := range r.plan.Nodes {
		if n.Source {
			r.addOutlet(n)
		}
	}
	for _, o := range r.plan.Outputs {
		out := r.newOutput(o)
		r.outputs = append(r.outputs, out)
		if err := out.addGate(); err != nil {
			return internal(o.Stage, err)
		}
		if err := out.countEncoders(); err != nil {
			return internal(o.Stage, err)
		}
		if err := out.make(); err != nil {
			return err
		}
	}
	r.outputEnds = make(chan *output, len(r.outputs))
	return nil
}

// ofOutput tells that a node is in the pipeline of an output.
func (r *runner) ofOutput(n *graph.Node) bool {
	s := stageByID(r.plan.Graph, n.Stage)
	return s != nil && s.Role == pipeline.RoleSink
}

// joining tells that a node of the encoders' pipeline can have several inputs.
func (r *runner) joining(n *graph.Node) bool {
	into := r.into[n.ID]
	return !r.ofOutput(n) && (len(into) > 1 || n.Patience > 0 || len(into) == 1 && len(into[0].Set) > 0)
}

func (r *runner) addOutlet(n *graph.Node) {
	o := &outlet{pad: n.Pad, feed: r.gst.Feed(n.ID), gst: r.gst, line: &r.line}
	for _, c := range r.plan.Nodes {
		if c.Canvas && c.Stage == n.Stage && c.Pad == n.Pad {
			o.canvas = c.ID
		}
	}
	c, ok := stageByID(r.plan.Graph, n.Stage).Element.(interface{ OnFormatChange() string })
	o.free = ok && c.OnFormatChange() == "segment"
	if r.outlets[n.Stage] == nil {
		r.outlets[n.Stage] = map[string]*outlet{}
	}
	r.outlets[n.Stage][n.Pad] = o
	r.feeds[n.ID] = o
}

func internal(stage string, err error) error {
	return &pipeline.Error{Class: pipeline.Internal, Stage: stage, Msg: "the plan could not be built", Err: err,
		Remedy: "this is a defect of mpipe: please report it with the graph file and the output of `mpipe explain`"}
}
