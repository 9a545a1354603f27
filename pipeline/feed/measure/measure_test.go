package measure

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
)

// record has ffmpeg encode the pattern: the frames given by number, and sound
// that comes late by the given samples. Which frames ffmpeg is given is up to
// the test, which is the point: it knows what the report must say.
func record(t *testing.T, w, h int, numbers []uint32, late int, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	rate := pattern.Rate{Num: 25, Den: 1}
	stride, half := (w+3)&^3, (w/2+3)&^3
	if stride != w || half != w/2 || h%2 != 0 {
		t.Fatalf("%dx%d has padded rows, which ffmpeg does not take", w, h)
	}
	v, err := pattern.NewVideo(pattern.Layout{Width: w, Height: h, Strides: [3]int{w, w / 2, w / 2}, Offsets: [3]int{0, w * h, w * h * 5 / 4}}, rate)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pattern.NewAudio(48000, 2, rate)
	if err != nil {
		t.Fatal(err)
	}
	var pictures []byte
	for _, n := range numbers {
		frame := make([]byte, v.Size())
		v.Draw(frame, n)
		pictures = append(pictures, frame...)
	}
	sound := make([]byte, len(numbers)*1920*4)
	a.Play(sound[late*4:], 0)
	raw, pcm := filepath.Join(dir, "v.raw"), filepath.Join(dir, "a.raw")
	for path, b := range map[string][]byte{raw: pictures, pcm: sound} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out.mkv")
	cmd := exec.Command("ffmpeg", append(append([]string{"-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", fmt.Sprintf("%dx%d", w, h), "-r", "25", "-i", raw,
		"-f", "s16le", "-ar", "48000", "-ac", "2", "-i", pcm}, args...), out)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

func upTo(n int) (list []uint32) {
	for i := range n {
		list = append(list, uint32(i))
	}
	return list
}

func measured(t *testing.T, path string) *Report {
	t.Helper()
	r, err := File(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// poor gives rates far below what anybody would record at.
func poor(rate string) []string {
	return []string{"-c:v", "libx264", "-preset", "ultrafast", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-c:a", "libopus", "-b:a", "24k"}
}

func TestPerfectRecordingAtPoorRates(t *testing.T) {
	for size, rate := range map[[2]int]string{{160, 90}: "60k", {640, 360}: "150k"} {
		for name, scale := range map[string][]string{"whole": nil, "halved": {"-vf", "scale=iw/2:-2"}} {
			r := measured(t, record(t, size[0], size[1], upTo(100), 0, append(poor(rate), scale...)...))
			if !r.Perfect() || r.Frames != 100 || r.First != 0 || r.Last != 99 {
				t.Errorf("%v %s: %+v", size, name, r)
			}
			if r.Flashes != 4 || r.Pairs != 4 || math.Abs(*r.SkewMost) > 8 {
				t.Errorf("%v %s: %d flashes, %d pairs, skew %v, at most %v ms", size, name, r.Flashes, r.Pairs, *r.SkewMS, *r.SkewMost)
			}
		}
	}
}

func TestSkewIsFound(t *testing.T) {
	for _, ms := range []int{20, 100} {
		r := measured(t, record(t, 160, 90, upTo(75), 48*ms, "-c:v", "ffv1", "-c:a", "flac"))
		if r.SkewMS == nil || math.Abs(*r.SkewMS-float64(ms)) > 1 {
			t.Errorf("sound late by %d ms: %+v", ms, r)
		}
	}
}

func TestWrongFramesAreFound(t *testing.T) {
	//                 missing 3, 4    repeated 6    back to 5
	r := measured(t, record(t, 160, 90, []uint32{0, 1, 2, 5, 6, 6, 7, 5, 6, 7, 8}, 0, "-c:v", "ffv1", "-c:a", "flac"))
	if r.Missing != 2 || r.Repeated != 1 || r.Backwards != 1 || r.Unreadable != 0 || r.Perfect() {
		t.Errorf("%+v", r)
	}
}

func TestOtherPicturesAreUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.mkv")
	if b, err := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=160x90:r=25:d=1", "-c:v", "ffv1", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if r := measured(t, path); r.Frames != 25 || r.Unreadable != 25 || r.SkewMS != nil || r.First != -1 {
		t.Errorf("%+v", r)
	}
	if _, err := File(context.Background(), path+".none"); err == nil {
		t.Error("a file that is not there was measured")
	}
}
