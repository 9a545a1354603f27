package pipelinetest_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/pipelinetest"
)

// An element for each promise, which it breaks; and one that keeps them all.
type good struct{ level int }

func (g *good) Props(p *pipeline.Props) {
	p.Int(&g.level, "level", 3, "How much of it.", pipeline.Between(0, 9), pipeline.Live)
}
func (g *good) Process(*pipeline.Frame) error { return nil }

type undocumented struct{ good }

func (u *undocumented) Props(p *pipeline.Props) { p.Int(&u.level, "Level", 3, "much") }

type lazyBounds struct{ good }

func (l *lazyBounds) Props(p *pipeline.Props) {
	p.Duration(new(time.Duration), "wait", "1s", "How long to wait.")
	p.Int(&l.level, "level", 12, "How much of it.", pipeline.Between(0, 9)) // its default is not allowed
}

type loses struct {
	good
	n int
}

func (l *loses) Process(*pipeline.Frame) error {
	if l.n++; l.n == 40 {
		return pipeline.ErrDrop
	}
	return nil
}

type fails struct {
	good
	n int
}

func (f *fails) Process(*pipeline.Frame) error {
	if f.n++; f.n == 40 {
		return errors.New("no more")
	}
	return nil
}

type panics struct{ fails }

func (f *panics) Process(*pipeline.Frame) error {
	if f.n++; f.n == 40 {
		panic("no more")
	}
	return nil
}

var leaked []*os.File

type leaks struct{ good }

func (l *leaks) Start(*pipeline.StageEnv) error {
	f, err := os.Open(os.DevNull)
	leaked = append(leaked, f)
	return err
}

func init() {
	pipeline.Register[good]("good", "Does nothing, and that well.")
	pipeline.Register[undocumented]("undocumented", "Nobody knows")
	pipeline.Register[lazyBounds]("lazy-bounds", "Its default is not allowed.")
	pipeline.Register[loses]("loses", "Loses a frame.")
	pipeline.Register[fails]("fails", "Fails at a frame.")
	pipeline.Register[panics]("panics", "Panics at a frame.")
	pipeline.Register[leaks]("leaks", "Keeps what it opens.")
}

// One element, chosen by the environment: the next test runs it in a process of
// its own, since what it looks for is a test that fails.
func TestOne(t *testing.T) {
	typ := os.Getenv("CONFORM_TYPE")
	if typ == "" {
		typ = "good"
	}
	pipelinetest.Conform(t, typ, pipelinetest.Options{})
}

// The suite finds each broken promise, and in the right place.
func TestTheSuiteFindsWhatIsBroken(t *testing.T) {
	if testing.Short() {
		t.Skip("each is a process of its own")
	}
	for typ, where := range map[string][]string{
		"undocumented": {"properties"}, "lazy-bounds": {"properties/level"}, "loses": {"every_frame"},
		"fails": {"every_frame"}, "panics": {"every_frame"}, "leaks": {"nothing_left_behind"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestOne$", "-test.v")
		cmd.Env = append(os.Environ(), "CONFORM_TYPE="+typ)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s passes", typ)
		}
		for _, w := range where {
			if !strings.Contains(string(out), "--- FAIL: TestOne/"+w) {
				t.Errorf("%s: %s does not fail in\n%s", typ, w, out)
			}
		}
	}
}
