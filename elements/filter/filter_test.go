package filter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mpipe/mpipe/elements/encode"
	_ "github.com/mpipe/mpipe/elements/filter"
	_ "github.com/mpipe/mpipe/elements/sink"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// parse makes the plan of a graph. Its last stage is "it"; what follows encodes
// and writes that.
func parse(text string) (*graph.Plan, error) {
	return graph.ParsePlan("test.toml", []byte("version = 1\n"+text), graph.Options{}, run.Catalog())
}

// record runs a graph whose stage "it" is encoded, as good as without loss, and
// written to a file.
func record(t *testing.T, media, text string, o run.Options) (path string, m *run.Manifest) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.mkv")
	encoder := "type = \"x264\"\ncrf = 1\npreset = \"ultrafast\"\nkeyframe_interval = \"1s\""
	if media == "audio" {
		encoder = `type = "flac"`
	}
	text += fmt.Sprintf("[stages.enc]\n%s\ninputs = [\"it\"]\n[sinks.file]\ntype = \"file\"\ninputs = [\"enc\"]\npath = %q\n", encoder, path)
	return path, carry(t, text, o)
}

func carry(t *testing.T, text string, o run.Options) *run.Manifest {
	t.Helper()
	p, err := parse(text)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := run.Run(ctx, p, o)
	if err != nil || !m.Complete || m.Reason != "end of stream" {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	for _, out := range m.Outputs {
		for _, s := range out.Streams {
			if s.LostInEncoder != 0 || s.Frames != s.Sent {
				t.Errorf("the account of %s is wrong: %+v", out.Stage, s)
			}
		}
	}
	return m
}

// film is a decoded recording: I420 pictures.
type film struct {
	width, height int
	frames        [][]byte
}

// watch decodes the pictures of a file, each once.
func watch(t *testing.T, path string) film {
	t.Helper()
	size := strings.Split(probe(t, path, "stream=width,height"), ",")
	var f film
	f.width, _ = strconv.Atoi(size[0])
	f.height, _ = strconv.Atoi(size[1])
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("ffmpeg: %v %s", err, &errs)
	}
	n := f.width * f.height * 3 / 2
	for b := out.Bytes(); len(b) >= n; b = b[n:] {
		f.frames = append(f.frames, b[:n])
	}
	return f
}

func (f film) luma(frame, x, y int) int { return int(f.frames[frame][y*f.width+x]) }

func (f film) blue(frame, x, y int) int {
	return int(f.frames[frame][f.width*f.height+y/2*(f.width/2)+x/2])
}

func probe(t *testing.T, path, entries string) string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", entries, "-of", "csv=p=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// stamps are the times of a file's packets, in seconds.
func stamps(t *testing.T, path string) (out []float64) {
	t.Helper()
	for _, line := range strings.Fields(probe(t, path, "packet=pts_time")) {
		x, err := strconv.ParseFloat(strings.Trim(line, ","), 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// levels gives the loudness (the root of the mean square) of each tenth of a
// second of a channel.
func levels(t *testing.T, path string) (out []int) {
	t.Helper()
	raw, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-ac", "1", "-ar", "48000", "-f", "s16le", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	for ; len(raw) >= 9600; raw = raw[9600:] {
		sum := 0.0
		for i := 0; i < 9600; i += 2 {
			x := float64(int16(binary.LittleEndian.Uint16(raw[i:])))
			sum += x * x
		}
		out = append(out, int(math.Sqrt(sum/4800)+0.5))
	}
	return out
}

// near tells that two lumas or levels are the same but for the coding.
func near(a, b int) bool { return a-b <= 3 && b-a <= 3 }

// spots compares places of one frame with what luma they should have.
func (f film) spots(t *testing.T, frame int, want map[[2]int]int) {
	t.Helper()
	for at, y := range want {
		if got := f.luma(frame, at[0], at[1]); !near(got, y) {
			t.Errorf("frame %d has luma %d at %v, want %d", frame, got, at, y)
		}
	}
}

const black = 16

// one is a graph with one painter and one filter.
func one(pad, source, stage string) string {
	return fmt.Sprintf("[sources.p]\ntype = \"painter\"\n%s\n[stages.it]\n%s\ninputs = [\"p.%s\"]\n", source, stage, pad)
}

func TestScale(t *testing.T) {
	long(t)
	// 160x120, luma 100 above 200.
	for stage, want := range map[string]struct {
		width, height int
		spots         map[[2]int]int
	}{
		`width = 320
height = 180`: {320, 180, map[[2]int]int{{2, 90}: black, {36, 50}: black, {283, 90}: black, {317, 90}: black, {44, 4}: 100, {44, 84}: 100, {275, 96}: 200, {160, 177}: 200}},
		`width = 160
height = 200
fit = "contain"`: {160, 200, map[[2]int]int{{80, 36}: black, {80, 44}: 100, {80, 155}: 200, {80, 163}: black}},
		`width = 320
height = 180
fit = "cover"`: {320, 180, map[[2]int]int{{1, 1}: 100, {318, 85}: 100, {1, 95}: 200, {318, 178}: 200}},
		`width = 320
height = 180
fit = "stretch"
method = "neighbor"`: {320, 180, map[[2]int]int{{1, 1}: 100, {318, 88}: 100, {1, 92}: 200, {318, 178}: 200}},
		`width = 80`:   {80, 60, map[[2]int]int{{1, 1}: 100, {78, 58}: 200}},
		`height = 180`: {240, 180, map[[2]int]int{{1, 1}: 100, {238, 178}: 200}},
		`width = 100`:  {100, 74, nil}, // 75 would be odd
	} {
		path, m := record(t, "video", one("video", "frames = 20\nlow = 200", "type = \"scale\"\n"+stage), run.Options{})
		f := watch(t, path)
		if f.width != want.width || f.height != want.height || len(f.frames) != 20 {
			t.Errorf("%s: %d pictures of %dx%d, want 20 of %dx%d", stage, len(f.frames), f.width, f.height, want.width, want.height)
			continue
		}
		f.spots(t, 10, want.spots)
		if s := m.Outputs[0].Streams[0]; s.Captured != 20 {
			t.Errorf("%s: the account says %+v", stage, s)
		}
	}
}

// cover cuts off what is outside the shape: here a quarter above and below.
func TestScaleCuts(t *testing.T) {
	path, _ := record(t, "video", one("video", "width = 64\nheight = 128\nlow = 200", "type = \"scale\"\nwidth = 64\nheight = 64\nfit = \"cover\""), run.Options{})
	f := watch(t, path)
	f.spots(t, 5, map[[2]int]int{{30, 1}: 100, {30, 29}: 100, {30, 34}: 200, {30, 62}: 200})
}

func TestFramerate(t *testing.T) {
	long(t)
	for _, c := range []struct {
		in, frames int
		fps        string
		want       int
		apart      float64
	}{
		{30, 90, "15", 45, 1. / 15},
		{15, 45, "30", 90, 1. / 30},
		{30, 90, "30000/1001", 90, 1.001 / 30},
		{30, 90, "12.5", 38, 1 / 12.5}, // 37.5
		{30, 60, "10", 20, 0.1},
	} {
		text := fmt.Sprintf("fps = %d\nframes = %d\nstep = 1", c.in, c.frames)
		path, m := record(t, "video", one("video", text, fmt.Sprintf("type = \"framerate\"\nfps = %q", c.fps)), run.Options{})
		at := stamps(t, path)
		if len(at) != c.want {
			t.Errorf("%d frames at %d a second became %d at %s, want %d", c.frames, c.in, len(at), c.fps, c.want)
			continue
		}
		for i := 1; i < len(at); i++ {
			if d := at[i] - at[i-1] - c.apart; d > 0.0011 || d < -0.0011 { // MKV has milliseconds
				t.Errorf("at %s, frame %d comes %v s behind the one before, want %v", c.fps, i, at[i]-at[i-1], c.apart)
				break
			}
		}
		// A key frame each second of the new rate.
		if s := m.Outputs[0].Streams[0]; c.fps == "10" && s.KeyFrames != 2 {
			t.Errorf("%d key frames in 2 s, want one a second", s.KeyFrames)
		}
	}
}

// A stream that begins late is not shown before it was there.
func TestFramerateKeepsTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mkv")
	m := carry(t, fmt.Sprintf(`[sources.p]
type = "painter"
from = "1s"
[sources.q]
type = "painter"
frames = 90
[stages.it]
type = "framerate"
fps = "15"
inputs = ["p.video"]
[stages.v]
type = "x264"
inputs = ["it"]
[stages.a]
type = "opus"
inputs = ["q.audio"]
[sinks.f]
type = "file"
inputs = ["v", "a"]
path = %q
`, path), run.Options{})
	if got := probe(t, path, "stream=start_time"); got != "1.000000\n-0.007000" { // Opus has a pre-skip
		t.Errorf("the streams start at %q, want 1 s and 0", got)
	}
	if o := m.Outputs[0]; o.Streams[0].Frames != 30 || o.SkewMS == nil || *o.SkewMS > 1 || *o.SkewMS < -1 {
		t.Errorf("the account says %+v, want 30 pictures and no skew", o)
	}
}

func TestCrop(t *testing.T) {
	long(t)
	// 160x120, luma 100 above 200 from row 60 on.
	for stage, want := range map[string]struct {
		width, height int
		spots         map[[2]int]int
	}{
		"width = 80\nheight = 40":                 {80, 40, map[[2]int]int{{40, 17}: 100, {40, 22}: 200}},
		"width = 80\nheight = 40\nx = 0\ny = 50":  {80, 40, map[[2]int]int{{40, 8}: 100, {40, 12}: 200}},
		"y = 50":                                  {160, 70, map[[2]int]int{{40, 8}: 100, {40, 12}: 200}},
		"x = 20\ny = 4\nheight = 100":             {140, 100, map[[2]int]int{{40, 54}: 100, {40, 58}: 200}},
		"width = 160\nheight = 120\nx = 0\ny = 0": {160, 120, map[[2]int]int{{40, 57}: 100, {40, 62}: 200}},
	} {
		path, _ := record(t, "video", one("video", "frames = 20\nlow = 200", "type = \"crop\"\n"+stage), run.Options{})
		f := watch(t, path)
		if f.width != want.width || f.height != want.height || len(f.frames) != 20 {
			t.Errorf("%s: %d pictures of %dx%d, want 20 of %dx%d", stage, len(f.frames), f.width, f.height, want.width, want.height)
			continue
		}
		f.spots(t, 10, want.spots)
	}
}

// long leaves a test out where time is short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
}
