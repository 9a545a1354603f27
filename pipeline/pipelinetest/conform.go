package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// Options tell the suite about an element.
type Options struct {
	// Props gives values that the element needs, as TOML has them: string, int64,
	// float64, bool, []string. Each run calls it anew, for a path of its own.
	Props func(t *testing.T) map[string]any
	// Changes: it may give out another number of frames than it takes.
	Changes bool
	// Kind is what a stage or sink that takes several kinds is tried with; the
	// zero Kind takes the first.
	Kind pipeline.Kind
}

// limit bounds one run; the suite's own take a second or two.
const limit = 60 * time.Second

// frameCount is how many frames a run has: more than every encoder looks ahead.
const frameCount = 90

// Conform runs the whole suite on a registered type; with -short, what finds most.
func Conform(t *testing.T, typ string, o Options) {
	t.Run("properties", func(t *testing.T) { Properties(t, typ) })
	reg := lookup(t, typ)
	if reg.Role == pipeline.RoleSource {
		t.Run("source", func(t *testing.T) { conformSource(t, reg, o) })
		return
	}
	s := &suite{reg: reg, o: o, kind: kindFor(t, reg, o)}
	t.Run("every frame", s.everyFrame)
	t.Run("a source that fails", s.failing)
	t.Run("live properties", s.live)
	if testing.Short() {
		return
	}
	t.Run("end without a frame", s.noFrame)
	t.Run("a change of format", s.resized)
	t.Run("a slow sink", s.slow)
	t.Run("a stop", s.stopped)
	t.Run("a kill", s.killed)
	t.Run("nothing left behind", s.leaks)
}

type suite struct {
	reg  pipeline.Registration
	o    Options
	kind pipeline.Kind
}

// kindFor finds what to try an element with.
func kindFor(t *testing.T, reg pipeline.Registration, o Options) pipeline.Kind {
	t.Helper()
	e := element(t, reg, o)
	f, _, err := pipeline.FragmentOf(e, reg.Role, run.Catalog())
	if err != nil {
		t.Fatalf("%s does not say what it consists of: %v; give it what it needs in Options.Props", reg.Type, err)
	}
	for _, in := range f.Inputs {
		for _, k := range in.Accepts {
			if (o.Kind == pipeline.Kind{} || o.Kind == k) && (k.IsRaw() || encoders[k] != "") {
				return k
			}
		}
	}
	t.Fatalf("%s takes nothing that this suite can give", reg.Type)
	return pipeline.Kind{}
}

// element makes one with the properties of the options.
func element(t *testing.T, reg pipeline.Registration, o Options) pipeline.Element {
	t.Helper()
	e := reg.New()
	props := o.props(t)
	for _, s := range pipeline.Specs(e) {
		v, ok := props[s.Name]
		if list, isList := v.([]string); isList {
			var any []any
			for _, x := range list {
				any = append(any, x)
			}
			v = any
		}
		if ok {
			if err := s.Set(v); err != nil {
				t.Fatalf("Options.Props: %s: %v", s.Name, err)
			}
		}
	}
	return e
}

func (o Options) props(t *testing.T) map[string]any {
	if o.Props == nil {
		return nil
	}
	return o.Props(t)
}

// encoders make what an element takes that is not raw.
var encoders = map[pipeline.Kind]string{
	{Media: pipeline.Video, Codec: "h264"}: "x264enc", {Media: pipeline.Video, Codec: "vp8"}: "vp8enc",
	{Media: pipeline.Audio, Codec: "opus"}: "opusenc", {Media: pipeline.Audio, Codec: "mp3"}: "lamemp3enc",
	{Media: pipeline.Audio, Codec: "flac"}: "flacenc",
}

func init() {
	pipeline.Register[coder]("pipelinetest-encoder", "Any encoder at its fastest, for tests.")
}

// IsOwn tells that a type is registered by this package, for graphs of tests.
func IsOwn(typ string) bool { return typ == Source || typ == Sink || typ == "pipelinetest-encoder" }

type coder struct{ factory, kind string }

func (c *coder) Props(p *pipeline.Props) {
	p.String(&c.factory, "factory", "x264enc", "GStreamer's name of it.")
	p.String(&c.kind, "kind", "h264 video", "What it gives.")
}

func (c *coder) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	for _, k := range pipeline.Codecs() {
		if k.Kind.String() != c.kind {
			continue
		}
		n := pipeline.Node{Factory: c.factory}
		if c.factory == "x264enc" {
			n.Set = []pipeline.Setting{{Name: "speed-preset", Value: "ultrafast"}, {Name: "tune", Value: "zerolatency"}}
		}
		raw := pipeline.Kind{Media: k.Kind.Media, Codec: pipeline.Raw}
		return pipeline.Fragment{Nodes: []pipeline.Node{n}, Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{raw}, Max: 1}}, Output: k.Kind}, nil
	}
	return pipeline.Fragment{}, fmt.Errorf("no codec %q", c.kind)
}

// graphOf writes a graph with the element in it.
func (s *suite) graphOf(t *testing.T, source, sink string) *graph.Plan {
	t.Helper()
	var b strings.Builder
	from := "in." + s.kind.Media.String()
	fmt.Fprintf(&b, "version = 1\n[sources.in]\ntype = %q\n%s\n", Source, source)
	if !s.kind.IsRaw() {
		fmt.Fprintf(&b, "[stages.coded]\ntype = \"pipelinetest-encoder\"\nfactory = %q\nkind = %q\ninputs = [%q]\n", encoders[s.kind], s.kind, from)
		from = "coded"
	}
	fmt.Fprintf(&b, "[%s.it]\ntype = %q\ninputs = [%q]\n%s", s.reg.Role.Table(), s.reg.Type, from, toml(s.o.props(t)))
	if s.reg.Role == pipeline.RoleStage {
		fmt.Fprintf(&b, "[sinks.out]\ntype = %q\ninputs = [\"it\"]\n%s\n", Sink, sink)
	}
	p, err := graph.ParsePlan("conform.toml", []byte(b.String()), graph.Options{}, run.Catalog())
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, b.String())
	}
	return p
}

func toml(props map[string]any) string {
	var lines []string
	for k, v := range props {
		switch x := v.(type) {
		case string:
			lines = append(lines, fmt.Sprintf("%s = %q\n", k, x))
		case []string:
			lines = append(lines, fmt.Sprintf("%s = [%s]\n", k, strings.Trim(strings.ReplaceAll(fmt.Sprintf("%q", x), "\" \"", "\", \""), "[]")))
		default:
			lines = append(lines, fmt.Sprintf("%s = %v\n", k, x))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// carry runs a plan, and fails the test when it does not come to an end.
func carry(t *testing.T, ctx context.Context, p *graph.Plan, o run.Options) (*run.Manifest, error) {
	t.Helper()
	type outcome struct {
		m   *run.Manifest
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		m, err := run.Run(ctx, p, o)
		done <- outcome{m, err}
	}()
	select {
	case r := <-done:
		return r.m, r.err
	case <-time.After(limit):
		buf := make([]byte, 1<<20)
		t.Fatalf("the run does not come to an end:\n%s", buf[:runtime.Stack(buf, true)])
		return nil, nil
	}
}

func (s *suite) everyFrame(t *testing.T) {
	m, err := carry(t, context.Background(), s.graphOf(t, fmt.Sprintf("frames = %d", frameCount), ""), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	got := m.Outputs[0].Streams[0]
	if got.Sent == 0 || s.kind.Media == pipeline.Video && !s.o.Changes && got.Sent != frameCount {
		t.Errorf("%d frames came out, %d went in", got.Sent, frameCount)
	}
}

func (s *suite) noFrame(t *testing.T) {
	carry(t, context.Background(), s.graphOf(t, "none = true", ""), run.Options{})
}

func (s *suite) failing(t *testing.T) {
	_, err := carry(t, context.Background(), s.graphOf(t, "frames = 90\nfail = 45", ""), run.Options{})
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Stage != "in" {
		t.Errorf("got %v, want the error of the source", err)
	}
}

func (s *suite) resized(t *testing.T) {
	m, err := carry(t, context.Background(), s.graphOf(t, "frames = 90\nresize = 45", ""), run.Options{})
	if err != nil || !m.Complete {
		t.Errorf("err %v; the source keeps the first size, so the element sees no change", err)
	}
}

func (s *suite) slow(t *testing.T) {
	m, err := carry(t, context.Background(), s.graphOf(t, "frames = 60", "wait = 5000"), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if got := m.Outputs[0].Streams[0]; s.kind.Media == pipeline.Video && !s.o.Changes && got.Sent != 60 {
		t.Errorf("%d of 60 frames came out", got.Sent)
	}
}

func (s *suite) stopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	m, err := carry(t, ctx, s.graphOf(t, "frames = 0\nslow = \"5ms\"", ""), run.Options{})
	if err != nil || !m.Complete || m.Reason != "signal" {
		t.Errorf("err %v, manifest %+v", err, m)
	}
}

func (s *suite) killed(t *testing.T) {
	kill := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(kill) })
	_, err := carry(t, context.Background(), s.graphOf(t, "frames = 0\nslow = \"5ms\"", "wait = 20000"), run.Options{Kill: kill})
	if !errors.Is(err, run.ErrKilled) {
		t.Errorf("got %v, want the error of a kill", err)
	}
}

// live sets each property that may change, to its default, while frames flow.
func (s *suite) live(t *testing.T) {
	c, done, changed := run.NewControl(), make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer close(changed)
		defer cancel() // it flows as long as there is something to change
		time.Sleep(300 * time.Millisecond)
		for _, spec := range pipeline.Specs(s.reg.New()) {
			err := c.Set(done, "it", spec.Name, written(spec))
			switch {
			case spec.Live && spec.Default != "" && err != nil:
				t.Errorf("%s is said to be live: %v", spec.Name, err)
			case !spec.Live && err == nil:
				t.Errorf("%s is not said to be live, and was changed", spec.Name)
			}
		}
	}()
	m, err := carry(t, ctx, s.graphOf(t, "frames = 0\nslow = \"5ms\"", ""), run.Options{Control: c})
	close(done)
	<-changed
	if err != nil || !m.Complete {
		t.Errorf("err %v, manifest %+v", err, m)
	}
}

// leaks runs the element again and again: goroutines and file descriptors must
// not become more.
func (s *suite) leaks(t *testing.T) {
	once := func() {
		if _, err := carry(t, context.Background(), s.graphOf(t, "frames = 30", ""), run.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	once() // what stays for good: GStreamer's own threads and caches
	once()
	g, f := resources()
	for range 4 {
		once()
	}
	if g2, f2 := resources(); g2 > g || f2 > f {
		t.Errorf("after four more runs there are %d goroutines, %d before; %d file descriptors, %d before", g2, g, f2, f)
	}
}

// resources counts goroutines and file descriptors, once they have settled.
func resources() (goroutines, fds int) {
	for range 20 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
		if n := runtime.NumGoroutine(); n == goroutines {
			break
		} else {
			goroutines = n
		}
	}
	names, _ := os.ReadDir("/proc/self/fd")
	return goroutines, len(names)
}

// conformSource checks what every source must do before any producer is there.
func conformSource(t *testing.T, reg pipeline.Registration, o Options) {
	src := element(t, reg, o).(pipeline.Source)
	if _, err := src.Output("no such pad!"); err == nil {
		t.Errorf("a pad that cannot be got no error")
	}
}
