package pipeline

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Writer is a sink in Go: its fragment ends in a muxer, and what that gives out,
// a container's bytes from front to back, is written to it.
//
// Begin, Write and Finish come from one goroutine, in this order; a Write that
// blocks is backpressure. Exactly one of Finish and Abandon ends a Writer that
// was begun.
//
// Where the fragment has a Restart, an error begins all of this anew, with Begin,
// unless it or one that it wraps has a method Final() bool that gives true.
type Writer interface {
	Native
	// Begin runs once frames are about to flow. ctx ends when the run is killed.
	Begin(ctx context.Context, env *OutputEnv) error
	// Write takes the next bytes; they may not be kept.
	io.Writer
	// Finish completes the output: all was written. It may take as long as it
	// makes progress, until ctx ends.
	Finish(ctx context.Context) error
	// Abandon leaves the output as it is, because of reason; what can be resumed
	// later stays resumable. It may come while a Write blocks, and ends that.
	Abandon(reason error)
}

// OutputEnv is what a run gives to a Writer.
type OutputEnv struct {
	Stage string
	Pos   Pos
	Log   *slog.Logger
	// Starts tells of each input, in order, when its first frame is to be shown.
	// It may be called from Write: what a muxer gave out came in before.
	Starts func() []StreamStart
	// Zero is the time of day at running time 0; zero while that is not known.
	Zero func() time.Time
}

// StreamStart is where a stream begins.
type StreamStart struct {
	Kind  Kind
	First time.Duration // running time; negative while no frame came
}

// Prober is an element that can try, without leaving a trace, whether what it
// needs outside the process is there: a server, a bucket, space on a disk.
// `mpipe check --connect` asks it. Unlike Open it claims nothing.
type Prober interface {
	Probe(ctx context.Context) error
}

// Guard is a sink that watches over what it writes to. Its Watch is called about
// once a second while frames flow; an error ends this output in good order,
// finalised with what it has, and makes it incomplete.
type Guard interface {
	Watch() error
}

// Fetcher is an output elsewhere that can be read back. Fetch brings it to a
// local file, which remove deletes; an empty path means it was not wanted.
type Fetcher interface {
	Fetch(ctx context.Context) (path string, remove func(), err error)
}

// Verifier is an output whose other side can be asked what arrived, such as a
// server's statistics. An error makes the output incomplete.
type Verifier interface {
	Verify(ctx context.Context, sent Delivery) error
}

// Delivery is what an output was given, as far as mpipe can know.
type Delivery struct {
	Bytes    int64 // since the latest connection
	Connects int64
}

// OutputReporter is a sink that can tell how it is doing. ReportOutput may be
// called from any goroutine at any time once the output was opened.
type OutputReporter interface {
	ReportOutput() OutputReport
}

// OutputReport is what an output that reaches beyond this machine says of itself.
type OutputReport struct {
	Where     string `json:"where,omitempty"`           // "s3://bucket/key", with no secret in it
	Confirmed int64  `json:"confirmed_bytes,omitempty"` // the other side has said it has them
	Spooled   int64  `json:"spooled_bytes,omitempty"`   // wait on the local disk
	Retries   int64  `json:"retries,omitempty"`
	LastError string `json:"last_error,omitempty"`
	Resume    string `json:"resume,omitempty"` // the command that completes what is not
}

// Restart says how the output of a fragment is made anew when it fails.
type Restart struct {
	Min, Max time.Duration // wait before the first and the longest wait, each with jitter
	GiveUp   time.Duration // fail when it has not worked for so long; 0 never does
	Stall    time.Duration // fail an attempt that takes nothing for so long, though frames wait; 0 never does
	// Final tells by what an element said, without secrets, that no further
	// attempt can work; nil never does.
	Final func(text string) bool
}

// Change is what an output does when its video goes on in another size or form,
// as a source with on_format_change = "segment" has it.
type Change int

const (
	ChangeRefused Change = iota // it has one size for all its length: the planner says so
	ChangeInBand                // it goes on, as MPEG-TS can
	ChangeAnew                  // it ends in good order and begins again, with the new size
)

// Segment has a sink's file go on in further files, each one whole by itself. A
// part ends before a key frame, and the next begins with it, in sound as in
// picture; no frame is lost between them or written twice.
type Segment struct {
	// Time and Size end a part besides a change of its video's size, which always does.
	Time time.Duration // a part ends at the first key frame this far from its first; 0 is no bound
	Size int64         // or, about, when it has so many bytes; 0 is no bound
	// File is the path of part n, counted from 0, and the value that the last
	// node's property "location" then has.
	File func(n int) string
	// Claim takes the name of a part after the first, which Open claims.
	Claim func(n int) error
	// Done is told of each part that is finished.
	Done func(Part) error
}

// Part is one file of a Segment.
type Part struct {
	File     string
	Start    time.Duration // running time of its first frame
	Duration time.Duration
}
