package graph

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// Bounds of the queues that the planner puts in.
const (
	// rawFrames is how many raw frames wait in front of a branch. They are often
	// the producer's own memory, so few: what an encoder looks ahead it holds
	// itself, and a queue only lets the branches run apart.
	rawFrames = 8
	// encodedTime and encodedSize bound the queue in front of a muxer. It must
	// hold more than the longest latency of an encoder beside it (x264 by default
	// 1.5 s), or the muxer starves of one stream while the other blocks.
	encodedTime = 10 * time.Second
	encodedSize = 64 << 20
)

// builder turns checked stages into nodes and links.
type builder struct {
	*planner
	plan  *Plan
	names map[string]bool
	outs  map[string]*outlet // by "id" or "id.pad"
}

// outlet is where an output leaves, and how it is shared.
type outlet struct {
	ref       Ref
	node      string // the node that it leaves, at last its tee
	caps      string // caps forced on it, until a link carries them
	kind      pipeline.Kind
	consumers int
}

func (p *planner) build() *Plan {
	b := &builder{
		planner: p,
		plan:    &Plan{Name: p.graph.Name, File: p.graph.File, Graph: p.graph},
		names:   map[string]bool{},
		outs:    map[string]*outlet{},
	}
	order := p.flowOrder()
	for _, s := range order {
		for _, ref := range s.Inputs {
			o := b.outs[ref.String()]
			if o == nil {
				o = &outlet{ref: ref}
				o.kind, _ = p.kindOf(ref)
				b.outs[ref.String()] = o
			}
			o.consumers++
		}
	}
	b.reserve()
	for _, s := range order {
		if s.Role == pipeline.RoleSource {
			b.source(s)
		} else {
			b.native(s)
		}
	}
	b.plan.Notes = append(b.plan.Notes, p.notes...)
	for _, text := range p.graph.Notes {
		b.plan.Notes = append(b.plan.Notes, Note{Text: text})
	}
	return b.plan
}

// flowOrder sorts stages so that each comes behind all it takes its inputs
// from, and otherwise as the file has them.
func (p *planner) flowOrder() []*Stage {
	done := map[*Stage]bool{}
	var order []*Stage
	var visit func(s *Stage)
	visit = func(s *Stage) {
		if s == nil || done[s] {
			return
		}
		done[s] = true
		for _, ref := range s.Inputs {
			visit(p.ids[ref.Stage])
		}
		order = append(order, s)
	}
	for _, role := range idTables {
		for _, s := range p.graph.Stages {
			if s.Role == role {
				visit(s)
			}
		}
	}
	return order
}

// reserve gives the stages' own nodes their names first, so that what is put in
// yields when two would be called the same.
func (b *builder) reserve() {
	for _, s := range b.graph.Stages {
		if f := b.fragments[s]; f != nil {
			for i := range f.Nodes {
				b.names[nodeName(s, f, i)] = true
			}
			for i, in := range f.inputs {
				for at := range in.Nodes {
					b.names[inputNodeName(s, f, i, at)] = true
				}
			}
		}
	}
}

// nodeName is the stage's id when it is one element, else "id.factory", counted
// from the second of one factory on: "id.queue", "id.queue.1".
func nodeName(s *Stage, f *fragment, i int) string {
	if len(f.Nodes) == 1 {
		return s.ID
	}
	name, nth := s.ID+"."+f.Nodes[i].Factory, 0
	for _, n := range f.Nodes[:i] {
		if n.Factory == f.Nodes[i].Factory {
			nth++
		}
	}
	if nth > 0 {
		name += "." + strconv.Itoa(nth)
	}
	return name
}

// inputNodeName names a node in front of input i: "id.factory.0".
func inputNodeName(s *Stage, f *fragment, i, at int) string {
	return fmt.Sprintf("%s.%s.%d", s.ID, f.inputs[i].Nodes[at].Factory, i)
}

// ownNode is one of a stage's own elements, without its name.
func ownNode(s *Stage, n *pipeline.Node, gives pipeline.Kind) *Node {
	return &Node{Stage: s.ID, Factory: n.Factory, Set: n.Set, Kind: gives, KeyInterval: n.KeyInterval, KeyFrames: n.KeyFrames, Secrets: n.Secrets}
}

// insert adds a node that the planner puts in, under a name not yet taken.
func (b *builder) insert(s *Stage, name, factory, why string, kind pipeline.Kind, set ...pipeline.Setting) *Node {
	id := name
	for i := 1; b.names[id]; i++ {
		id = fmt.Sprintf("%s.%d", name, i)
	}
	b.names[id] = true
	n := &Node{ID: id, Stage: s.ID, Factory: factory, Why: why, Kind: kind, Set: set}
	b.plan.Nodes = append(b.plan.Nodes, n)
	return n
}

func (b *builder) link(l Link) { b.plan.Links = append(b.plan.Links, l) }

// source adds the pads of a source that the graph uses, in the order in which
// it first does.
func (b *builder) source(s *Stage) {
	seen := map[string]bool{}
	for _, user := range b.graph.Stages {
		for _, ref := range user.Inputs {
			if ref.Stage == s.ID && !seen[ref.Pad] {
				seen[ref.Pad] = true
				b.pad(s, b.outs[ref.String()])
			}
		}
	}
}

// pad adds one pad of a source: the element that frames come from, what keeps
// its format, and its tee.
func (b *builder) pad(s *Stage, o *outlet) {
	name := o.ref.String()
	src := b.insert(s, name, "appsrc", "", o.kind)
	src.Source, src.Pad = true, o.ref.Pad
	o.node = src.ID
	switch policy := onFormatChange(s); {
	case policy == changeScale:
		b.canvas(s, o, name, `keeps to the first frame's format when it changes (on_format_change = "scale")`)
	case policy == changeSegment && o.kind == pipeline.RawAudio:
		b.canvas(s, o, name, "keeps to the first packet's format: files are cut for pictures alone")
	}
	b.tee(s, o)
}

// canvas keeps the format of a pad at what came first.
func (b *builder) canvas(s *Stage, o *outlet, name, why string) {
	var chain []*Node
	switch o.kind {
	case pipeline.RawVideo:
		chain = append(chain, b.insert(s, name+".scale", "videoconvertscale", why, o.kind, pipeline.Setting{Name: "add-borders", Value: "true"}))
	case pipeline.RawAudio:
		chain = append(chain,
			b.insert(s, name+".convert", "audioconvert", why, o.kind),
			b.insert(s, name+".resample", "audioresample", why, o.kind))
	default:
		return
	}
	filter := b.insert(s, name+".canvas", "capsfilter", "holds the first frame's format", o.kind)
	filter.Canvas, filter.Pad = true, o.ref.Pad
	for i, n := range append(chain, filter) {
		l := Link{From: o.node, To: n.ID, ToPad: "sink", Kind: o.kind, Edge: name}
		if i < len(chain) {
			l.CopiesMost = 1
		}
		b.link(l)
		o.node = n.ID
	}
}

// tee adds a tee behind an output that more than one stage takes.
func (b *builder) tee(s *Stage, o *outlet) {
	if o.consumers < 2 {
		return
	}
	name := o.ref.String()
	t := b.insert(s, name+".tee", "tee", fmt.Sprintf("%d stages take %s", o.consumers, name), o.kind)
	b.link(Link{From: o.node, To: t.ID, ToPad: "sink", Caps: o.caps, Kind: o.kind, Edge: name})
	o.node, o.caps = t.ID, ""
}

// native adds what leads to a native stage, and its own elements.
func (b *builder) native(s *Stage) {
	f := b.fragments[s]
	for i, ref := range s.Inputs {
		b.input(s, f, i, b.outs[ref.String()])
	}
	out := b.outs[s.ID]
	given := b.givenKinds(s, f)
	caps := ""
	for i, n := range f.Nodes {
		node := ownNode(s, &n, given[i])
		node.ID = nodeName(s, f, i)
		if i == 0 {
			node.Patience = f.Patience
		}
		b.plan.Nodes = append(b.plan.Nodes, node)
		if i > 0 {
			b.link(Link{From: nodeName(s, f, i-1), To: node.ID, ToPad: b.sinkPad(n.Factory, given[i-1]), Caps: caps, Kind: given[i-1], Edge: s.ID})
		}
		caps = n.Caps
	}
	if s.Role == pipeline.RoleSink {
		b.handOver(s, f)
		b.output(s, f)
		b.shortQueue(s)
		b.keyFrames(s)
		return
	}
	out.node, out.caps = nodeName(s, f, len(f.Nodes)-1), caps
	b.tee(s, out)
}

// handOver adds what gives the bytes of a sink's muxer to a sink in Go.
func (b *builder) handOver(s *Stage, f *fragment) {
	if _, ok := s.Element.(pipeline.Writer); !ok {
		return
	}
	data := pipeline.Kind{Media: pipeline.Data}
	// One or two fragments may wait; what is behind has a buffer of its own.
	n := b.insert(s, s.ID+".write", "appsink", "hands the bytes to "+s.Type, data,
		pipeline.Setting{Name: "sync", Value: "false"}, pipeline.Setting{Name: "async", Value: "false"},
		pipeline.Setting{Name: "max-buffers", Value: "64"}, pipeline.Setting{Name: "enable-last-sample", Value: "false"},
		pipeline.Setting{Name: "wait-on-eos", Value: "false"})
	b.link(Link{From: nodeName(s, f, len(f.Nodes)-1), To: n.ID, ToPad: "sink", Kind: data, Edge: s.ID})
}

// sinkPad is the pad that a stream enters an element by: "sink", unless its plugin
// calls the one for this kind otherwise.
func (b *builder) sinkPad(factory string, kind pipeline.Kind) string {
	f, _ := b.cat.Factory(factory)
	for _, pad := range f.Pads {
		if !pad.Source && pad.Presence == "always" && slices.Contains(pipeline.KindsOfCaps(pad.Caps), kind) {
			return pad.Name
		}
	}
	return "sink"
}

// givenKinds tells what leaves each node of a fragment. Its last node gives the
// fragment's output; for those before it the plugin's own pads decide between
// that and what came in.
func (b *builder) givenKinds(s *Stage, f *fragment) []pipeline.Kind {
	kinds := make([]pipeline.Kind, len(f.Nodes))
	for i := range kinds {
		kinds[i] = f.Output
	}
	if s.Role == pipeline.RoleSink {
		_, goes := s.Element.(pipeline.Writer)
		for i := range kinds {
			if goes || i < len(kinds)-1 {
				kinds[i] = pipeline.Kind{Media: pipeline.Data}
			}
		}
		return kinds
	}
	in, _ := b.kindOf(s.Inputs[0])
	for i := range kinds[:len(kinds)-1] {
		can := b.canGive(f.Nodes[i].Factory)
		if !can[f.Output] && can[in] {
			kinds[i] = in
		}
	}
	return kinds
}

// canGive lists the kinds that an installed factory can give.
func (b *builder) canGive(factory string) map[pipeline.Kind]bool {
	can := map[pipeline.Kind]bool{}
	f, _ := b.cat.Factory(factory)
	for _, pad := range f.Pads {
		if pad.Source {
			for _, k := range pipeline.KindsOfCaps(pad.Caps) {
				can[k] = true
			}
		}
	}
	return can
}

// output records what a sink will write.
func (b *builder) output(s *Stage, f *fragment) {
	o := Output{Stage: s.ID, Node: nodeName(s, f, 0), File: f.File, Container: f.Container, Recovery: f.Recovery,
		Where: f.Where, Optional: s.Optional, Restart: f.Restart, Linger: f.Linger, Segment: f.Segment}
	for _, ref := range s.Inputs {
		o.Streams = append(o.Streams, OutputStream{
			Edge: edge(ref, s), Kind: b.outs[ref.String()].kind, From: ref.String(),
		})
	}
	if len(b.changing(s, false)) > 0 {
		o.Change = changeOf(f)
	}
	b.plan.Outputs = append(b.plan.Outputs, o)
}

func edge(ref Ref, s *Stage) string { return ref.String() + " -> " + s.ID }
