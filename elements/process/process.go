package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

func init() {
	pipeline.Register[process]("process", "Pictures or sound that a program of yours changes: it reads one ring and writes another.")
}

const (
	// steady is how long a process must have worked for its failures before to be
	// forgotten.
	steady = 30 * time.Second
	// firstPause is the wait before the first restart; it doubles with each to the
	// longest.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// ringFrames is how many frames each ring has room for.
	ringFrames = 4
	// leastRing is the memory of a ring of small frames.
	leastRing = 256 << 10
)

// process is a stage in Go that has its frames changed by a child.
type process struct {
	command []string
	dir     string
	env     map[string]any
	media   string
	format  string
	onExit  string
	limit   int
	timeout time.Duration

	run   *pipeline.StageEnv
	count struct{ lost, restarts *atomic.Int64 }

	// of the streaming thread
	child    *child
	shape    shape         // of the frames that the child was told of
	failures int           // without a steady time between them
	since    time.Time     // when the present child began
	pause    time.Duration // before the next restart
	last     int64         // stamp of the latest frame
}

func (e *process) Props(p *pipeline.Props) {
	p.Strings(&e.command, "command", "The program and its arguments: [\"./myfilter\", \"--fast\"]. A name without a slash is looked up in PATH.", pipeline.Required)
	p.String(&e.dir, "dir", "", "The folder it runs in; without it mpipe's own.")
	p.Table(&e.env, "env", "Environment variables of the program besides mpipe's own: { LEVEL = \"3\" }.")
	p.String(&e.media, "media", "video", "What it takes and gives.", pipeline.OneOf("video", "audio"))
	p.String(&e.format, "format", "", "The layout of its frames in GStreamer's words; without it I420, and S16LE for sound. Other frames are converted first.")
	p.String(&e.onExit, "on_exit", "restart", "When the process ends, hangs or writes nonsense: start it again, or fail.", pipeline.OneOf("restart", "fail"))
	p.Int(&e.limit, "restarts", 5, "How often it is started again without half a minute of work in between, before the stage fails.", pipeline.Between(0, 1_000_000))
	p.Duration(&e.timeout, "timeout", "5s", "How long the process may take to attach, or for one frame, before it is taken to hang.", pipeline.AtLeast("10ms"))
}

func (e *process) Check() error {
	if len(e.command) == 0 || e.command[0] == "" {
		return pipeline.At("command", `it names no program; write command = ["./myfilter"]`)
	}
	known := ring.FourCCs()
	if e.media == "audio" {
		known = samples
	}
	if _, formats := e.Takes(); !slices.Contains(known, formats[0]) {
		return pipeline.At("format", "a ring has no %s in the layout %q; it has: %v", e.media, formats[0], known)
	}
	for name, v := range e.env {
		if _, ok := v.(string); !ok {
			return pipeline.At("env."+name, "want a text, got %v; put it in quotes", v)
		}
	}
	return nil
}

// samples are the layouts of sound that every program should be able to read.
var samples = []string{"S16LE", "S32LE", "F32LE"}

func (e *process) Takes() (pipeline.Kind, []string) {
	kind, format := pipeline.RawVideo, "I420"
	if e.media == "audio" {
		kind, format = pipeline.RawAudio, "S16LE"
	}
	if e.format != "" {
		format = e.format
	}
	return kind, []string{format}
}

// Open finds the program, so that a wrong name fails before anything starts.
func (e *process) Open(context.Context) error {
	path, err := program(e.command[0], e.dir)
	if err != nil {
		return pipeline.At("command", "%w; build it, or correct the path", err)
	}
	e.command[0] = path
	return nil
}

func (e *process) Start(env *pipeline.StageEnv) error {
	e.run = env
	e.count.lost, e.count.restarts = env.Counter("lost"), env.Counter("restarts")
	return nil
}

// Process gives a frame to the child and takes what becomes of it. While the child
// is started again the frame waits, and with it all that is before the stage.
func (e *process) Process(f *pipeline.Frame) error {
	s, err := shapeOf(f)
	if err != nil {
		return err
	}
	if e.child != nil && s != e.shape { // nothing of the old form is under way
		e.end()
	}
	e.shape = s
	if e.child == nil {
		if err := e.begin(); err != nil {
			if err = e.fail(err); err != nil {
				return err
			}
		}
	}
	stamp := e.stamp(f)
	err = e.child.exchange(f, stamp, e.timeout)
	for errors.Is(err, errNotGiven) { // the next one has it
		if err = e.fail(err); err != nil {
			return err
		}
		err = e.child.exchange(f, stamp, e.timeout)
	}
	if err == nil {
		return nil
	}
	e.count.lost.Add(1) // it may be what the process fails at
	if err := e.fail(err); err != nil {
		return err
	}
	return pipeline.ErrDrop
}

// stamp is the time of a frame's capture, as a ring has it; frames without one
// follow the last.
func (e *process) stamp(f *pipeline.Frame) int64 {
	e.last = max(int64(f.PTS+e.run.Timeline.Zero()), e.last+1)
	return e.last
}

// begin starts the process and attaches both rings.
func (e *process) begin() error {
	c, err := start(e.command, e.dir, e.variables(), e.shape, e.run, e.timeout)
	if err != nil {
		return err
	}
	e.child, e.since = c, time.Now()
	e.run.Log.Info("process attached", "command", filepath.Base(e.command[0]), "pid", c.pid())
	return nil
}

func (e *process) variables() []string {
	env := os.Environ()
	for name, v := range e.env {
		env = append(env, name+"="+v.(string))
	}
	return env
}

// fail ends a child that failed and starts others until one comes up; the error
// says that no further one may be tried.
func (e *process) fail(why error) error {
	for {
		if e.child != nil {
			if time.Since(e.since) > steady {
				e.failures, e.pause = 0, 0
			}
			if how := e.child.kill(); how != "" {
				why = fmt.Errorf("%w; it %s", why, how)
			}
			e.child = nil
		}
		e.failures++
		if e.onExit == "fail" {
			return fmt.Errorf(`%s: %w; set on_exit = "restart" to go on with another`, filepath.Base(e.command[0]), why)
		}
		if e.failures > e.limit {
			return fmt.Errorf("%s failed %d times: %w; see what it says in the log, or raise restarts", filepath.Base(e.command[0]), e.failures, why)
		}
		e.pause = min(max(firstPause, 2*e.pause), longestPause)
		e.run.Log.Warn("the process failed and is started again", "error", why, "in", e.pause)
		time.Sleep(e.pause)
		e.count.restarts.Add(1)
		if why = e.begin(); why == nil {
			return nil
		}
	}
}

// end tells a child that no more comes, and waits for it.
func (e *process) end() {
	if how := e.child.end(e.timeout); how != "" {
		e.run.Log.Warn("the process did not end well", "how", how)
	}
	e.child = nil
}

func (e *process) Close() error {
	if e.child != nil {
		e.end()
	}
	return nil
}
