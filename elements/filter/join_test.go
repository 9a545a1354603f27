package filter_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
)

// several is a graph in which painters with these properties, a, b, c, …, meet in
// one stage.
func several(pad, stage string, sources ...string) string {
	var b strings.Builder
	var inputs []string
	for i, s := range sources {
		id := string(rune('a' + i))
		fmt.Fprintf(&b, "[sources.%s]\ntype = \"painter\"\n%s\n", id, s)
		inputs = append(inputs, fmt.Sprintf("%q", id+"."+pad))
	}
	fmt.Fprintf(&b, "[stages.it]\n%s\ninputs = [%s]\n", stage, strings.Join(inputs, ", "))
	return b.String()
}

// pieces is a grid of 640x360 at 30 frames a second, which never goes on without
// an input.
const pieces = "type = \"compose\"\nwidth = 640\nheight = 360\nwait = \"0s\"\n"

func TestComposeSideBySide(t *testing.T) {
	// 160x120 becomes 320x240 in 320x360.
	path, m := record(t, "video", several("video", pieces, "frames = 60\nluma = 60\nstep = 2", "frames = 30\nfps = 15\nluma = 200\nlow = 150"), run.Options{})
	f := watch(t, path)
	if f.width != 640 || f.height != 360 || len(f.frames) != 60 {
		t.Fatalf("%d pictures of %dx%d, want 60 of 640x360", len(f.frames), f.width, f.height)
	}
	for i := range f.frames {
		f.spots(t, i, map[[2]int]int{{160, 56}: black, {160, 64}: 60 + 2*i, {316, 296}: 60 + 2*i, {160, 304}: black, {324, 64}: 200, {480, 296}: 150})
	}
	if s := m.Outputs[0].Streams[0]; s.Captured != 90 || s.Frames != 60 || s.KeyFrames != 2 {
		t.Errorf("the account says %+v, want 90 captured, 60 sent with a key frame each second", s)
	}
	for i, in := range m.Stages["it"].Inputs {
		if want := 60 / (i + 1); in.Frames != int64(want) || in.Late != 0 || in.Missing != 0 {
			t.Errorf("input %d: %+v, want %d frames and nothing amiss", i, in, want)
		}
	}
}

func TestComposeLayouts(t *testing.T) {
	long(t)
	three := []string{"luma = 60", "luma = 120", "luma = 180"}
	for props, spots := range map[string]map[[2]int]int{
		// two above, one in the middle below
		"fit = \"stretch\"": {{2, 2}: 60, {318, 178}: 60, {322, 2}: 120, {638, 178}: 120, {158, 182}: black, {162, 182}: 180, {478, 358}: 180, {482, 358}: black},
		"fit = \"stretch\"\ngap = 20\nbackground = \"white\"": {{10, 10}: 235, {22, 22}: 60, {306, 168}: 60, {320, 90}: 235, {334, 22}: 120, {320, 340}: 235, {320, 200}: 180},
		// 128 wide at the right, the others large
		"fit = \"stretch\"\nlayout = \"spotlight\"":                          {{2, 2}: 60, {508, 358}: 60, {516, 106}: black, {516, 110}: 120, {636, 178}: 120, {516, 182}: 180, {636, 250}: 180, {516, 254}: black},
		"fit = \"stretch\"\nlayout = \"spotlight\"\nspotlight = \"c.video\"": {{2, 2}: 180, {508, 358}: 180, {516, 114}: 60, {516, 188}: 120},
		"fit = \"cover\"": {{2, 2}: 60, {318, 178}: 60, {638, 178}: 120},
	} {
		path, _ := record(t, "video", several("video", pieces+props, three...), run.Options{})
		f := watch(t, path)
		f.spots(t, 30, spots)
		if t.Failed() {
			t.Fatal(props)
		}
	}
}

// Frames of which only the stamp is known, as a MediaStream gives them, from zero on.
func TestComposeWithoutDurations(t *testing.T) {
	path, m := record(t, "video", several("video", pieces, "bare = true\nframes = 30\nluma = 60\nstep = 2", "bare = true\nframes = 30\nluma = 120"), run.Options{})
	f := watch(t, path)
	if len(f.frames) < 29 || len(f.frames) > 31 {
		t.Fatalf("%d pictures, want 30", len(f.frames))
	}
	f.spots(t, 10, map[[2]int]int{{160, 180}: 80, {480, 180}: 120})
	if in := m.Stages["it"].Inputs; in[0].Late+in[1].Late != 0 {
		t.Errorf("the account of the inputs says %+v", in)
	}
}

// What is cut off is what has no place.
func TestComposeCovers(t *testing.T) {
	long(t)
	path, _ := record(t, "video", several("video", pieces+`fit = "cover"`, "width = 320\nheight = 720\nlow = 200"), run.Options{})
	// the shape of 640x360 out of the middle of 320x720
	watch(t, path).spots(t, 30, map[[2]int]int{{2, 2}: 100, {320, 176}: 100, {320, 184}: 200, {638, 358}: 200})
}

func TestComposeLabels(t *testing.T) {
	long(t)
	const large = "luma = 60\nwidth = 640\nheight = 360\nframes = 20" // at half that size
	path, _ := record(t, "video", several("video", pieces+`labels = ["Ann", ""]`, large, large), run.Options{})
	f := watch(t, path)
	if n := f.bright(10, 0, 240, 100, 270); n < 20 {
		t.Errorf("%d bright pixels where a name should be", n)
	}
	if n := f.bright(10, 320, 0, 640, 360) + f.bright(10, 0, 0, 320, 240); n != 0 {
		t.Errorf("%d bright pixels where no name should be", n)
	}
}

// bright counts the pixels of a part that are bright.
func (f film) bright(frame, x0, y0, x1, y1 int) (n int) {
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			if f.luma(frame, x, y) > 180 {
				n++
			}
		}
	}
	return n
}

// Inputs begin and end at different times: each is where it belongs, at its time.
func TestComposeComingAndGoing(t *testing.T) {
	for onEnd, left := range map[string]int{"keep": 60 + 59, "clear": black} {
		path, m := record(t, "video", several("video", pieces+"on_end = \""+onEnd+"\"",
			"frames = 60\nluma = 60\nstep = 1", "frames = 60\nfrom = \"1s\"\nluma = 150\nstep = 1"), run.Options{})
		f := watch(t, path)
		if len(f.frames) != 90 {
			t.Fatalf("%d pictures, want 90: three seconds", len(f.frames))
		}
		f.spots(t, 10, map[[2]int]int{{160, 180}: 70, {480, 180}: black})
		f.spots(t, 29, map[[2]int]int{{160, 180}: 89, {480, 180}: black})
		f.spots(t, 31, map[[2]int]int{{160, 180}: 91, {480, 180}: 151})
		f.spots(t, 59, map[[2]int]int{{160, 180}: 119, {480, 180}: 179})
		f.spots(t, 62, map[[2]int]int{{160, 180}: left, {480, 180}: 182})
		f.spots(t, 89, map[[2]int]int{{160, 180}: left, {480, 180}: 209})
		if s := m.Outputs[0].Streams[0]; s.FirstPTS != 0 || s.Frames != 90 {
			t.Errorf("the account says %+v", s)
		}
	}
}

// Layout and spotlight change while frames pass.
func TestComposeLayoutChanges(t *testing.T) {
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		time.Sleep(800 * time.Millisecond)
		if err := c.Set(done, "it", "spotlight", "c.video"); err == nil {
			t.Error("an input that there is not got the spotlight")
		}
		for prop, value := range map[string]any{"layout": "spotlight", "spotlight": "b.video"} {
			if err := c.Set(done, "it", prop, value); err != nil {
				t.Error(err)
			}
		}
	}()
	path, _ := record(t, "video", several("video", pieces+`fit = "cover"`,
		"luma = 60\npace = \"15ms\"\nframes = 120", "luma = 120\npace = \"15ms\"\nframes = 120"), run.Options{Control: c})
	close(done)
	f := watch(t, path)
	f.spots(t, 0, map[[2]int]int{{2, 2}: 60, {318, 358}: 60, {322, 2}: 120})
	f.spots(t, 119, map[[2]int]int{{2, 2}: 120, {322, 2}: 120, {508, 358}: 120, {520, 180}: 60, {636, 180}: 60, {600, 20}: black})
}

// An input that says nothing for a while, or ever, stops nobody: its latest
// picture stays, and it goes on where it is.
func TestComposeAPause(t *testing.T) {
	long(t)
	path, m := record(t, "video", several("video", strings.Replace(pieces, `"0s"`, `"700ms"`, 1),
		"frames = 150\nluma = 30\nstep = 1\npace = \"10ms\"",
		"frames = 90\nluma = 50\nstep = 1\npace = \"10ms\"\nhole_at = 30\nhole = \"2s\"\nstall = \"1200ms\"",
		"frames = 1\nluma = 16\ndelay = \"6s\""), run.Options{})
	f := watch(t, path)
	if len(f.frames) != 150 {
		t.Fatalf("%d pictures, want 150: five seconds", len(f.frames))
	}
	back := false
	for i := range f.frames {
		f.spots(t, i, map[[2]int]int{{160, 90}: 30 + i, {320, 270}: black})
		got := f.luma(i, 480, 90)
		now := 50 + i - max(0, min(i-29, 60)) // 79, the last before the hole, up to frame 89
		back = back || i > 93 && near(got, now)
		if !near(got, now) && (back || i < 90 || !near(got, 79)) {
			t.Errorf("frame %d has luma %d, want %d", i, got, now)
		}
	}
	if !back {
		t.Error("the input that came back was not seen again")
	}
	in := m.Stages["it"].Inputs
	if in[0].Late != 0 || in[0].Missing != 0 || in[1].Missing < 0.1 || in[2].Missing < 2.5 || in[2].Late != 1 {
		t.Errorf("the account of the inputs says %+v", in)
	}
}

// A stop and a kill end a run in which an input says nothing, and nothing is left
// behind.
func TestASilentInputAndTheEnd(t *testing.T) {
	long(t)
	for _, stage := range []string{"type = \"compose\"\nwidth = 320\nheight = 180\nwait = %q", "type = \"mix\"\nwait = %q"} {
		for _, wait := range []string{"50ms", "0s"} {
			pad := "video"
			if strings.Contains(stage, "mix") {
				pad = "audio"
			}
			text := several(pad, fmt.Sprintf(stage, wait), "frames = 10000\npace = \"5ms\"", "frames = 10000\npace = \"5ms\"\nhole_at = 10\nstall = \"2s\"") +
				"[sinks.n]\ntype = \"null\"\ninputs = [\"it\"]\n"
			before := runtime.NumGoroutine()
			for _, kill := range []bool{false, true} {
				p, err := parse(text)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				o, stop := run.Options{}, time.AfterFunc(time.Second, cancel)
				if kill {
					end := make(chan struct{})
					o.Kill, stop = end, time.AfterFunc(time.Second, func() { close(end) })
				}
				m, err := run.Run(ctx, p, o)
				stop.Stop()
				cancel()
				if kill != errors.Is(err, run.ErrKilled) || !kill && (err != nil || m.Reason != "signal") {
					t.Errorf("%s, kill %v: err %v, reason %s", stage, kill, err, m.Reason)
				}
			}
			for i := 0; runtime.NumGoroutine() > before && i < 100; i++ {
				time.Sleep(20 * time.Millisecond)
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("%d goroutines, %d before", n, before)
			}
		}
	}
}

// Inputs of all rates and lengths end whenever they end, and the whole with the last.
func TestComposeEndsWithItsInputs(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 15 {
		var inputs []string
		for range 3 {
			fps := 5 + rng.IntN(25)
			inputs = append(inputs, fmt.Sprintf("fps = %d\nframes = %d\npace = \"%dms\"", fps, fps/2+rng.IntN(fps), 200/fps))
		}
		text := several("video", "type = \"compose\"\nwidth = 160\nheight = 120\nwait = \"5ms\"", inputs...) +
			"[sinks.n]\ntype = \"null\"\ninputs = [\"it\"]\n"
		if carry(t, text, run.Options{}); t.Failed() {
			t.Fatal(text)
		}
	}
}
