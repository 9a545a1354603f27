package run

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// build makes the GStreamer pipeline of the plan, with an outlet for every
// source pad and a counter at every input and end of an output.
func (r *runner) build() error {
	p, err := gstbin.New(r.plan.Name)
	if err != nil {
		return internal("", err)
	}
	r.gst = p
	for _, n := range r.plan.Nodes {
		r.nodes[n.ID] = n
		if err := p.Add(n.ID, n.Factory, n.Set); err != nil {
			return internal(n.Stage, err)
		}
	}
	for _, l := range r.plan.Links {
		if err := p.Link(l.From, l.To, l.ToPad, l.Caps); err != nil {
			return internal(r.nodes[l.To].Stage, fmt.Errorf("%s: %w", l.Edge, err))
		}
		r.upstream[l.To] = append(r.upstream[l.To], l.From)
	}
	for _, n := range r.plan.Nodes {
		if n.Source {
			r.addOutlet(n)
		}
	}
	for _, o := range r.plan.Outputs {
		if err := r.addOutput(o); err != nil {
			return internal(o.Stage, err)
		}
	}
	return nil
}

func (r *runner) addOutlet(n *graph.Node) {
	o := &outlet{pad: n.Pad, feed: r.gst.Feed(n.ID), gst: r.gst, line: &r.line}
	for _, c := range r.plan.Nodes {
		if c.Canvas && c.Stage == n.Stage && c.Pad == n.Pad {
			o.canvas = c.ID
		}
	}
	if r.outlets[n.Stage] == nil {
		r.outlets[n.Stage] = map[string]*outlet{}
	}
	r.outlets[n.Stage][n.Pad] = o
	r.feeds[n.ID] = o
}

// output is one sink of the plan with the places where it is counted.
type output struct {
	graph.Output
	sink string     // id of the last element: bytes and the end are seen at its pad "sink"
	ins  []measured // one for each of Streams
}

// measured is a stream on its way into an output.
type measured struct {
	node, pad string // where it is counted
	source    string // id of the source node it comes from
}

func (r *runner) addOutput(o graph.Output) error {
	out := &output{Output: o, sink: o.Node}
	for _, l := range r.plan.Links { // the element behind the muxer
		if l.From == out.sink {
			out.sink = l.To
		}
	}
	if err := r.gst.Tap(out.sink, "sink"); err != nil {
		return err
	}
	for _, l := range r.plan.Links {
		if l.To != o.Node {
			continue
		}
		m := measured{node: l.From, pad: "src", source: r.sourceOf(l.From)}
		if l.ToPad == "sink" { // a fixed pad: it is tapped already, or is its own place to count
			m.node, m.pad = o.Node, "sink"
		}
		if m.node != out.sink {
			if err := r.gst.Tap(m.node, m.pad); err != nil {
				return err
			}
		}
		out.ins = append(out.ins, m)
	}
	r.outputs = append(r.outputs, out)
	return nil
}

// sourceOf follows a chain up to the source pad it begins at.
func (r *runner) sourceOf(node string) string {
	for !r.nodes[node].Source {
		ups := r.upstream[node]
		if len(ups) == 0 {
			return ""
		}
		node = ups[0]
	}
	return node
}

func internal(stage string, err error) error {
	return &pipeline.Error{Class: pipeline.Internal, Stage: stage, Msg: "the plan could not be built", Err: err,
		Remedy: "this is a defect of mpipe: please report it with the graph file and the output of `mpipe explain`"}
}
