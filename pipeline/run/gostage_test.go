package run_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

func init() {
	pipeline.Register[mark]("mark", "Paint a square of one grey in the top-left corner.")
	pipeline.Register[meter]("meter", "Find the loudest sample.")
	pipeline.RegisterSink[eye]("eye", "Look at encoded frames.")
}

// mark is the README's element, with ways to go wrong.
type mark struct {
	side, grey       int
	fail, boom, drop int // at this frame
	n                int
	closed           *atomic.Int64
}

func (m *mark) Props(p *pipeline.Props) {
	p.Int(&m.side, "side", 32, "Side of the square in pixels.", pipeline.Between(1, 512))
	p.Int(&m.grey, "grey", 235, "Luma of the square.", pipeline.Between(16, 235), pipeline.Live)
	p.Int(&m.fail, "fail", 0, "Fail at this frame.")
	p.Int(&m.boom, "boom", 0, "Panic at this frame.")
	p.Int(&m.drop, "drop", 0, "Leave out each frame of this number.")
}

func (m *mark) Start(env *pipeline.StageEnv) error {
	m.closed = env.Counter("closed")
	return nil
}

func (m *mark) Close() error { m.closed.Add(1); return nil }

func (m *mark) Process(f *pipeline.Frame) error {
	m.n++
	switch {
	case m.n == m.fail:
		return errors.New("the brush is dry")
	case m.n == m.boom:
		panic("no paint")
	case m.drop > 0 && m.n%m.drop == 0:
		return pipeline.ErrDrop
	}
	luma := f.Plane(0)
	for y := range min(m.side, luma.Rows) {
		row := luma.Line(y)
		for x := range min(m.side, luma.Row) {
			row[x] = byte(m.grey)
		}
	}
	return nil
}

type meter struct{ loudest *atomic.Int64 }

func (*meter) Props(*pipeline.Props) {}
func (*meter) Takes() (pipeline.Kind, []string) {
	return pipeline.RawAudio, []string{"F32LE"}
}
func (m *meter) Start(env *pipeline.StageEnv) error { m.loudest = env.Counter("samples"); return nil }
func (m *meter) View(f *pipeline.Frame) error {
	if f.Audio == nil || f.Audio.Sample != "F32LE" {
		return fmt.Errorf("got %+v", f.Audio)
	}
	m.loudest.Add(int64(len(f.F32()) / f.Audio.Channels))
	return nil
}

type eye struct{ keys, bytes *atomic.Int64 }

func (*eye) Props(*pipeline.Props) {}
func (*eye) Takes() (pipeline.Kind, []string) {
	return pipeline.Kind{Media: pipeline.Video, Codec: "h264"}, nil
}
func (e *eye) Start(env *pipeline.StageEnv) error {
	e.keys, e.bytes = env.Counter("keys"), env.Counter("bytes")
	return nil
}
func (e *eye) View(f *pipeline.Frame) error {
	if f.Key {
		e.keys.Add(1)
	}
	e.bytes.Add(int64(len(f.Data())))
	return nil
}

const painted = `version = 1
[sources.cam]
type = "lender"
%s
[stages.paint]
type = "mark"
inputs = ["cam.video"]
%s
[stages.v]
type = "x264"
inputs = ["paint"]
preset = "ultrafast"
keyframe_interval = "1s"
[sinks.f]
type = "file"
inputs = ["v"]
path = "%s"
`

// luma gives the mean luma of the square in the top-left corner, by frame.
func luma(t *testing.T, path string, side int) []byte {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-vf", fmt.Sprintf("crop=%d:%d:0:0,scale=1:1:flags=area", side, side), "-pix_fmt", "gray", "-f", "rawvideo", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A filter changes what is in the file, costs one copy of each lent frame, and
// nothing of what is lent is written into.
func TestAFilterInGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(painted, "frames = 60", "grey = 200", path)), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	got := luma(t, path, 16)
	if len(got) != 60 {
		t.Fatalf("%d pictures, want 60", len(got))
	}
	for i, y := range got {
		if y < 190 || y > 225 { // full range of what ffmpeg calls gray
			t.Fatalf("picture %d has luma %d in its corner", i, y)
		}
	}
	if s := m.Stages["paint"]; s.Frames != 60 || s.Copied != 60 || s.Dropped != 0 || s.Counters["closed"] != 1 {
		t.Errorf("the stage says %+v, want 60 frames, each copied once, and closed", s)
	}
}

func TestAFilterLeavesFramesOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(painted, "frames = 60", "drop = 3", path)), run.Options{})
	if err != nil || !m.Complete || m.Stages["paint"].Dropped != 20 || frames(t, path, "v") != "40" {
		t.Errorf("err %v, manifest %+v", err, m)
	}
}

// What goes wrong in a stage is its own error, with its place, and the recording
// up to there is kept. A panic is one more error, with the stack.
func TestAFilterThatFails(t *testing.T) {
	for set, want := range map[string][]string{
		"fail = 30": {"stage paint: the brush is dry"},
		"boom = 30": {"stage paint: the stage panicked: no paint", "gostage_test.go"},
	} {
		path := filepath.Join(t.TempDir(), "a.mp4")
		m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(painted, "frames = 60", set, path)), run.Options{})
		for _, w := range append(want, "test.toml:5:1: ") {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %v, want %q", set, err, w)
			}
		}
		if n := frames(t, path, "v"); n != "29" || m.Complete {
			t.Errorf("%s: %s pictures in the file, want the 29 before", set, n)
		}
	}
}

func TestViewersInGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	text := strings.Replace(fmt.Sprintf(head, "frames = 60")+fmt.Sprintf(mp4, path), `inputs = ["cam.audio"]`, `inputs = ["loud"]`, 1) +
		"[stages.loud]\ntype = \"meter\"\ninputs = [\"cam.audio\"]\n[sinks.eye]\ntype = \"eye\"\ninputs = [\"v\"]\n"
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if s := m.Stages["loud"]; s.Counters["samples"] != 60*1600 || s.Copied != 0 {
		t.Errorf("the meter says %+v, want %d samples and no copy", s, 60*1600)
	}
	if s := m.Stages["eye"]; s.Frames != 60 || s.Counters["keys"] != 2 || s.Counters["bytes"] == 0 {
		t.Errorf("the sink says %+v, want 60 frames, 2 of them key frames", s)
	}
}

// A live property changes between two frames; others, and wrong values, are
// refused and change nothing.
func TestALivePropertyChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	c, done, changed := run.NewControl(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(changed)
		time.Sleep(700 * time.Millisecond)
		if err := c.Set(done, "paint", "side", int64(8)); err == nil || !strings.Contains(err.Error(), "cannot change while running") {
			t.Errorf("a fixed property got %v", err)
		}
		if err := c.Set(done, "paint", "grey", int64(999)); err == nil || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("a wrong value got %v", err)
		}
		if err := c.Set(done, "paint", "grey", int64(30)); err != nil {
			t.Error(err)
		}
	}()
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(painted, "frames = 200\nslow = \"15ms\"", "grey = 220", path)), run.Options{Control: c})
	close(done)
	<-changed
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	got := luma(t, path, 16)
	if got[0] < 200 || got[len(got)-1] > 40 {
		t.Errorf("the corner went from %d to %d, want from 220 to 30", got[0], got[len(got)-1])
	}
	if err := c.Set(done, "paint", "grey", int64(30)); err == nil {
		t.Error("a run that is over took a change")
	}
}
