package run_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/measure"
	"github.com/mpipe/mpipe/pipeline/run"
)

const numbered = `version = 1
[sources.cam]
type = "lender"
numbered = true
frames = 240
slow = "5ms"
[stages.v]
type = %q
inputs = ["cam.video"]
keyframe_interval = "1s"
[stages.a]
type = "opus"
inputs = ["cam.audio"]
bitrate = "96k"
`

// swapper swaps at random moments while a graph runs.
type swapper struct {
	stage string
	types []string
	props func(i int) map[string]any
}

func (s swapper) run(t *testing.T, text string) *run.Manifest {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := run.NewControl()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for i, typ := range s.types {
			time.Sleep(time.Duration(200+rnd.IntN(300)) * time.Millisecond)
			if err := c.Swap(ctx, s.stage, typ, s.props(i)); err != nil {
				t.Errorf("swap %d to %s: %v", i, typ, err)
				return
			}
			n++
		}
	}()
	m, err := run.Run(context.Background(), plan(t, text), run.Options{Control: c})
	cancel()
	if n := <-done; n != len(s.types) {
		t.Errorf("%d of %d swaps were carried out", n, len(s.types))
	}
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	return m
}

func common(int) map[string]any {
	return map[string]any{"bitrate": "1M", "keyframe_interval": "1s"}
}

// perfect reads the frames' numbers back with GStreamer, and counts with ffmpeg.
func perfect(t *testing.T, path string, want int64) {
	t.Helper()
	r, err := measure.File(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Perfect() || r.Frames != want || r.First != 0 {
		t.Errorf("%s: want frames 0 to %d, each once: %+v", filepath.Base(path), want-1, r)
	}
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", path, "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%s: ffmpeg says %v: %s", filepath.Base(path), err, out)
	}
	if n := frames(t, path, "v"); n != strconv.FormatInt(want, 10) {
		t.Errorf("%s: ffmpeg decodes %s frames, want %d", filepath.Base(path), n, want)
	}
}

// load keeps the processors busy for the time of a test.
func load(t *testing.T) {
	var over atomic.Bool
	for range 2 {
		go func() {
			for !over.Load() {
			}
		}()
	}
	t.Cleanup(func() { over.Store(true) })
}

func fileSink(id, path, inputs string) string {
	return fmt.Sprintf("[sinks.%s]\ntype = \"file\"\ninputs = [%s]\npath = %q\n", id, inputs, path)
}

// Each kind of encoder is swapped back and forth while it records, under load: in
// several files from one encoder, every frame is there once.
func TestAnEncoderIsSwappedWhileItRecords(t *testing.T) {
	for _, c := range []struct {
		first   string
		then    []string
		endings []string
	}{
		{"x264", []string{"openh264", "x264"}, []string{"mkv", "ts"}},
		{"x265", []string{"x265"}, []string{"mkv", "ts"}},
		{"vp8", []string{"vp8"}, []string{"webm", "mkv"}},
	} {
		t.Run(c.first, func(t *testing.T) {
			if testing.Short() && c.first != "x264" {
				t.Skip("the other codecs take the same way")
			}
			load(t)
			dir := t.TempDir()
			text := fmt.Sprintf(numbered, c.first)
			for _, e := range c.endings {
				text += fileSink(e, filepath.Join(dir, "a."+e), `"v", "a"`)
			}
			m := swapper{"v", c.then, common}.run(t, text)
			for i, e := range c.endings {
				perfect(t, filepath.Join(dir, "a."+e), 240)
				if s := m.Outputs[i].Streams[0]; s.LostInEncoder != 0 || s.Captured != 240 {
					t.Errorf("%s: %+v", e, s)
				}
			}
		})
	}
}

// Sound goes on with another bit rate, also in MP4, whose header stays true.
func TestASoundEncoderIsSwapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	swapper{"a", []string{"opus", "opus"}, func(i int) map[string]any {
		return map[string]any{"bitrate": fmt.Sprintf("%dk", 32+32*i)}
	}}.run(t, fmt.Sprintf(numbered, "x264")+fileSink("f", path, `"v", "a"`))
	perfect(t, path, 240)
	r, err := measure.File(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	// Two seams of at most a packet of 20 ms, and the padding at the end.
	if got := float64(r.Samples) / 48000; got < 8 || got > 8.07 {
		t.Errorf("%.3f s of sound, 8 s were recorded", got)
	}
}

// What cannot go on says so, and nothing is touched.
func TestASwapThatCannotBeIsRefused(t *testing.T) {
	dir := t.TempDir()
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(500 * time.Millisecond)
		for _, s := range []struct {
			stage, typ string
			props      map[string]any
			want       string
		}{
			{"v", "openh264", nil, "output f cannot go on with another encoder: mp4 has one header"},
			{"v", "vp8", nil, "swap to an encoder of the same codec"},
			{"v", "x264x", nil, "unknown encoder type"},
			{"v", "x264", map[string]any{"presett": "fast"}, "are none of x264"},
			{"v", "x264", map[string]any{"preset": "fastest"}, "preset"},
			{"w", "x264", nil, `no stage has the id "w"`},
			{"cam", "x264", nil, "only an encoder"},
		} {
			err := c.Swap(context.Background(), s.stage, s.typ, s.props)
			if err == nil || !strings.Contains(err.Error(), s.want) {
				t.Errorf("%s to %s got %v, want %q", s.stage, s.typ, err, s.want)
			}
		}
	}()
	path := filepath.Join(dir, "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(numbered, "x264")+fileSink("f", path, `"v", "a"`)), run.Options{Control: c})
	<-done
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	perfect(t, path, 240)
}
