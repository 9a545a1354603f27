package pipeline

import (
	"context"
	"log/slog"
	"time"
)

// Element is one kind of stage. A new value is made for each stage that uses
// it; Props is called once on it, before anything else.
type Element interface {
	Props(p *Props)
}

// Checker is an element that has something to check beyond single properties.
// Check runs after the properties are set and before anything starts; it may
// not touch the network or the disk. An error without a position gets that of
// the stage; use [At] to point at one property.
type Checker interface {
	Check() error
}

// Native is an element made of GStreamer elements, as data: no code of its own
// runs while frames flow.
type Native interface {
	Element
	// Fragment is called once, after the properties are set and checked. cat
	// knows what is installed. It must not have side effects.
	Fragment(cat Catalog) (Fragment, error)
}

// Joiner is a Native whose elements depend on what the graph gives it: on how many
// inputs it has, or of which medium. Join is called at most once, before Fragment,
// with the inputs in the graph's order. Without it Fragment tells what the type can
// do at all.
type Joiner interface {
	Native
	Join(inputs []Given) error
}

// Given is one input of a [Joiner].
type Given struct {
	Name string // as the graph file names it: "bot.video"
	Kind Kind
}

// Chooser is a Native whose elements depend on what takes its output. Choose is
// called at most once, after Join and before Fragment, with the kinds that each
// sink holds to which it goes. why says for people what was chosen and for what
// reason.
type Chooser interface {
	Native
	Choose(cat Catalog, taken [][]Kind) (why string, err error)
}

// Opener is an element that must look at, or claim, something outside the
// process before frames flow: a directory, a file name. Open runs after the
// plan is made and before any source attaches; an error means nothing started.
type Opener interface {
	Open(ctx context.Context) error
}

// Fragment is a chain of GStreamer elements.
type Fragment struct {
	// Nodes are linked first to last. Inputs arrive at the first, the output
	// leaves the last.
	Nodes []Node
	// Inputs are what the first node takes. A filter or encoder has one with
	// Max 1; a muxing sink has one per medium.
	Inputs []Input
	// Output is what leaves the last node; the zero Kind for a sink.
	Output Kind
	// File is the path a sink writes, "" for everything else.
	File string
	// Container is the name of the container a sink writes ("mp4"), or "".
	Container string
	// Recovery says what a sink's output still holds after a kill -9, for
	// `mpipe explain`: "all but the last second".
	Recovery string
	// Where names a sink's output that is no file, without secrets:
	// "rtmp://host/app".
	Where string
	// Live outputs are for watching now: rather than hold up the encoders they
	// leave frames out, unless the graph says otherwise.
	Live bool
	// Patience bounds how long a first node with several inputs waits, by the
	// clock on the wall, for one that says nothing while others have something;
	// then it goes on as if a gap came there. 0 waits for ever.
	Patience time.Duration
	// QueueTime is how much of each encoded stream waits in front of a sink when
	// the graph does not say; 0 leaves that to the planner.
	QueueTime time.Duration
	// Restart has a sink's elements made anew when they fail; nil does not.
	Restart *Restart
	// Segment has a sink's File go on in further files; nil does not.
	Segment *Segment
	// Change is what a sink without a Segment does when a video it takes goes on
	// in another size; one with a Segment begins its next part.
	Change Change
	// Linger is how long a sink's elements are left alone behind the end of the
	// stream, to send what they have taken.
	Linger time.Duration
}

// Node is one GStreamer element.
type Node struct {
	Factory string    // GStreamer's name of the factory
	Package string    // the Debian package that holds it, for the error when it is missing
	Set     []Setting // properties, in GStreamer's own words, set in this order
	Caps    string    // caps forced on its output; "" forces none
	// Secrets gives, at the last moment, the values of the properties in Set that
	// hold a secret; there stands what may be shown instead.
	Secrets map[string]func() (string, error)
	// KeyInterval has a video encoder make a key frame this often; 0 leaves it
	// alone. KeyFrames names its property that counts the same in frames.
	// Without it, or with a variable frame rate, key frames are requested by
	// time stamp.
	KeyInterval time.Duration
	KeyFrames   string
}

// Setting is one property of a GStreamer element. Value is a string as
// gst-launch takes it; enums by nick. Name is the property as installed.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Input is what one kind of sink pad takes.
type Input struct {
	Pad     string // "sink", a request template such as "video_%u", or a pad of one: "sink_0"
	Accepts []Kind // an input is refused unless it is one of these
	Max     int    // how many streams; 0 is any number
	Caps    string // caps the pad must see, such as "video/x-h264,stream-format=avc"; "" leaves it open
	// Nodes, without Caps, stand in front of the pad, and Set are properties of the
	// pad itself. Both are for inputs with a Max of 1.
	Nodes []Node
	Set   []Setting
}

// Source is an element that brings frames into the graph, in Go.
type Source interface {
	Element
	// Output tells what the pad gives, from its name alone: the producer need
	// not be there. An error says which pads there can be.
	Output(pad string) (Kind, error)
	// Open attaches to whatever gives the frames and returns when every outlet
	// of env has a counterpart, or fails. It honours ctx.
	Open(ctx context.Context, env *SourceEnv) error
	// Run delivers frames to the outlets until the stream ends, then sends EOS
	// to each outlet and returns nil. When ctx is done it takes nothing new
	// from the producer, delivers what it had committed, sends EOS and returns.
	// It returns an error, without EOS, when frames were lost or cannot go on.
	Run(ctx context.Context) error
	// Close gives everything back. It comes after Run, when no frame is out any
	// more, unless GStreamer hung; Report still answers afterwards.
	Close() error
}

// SourceEnv is what a run gives to a source.
type SourceEnv struct {
	Stage    string
	Pos      Pos
	Log      *slog.Logger
	Outlets  map[string]Outlet // by pad, the pads the graph uses
	Timeline *Timeline
}

// Outlet is where a source puts the frames of one pad. Its methods never block
// and belong to the source's one goroutine.
type Outlet interface {
	// Room tells whether a frame may be pushed now. It is false until every
	// source had the time to set its first formats: only then is the pipeline
	// started. It turns true at a wake-up of the Wake given to Notify.
	Room() bool
	// Hungry tells that downstream has nothing left to work on and waits. With
	// frames of this source still held downstream that is the sign of an
	// encoder that looks ahead.
	Hungry() bool
	// Notify names the eventcount to wake when Room or Hungry turns true.
	Notify(w Wake)
	// SetFormat must come before the first frame and at each change.
	SetFormat(f Format) error
	// Push hands a frame over. Its cell is released when the graph has done
	// with it; at once when Push fails.
	Push(b *Borrowed) error
	// Fill covers a hole, from the capture stamp on for d, with the latest
	// picture or with silence: muxers wait for a stream that says nothing. It
	// gives the number of frames put in; 0 when it can do nothing yet.
	Fill(stamp, d time.Duration) (int64, error)
	// EOS ends the pad.
	EOS() error
}

// Reporter is a source that can tell how it is doing. Report may be called from
// any goroutine at any time once Open was called.
type Reporter interface {
	Report() SourceReport
}

// SourceReport is a source's counters. All counts are totals since the start.
type SourceReport struct {
	Producer string `json:"producer,omitempty"` // who writes: "mpipe feed (pid 4711)"
	// ProducerDied: the last producer ended without a word.
	ProducerDied bool                 `json:"producer_died"`
	Capacity     int64                `json:"capacity_bytes"` // bytes of the buffer between producer and mpipe
	Used         int64                `json:"used_bytes"`
	HeldFrames   int64                `json:"held_frames"` // frames out in the graph now
	HeldMost     int64                `json:"held_most"`
	HeldBytes    int64                `json:"held_bytes"`
	CopyLimit    int64                `json:"copy_limit_bytes"` // most bytes of copies alive at a time
	CopiesAlive  int64                `json:"copies_alive_bytes"`
	Pads         map[string]PadReport `json:"pads"`
}

// PadReport is the counters of one pad of a source.
type PadReport struct {
	Frames      int64         `json:"frames"` // delivered into the graph
	Bytes       int64         `json:"bytes"`
	Copied      int64         `json:"copied_frames"` // of Frames, how many were copied on the way
	CopiedBytes int64         `json:"copied_bytes"`
	DroppedFull int64         `json:"dropped_full"`   // by the producer, the buffer was full
	Dropped     int64         `json:"dropped_policy"` // by the producer, of its own will
	Late        int64         `json:"dropped_late"`   // from before the start, or from where a hole was filled
	Filled      int64         `json:"filled"`         // put in where nothing came: repeated pictures, silence
	Lost        int64         `json:"lost"`           // committed or claimed by a producer that died, never delivered
	Blocked     time.Duration `json:"blocked_ns"`     // how long the producer waited for space
}
