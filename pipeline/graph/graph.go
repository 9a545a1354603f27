package graph

import (
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// Version is the only version of the graph file that there is.
const Version = 1

// Graph is a checked graph file: every stage has its element with all
// properties set, every input leads to an output that exists, nothing goes in
// circles. What needs to know the installed plugins is checked by [NewPlan].
type Graph struct {
	Name   string   // [graph] name, or the file's name without its ending
	File   string   // as given to Load or Parse
	Stages []*Stage // in the order of the file
	Notes  []string // what is allowed but looks like a mistake
}

// Stage is an element used under an id.
type Stage struct {
	ID      string
	Role    pipeline.Role
	Type    string
	Element pipeline.Element
	Inputs  []Ref
	Queue   *QueueSpec // nil when the file says nothing about the queue
	// Optional sinks (required = false) can neither hold up nor end the others.
	Optional bool
	// Transcode says what becomes of a stream that a sink cannot take:
	// TranscodeAuto or TranscodeNever; "" is auto.
	Transcode string
	Pos       pipeline.Pos // of its table header

	mark  *mark
	index *index
	specs []*pipeline.Spec
	// broken stages have been reported: their element is missing or not fully
	// set, so that nothing more can be said about what they take and give.
	broken bool
	// misplaced stages have an element of another role than their table's.
	misplaced bool
	// inputsKnown is false when the list of inputs could not be read in full.
	inputsKnown bool
}

// Ref names an output as an input does: "id" or "id.pad".
type Ref struct {
	Stage string
	Pad   string // "" for the only output of a stage
	Pos   pipeline.Pos

	known bool // it leads to an output
}

func (r Ref) String() string {
	if r.Pad == "" {
		return r.Stage
	}
	return r.Stage + "." + r.Pad
}

// QueueSpec is `queue = { time = …, size = …, when_full = … }`: the bounds of the
// queue in front of a stage, and for a sink what happens at them. A bound that
// the file leaves out is 0.
type QueueSpec struct {
	Time     time.Duration
	Size     int64  // bytes
	WhenFull string // one of whenFull; "" leaves it to the planner
	Pos      pipeline.Pos
}

// What happens with a frame for which the queue of a sink has no room.
const (
	WhenFullBlock      = "block"       // what is before the queue waits
	WhenFullDropGOP    = "drop_gop"    // encoded: nothing is taken up to the next key frame
	WhenFullDropNewest = "drop_newest" // raw: the frame is left out
	WhenFullDropOldest = "drop_oldest" // raw: the frame that waited longest is left out
)

var whenFull = []string{WhenFullBlock, WhenFullDropGOP, WhenFullDropNewest, WhenFullDropOldest}

// PosOf is where the value of one of the stage's keys stands: "bitrate", or
// "gst.rc-lookahead" for a key of a table. What was set with --set reads so. A
// key that is not in the file gives the position of the deepest table around
// it, at last that of the stage.
func (s *Stage) PosOf(key string) pipeline.Pos {
	if s.mark == nil {
		return s.Pos
	}
	m, _ := s.mark.lookup(key)
	if m == s.mark {
		return s.Pos
	}
	return s.index.valuePos(m)
}

// Specs are the stage's properties, whose Set stores into its element.
func (s *Stage) Specs() []*pipeline.Spec { return s.specs }

// Become gives the stage another element, as when an encoder is swapped while it
// runs; specs set the properties of that one.
func (s *Stage) Become(typ string, e pipeline.Element, specs []*pipeline.Spec) {
	s.Type, s.Element, s.specs = typ, e, specs
}

// has tells whether the file or the command line sets a key of the stage.
func (s *Stage) has(key string) bool {
	if s.mark == nil {
		return false
	}
	_, ok := s.mark.lookup(key)
	return ok
}

// spec finds the declaration of a property; for a key of a table, such as
// "gst.rc-lookahead", there is none.
func (s *Stage) spec(name string) *pipeline.Spec {
	for _, sp := range s.specs {
		if sp.Name == name {
			return sp
		}
	}
	return nil
}

// stage finds a stage by its id.
func (g *Graph) stage(id string) *Stage {
	for _, s := range g.Stages {
		if s.ID == id {
			return s
		}
	}
	return nil
}
