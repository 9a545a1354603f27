package graph

import (
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// Plan is a graph with nothing left open: every GStreamer element that will
// run, with its properties, and every link between them. What the graph file
// did not name has its reason in Node.Why.
type Plan struct {
	Name    string   `json:"name"`
	File    string   `json:"file"`
	Nodes   []*Node  `json:"nodes"` // in the order of the flow
	Links   []Link   `json:"links"` // in the order of the flow
	Outputs []Output `json:"outputs"`
	Notes   []Note   `json:"notes,omitempty"`
	Graph   *Graph   `json:"-"`
}

// Node is one GStreamer element.
type Node struct {
	ID      string             `json:"id"`            // unique; becomes the element's name
	Stage   string             `json:"stage"`         // the stage it belongs to, or was put in for
	Why     string             `json:"why,omitempty"` // why the planner put it in; "" for a stage's own elements
	Factory string             `json:"factory"`       // "appsrc" for a pad of a source
	Set     []pipeline.Setting `json:"set,omitempty"`
	Source  bool               `json:"source,omitempty"` // a pad of a source
	Pad     string             `json:"pad,omitempty"`    // which one; of a Canvas, the pad whose format it holds
	// Canvas marks a capsfilter whose caps the run fixes at the first format of
	// the source's pad, so that later formats are scaled to it.
	Canvas bool `json:"canvas,omitempty"`
	// Gate is what happens at a full queue in front of an output, "block" or one
	// that drops; "" for every other node. From such a node on, the output runs
	// in a pipeline of its own.
	Gate string `json:"gate,omitempty"`
	// KeyInterval and KeyFrames are those of [pipeline.Node].
	KeyInterval time.Duration `json:"key_interval_ns,omitempty"`
	KeyFrames   string        `json:"-"`
	// Secrets are those of [pipeline.Node].
	Secrets map[string]func() (string, error) `json:"-"`
	// Patience is that of [pipeline.Fragment].
	Patience time.Duration `json:"patience_ns,omitempty"`
	Kind     pipeline.Kind `json:"kind,omitzero"` // what leaves it; the zero Kind after a sink's last element
}

// Link joins the source pad of one node to a sink pad of another.
type Link struct {
	From  string `json:"from"`           // node id
	To    string `json:"to"`             // node id
	ToPad string `json:"to_pad"`         // "sink", a request template such as "video_%u", or a pad of one: "sink_0"
	Caps  string `json:"caps,omitempty"` // the only caps that may pass
	// Set are properties of the pad that the link ends at.
	Set  []pipeline.Setting `json:"set,omitempty"`
	Kind pipeline.Kind      `json:"kind"`
	// Edge is the edge of the graph that the link is part of, "bot.video -> h264".
	// A link inside a stage, or on the way to its tee, has the name of that
	// output alone: "bot.video", "h264".
	Edge string `json:"edge"`
	// Copies is how often each raw frame is copied on the link and in the node
	// behind it when its format is what the next element takes, CopiesMost how
	// often when it is not. Encoded frames are small and not counted.
	Copies     int `json:"copies"`
	CopiesMost int `json:"copies_most"`
}

// Output is what a sink will write.
type Output struct {
	Stage     string         `json:"stage"`
	Node      string         `json:"node"` // the node that takes the inputs
	File      string         `json:"file,omitempty"`
	Container string         `json:"container,omitempty"`
	Where     string         `json:"where,omitempty"`    // of an output that is no file
	Optional  bool           `json:"optional,omitempty"` // it can neither hold up nor end the others
	Recovery  string         `json:"recovery,omitempty"` // what is left after a kill -9
	Streams   []OutputStream `json:"streams"`

	// Change, on an output whose video may change its size, says what is done then:
	// "new part", "in band" or "made anew"; "" where it cannot.
	Change string `json:"change,omitempty"`

	Restart *pipeline.Restart `json:"-"`
	Segment *pipeline.Segment `json:"-"`
	Linger  time.Duration     `json:"-"`
}

// OutputStream is one stream of an output.
type OutputStream struct {
	Edge string        `json:"edge"` // "h264 -> local"
	Kind pipeline.Kind `json:"kind"`
	From string        `json:"from"` // the output it comes from: "h264", "bot.video"
}

// Note is something to know about a plan that stops nobody.
type Note struct {
	Pos   string `json:"pos,omitempty"` // "meeting.toml:12:1"
	Stage string `json:"stage,omitempty"`
	Text  string `json:"text"`
}

// NewPlan resolves a graph with what is installed. The error is a
// [pipeline.Errors] with everything that cannot work.
func NewPlan(g *Graph, cat pipeline.Catalog) (*Plan, error) {
	return newPlan(g, cat, &problems{file: g.File})
}

// newPlan checks what the sound stages of a graph can tell, and builds the plan
// when neither it nor whoever filled errs before found anything wrong.
func newPlan(g *Graph, cat pipeline.Catalog, errs *problems) (*Plan, error) {
	p := &planner{graph: g, cat: cat, errs: errs, ids: map[string]*Stage{}, fragments: map[*Stage]*fragment{}, seconds: map[string]*Stage{}}
	for _, s := range g.Stages {
		if _, dup := p.ids[s.ID]; !dup {
			p.ids[s.ID] = s
		}
	}
	p.callFragments()
	p.transcode()
	p.matchInputs()
	p.changes()
	p.sameFiles()
	p.support()
	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return p.build(), nil
}

// planner is the state of one NewPlan.
type planner struct {
	graph     *Graph
	cat       pipeline.Catalog
	errs      *problems
	ids       map[string]*Stage
	fragments map[*Stage]*fragment // of the native stages that gave one

	notes   []Note
	seconds map[string]*Stage // encoders put in for sinks, by raw input and type
	owned   bool              // graph is the planner's own copy
}

// fragment is a stage's fragment with the input that each reference takes.
type fragment struct {
	pipeline.Fragment
	inputs []pipeline.Input // by index of the stage's Inputs
	// guessed fragments name an element that is not installed and that nobody
	// but the user knows: what it gives cannot be told.
	guessed bool
}

// kindOf tells what an input brings; false when that cannot be said because
// something is wrong there, which is reported elsewhere.
func (p *planner) kindOf(ref Ref) (pipeline.Kind, bool) {
	s := p.ids[ref.Stage]
	if s == nil || s.broken {
		return pipeline.Kind{}, false
	}
	if src, ok := s.Element.(pipeline.Source); ok {
		k, err := src.Output(ref.Pad)
		return k, err == nil
	}
	f := p.fragments[s]
	if f == nil || f.guessed || s.Role != pipeline.RoleStage || ref.Pad != "" {
		return pipeline.Kind{}, false
	}
	return f.Output, f.Output != pipeline.Kind{}
}
