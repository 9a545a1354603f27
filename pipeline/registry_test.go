package pipeline

import (
	"context"
	"testing"
	"time"
)

type testSource struct{}

func (*testSource) Props(*Props)                           {}
func (*testSource) Output(string) (Kind, error)            { return RawVideo, nil }
func (*testSource) Open(context.Context, *SourceEnv) error { return nil }
func (*testSource) Run(context.Context) error              { return nil }
func (*testSource) Close() error                           { return nil }

type testStage struct{}

func (*testStage) Props(*Props)                       {}
func (*testStage) Fragment(Catalog) (Fragment, error) { return Fragment{}, nil }

type testSink struct{ testStage }

type testBoth struct {
	testSource
	testStage
}

func (*testBoth) Props(*Props) {}

type testNeither struct{}

func (*testNeither) Props(*Props) {}

func TestRegistry(t *testing.T) {
	before := registry.m
	registry.m = map[string]Registration{}
	t.Cleanup(func() { registry.m = before })
	RegisterSink[testSink]("b_sink", "A sink.")
	Register[testStage]("c_stage", "A stage.")
	Register[testStage]("a_stage", "A stage.")
	Register[testSource]("d_source", "A source.")
	var order string
	for _, r := range Types() {
		order += r.Type + " "
	}
	if order != "d_source a_stage c_stage b_sink " {
		t.Errorf("listed as %s", order)
	}
	for typ, role := range map[string]Role{"b_sink": RoleSink, "c_stage": RoleStage, "d_source": RoleSource} {
		r, ok := Lookup(typ)
		if !ok || r.Role != role || r.New() == nil {
			t.Errorf("%s: found %t, role %s", typ, ok, r.Role)
		}
	}
	if _, ok := Lookup("nothing"); ok {
		t.Error("found what nobody registered")
	}
	for name, register := range map[string]func(){
		"a name twice": func() { Register[testStage]("c_stage", "") },
		"two roles":    func() { Register[testBoth]("both", "") },
		"no role":      func() { Register[testNeither]("neither", "") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			register()
		})
	}
}

func TestRoleTables(t *testing.T) {
	for role, want := range map[Role]string{RoleSource: "sources", RoleStage: "stages", RoleSink: "sinks"} {
		if role.Table() != want {
			t.Errorf("%s: got %s", role, role.Table())
		}
	}
}

func TestTimeline(t *testing.T) {
	var tl Timeline
	if _, ok := tl.At(5); ok || tl.Started() {
		t.Error("a timeline that was not started tells a time")
	}
	if got := tl.Start(100 * time.Millisecond); got != 100*time.Millisecond {
		t.Errorf("started at %v", got)
	}
	if got := tl.Start(50 * time.Millisecond); got != 100*time.Millisecond {
		t.Errorf("the second start moved it to %v", got)
	}
	if at, ok := tl.At(130 * time.Millisecond); !ok || at != 30*time.Millisecond {
		t.Errorf("got %v, %t", at, ok)
	}
	if _, ok := tl.At(99 * time.Millisecond); ok {
		t.Error("a stamp before the start has a time")
	}
	var two Timeline
	two.Expect(2)
	if two.Offer("a", 80) || two.Offer("a", 70) || !two.Offer("b", 90) {
		t.Error("two sources have offered when both have, and not before")
	}
	if got := two.Start(90); got != 70 {
		t.Errorf("it started at %v, want the earliest offer, 70", got)
	}
	var zero Timeline
	if got := zero.Start(0); got <= 0 {
		t.Errorf("a start at 0 reads as not started: %v", got)
	}
}

func TestRelease(t *testing.T) {
	var c Cell
	c.Held.Store(1)
	c.Release()
	if c.Held.Load() != 0 {
		t.Error("still held")
	}
}

// plugins is a catalog of names only.
type plugins []string

func (p plugins) Factories() []string { return p }
func (p plugins) Factory(name string) (Factory, bool) {
	for _, n := range p {
		if n == name {
			return Factory{Name: n}, true
		}
	}
	return Factory{}, false
}

func TestInstalled(t *testing.T) {
	cat := plugins{"x264enc", "vp8enc"}
	if f, err := Installed(cat, "vp8enc"); err != nil || f.Name != "vp8enc" {
		t.Errorf("got %v, %v", f, err)
	}
	_, err := Installed(cat, "x246enc")
	if err == nil || err.Error() != `element: no GStreamer element "x246enc" is installed; did you mean "x264enc"?` {
		t.Errorf("got %v", err)
	}
	if _, err := Installed(cat, "nothing"); err == nil {
		t.Error("found what is not installed")
	}
}
