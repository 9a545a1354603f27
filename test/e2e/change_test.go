package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/test/servers"
)

// shape is a piece of a programme: so many pictures of a size.
type shape struct{ frames, w, h int }

// show writes pictures and the sound that belongs to them, stamped as at 30 a
// second, as fast as they are taken. It gives the number of pictures.
func show(t *testing.T, p *ring.Producer, shapes []shape) int {
	t.Helper()
	rate := pattern.Rate{Num: 30, Den: 1}
	sound, err := pattern.NewAudio(48000, 2, rate)
	if err != nil {
		t.Fatal(err)
	}
	audio, err := p.SetAudio(1, ring.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	base, n, packets := ring.Now(), 0, 0
	put := func(stream int, format uint32, size int, at, d time.Duration, draw func([]byte)) {
		slot, err := w.Claim(stream, format, size, ring.Block(20*time.Second))
		if err != nil {
			t.Fatalf("stream %d at %v: %v", stream, at, err)
		}
		draw(slot.Data)
		slot.Commit(base+int64(at), int64(d), 0)
	}
	for _, s := range shapes {
		format := ring.I420(s.w, s.h, 30, 1)
		pic, err := pattern.NewVideo(pattern.Layout{Width: s.w, Height: s.h, Strides: [3]int(format.Strides[:3]), Offsets: [3]int(format.Offsets[:3])}, rate)
		if err != nil {
			t.Fatal(err)
		}
		id, err := p.SetVideo(0, format)
		if err != nil {
			t.Fatal(err)
		}
		for range s.frames {
			at := rate.At(uint32(n))
			for ; time.Duration(packets)*10*time.Millisecond <= at; packets++ {
				put(1, audio, 1920, time.Duration(packets)*10*time.Millisecond, 10*time.Millisecond, func(b []byte) { sound.Play(b, int64(packets)*480) })
			}
			put(0, id, format.Size(), at, time.Second/30, func(b []byte) { pic.Draw(b, uint32(n)) })
			n++
		}
	}
	return n
}

// downAndUp is 1080p, 720p, and 1080p again.
var downAndUp = []shape{{45, 1920, 1080}, {45, 1280, 720}, {45, 1920, 1080}}

// changed records shapes with a policy, to a path that is given.
func changed(t *testing.T, policy, name string, shapes []shape, args ...string) (*recording, run.Manifest, int) {
	t.Helper()
	args = append([]string{"--set", "app.on_format_change=" + policy, "--set", "v.keyframe_interval=1s"}, args...)
	r := recordTo(t, graph(t, record), ringName(), name, args...)
	p := produce(t, r.ring, ring.I420(1920, 1080, 30, 1))
	n := show(t, p, shapes)
	p.Close()
	return r, r.finish(60 * time.Second), n
}

// Each part is a file of one size, and all parts together hold every picture
// once, with the sound that belongs to it.
func TestPartsFollowTheSize(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"a-%03d.mp4", nil},
		{"a.mkv", []string{"--set", `file.segment={ time = "1h" }`}},
		{"b-%d.mkv", []string{"--set", "v.preset=superfast", "--set", "v.bframes=2"}}, {"a-%d.ts", []string{"--set", "v.preset=superfast", "--set", "v.bframes=2"}}, // what is under way at the change comes late
	} {
		t.Run(c.name+fmt.Sprint(c.args), func(t *testing.T) {
			_, m, _ := changed(t, "segment", c.name, downAndUp, c.args...)
			parts(t, m.Outputs[0], downAndUp)
		})
	}
}

// parts compares the parts of a recording with what was shown, picture by picture.
func parts(t *testing.T, o run.OutputResult, shapes []shape) {
	t.Helper()
	if len(o.Parts) != len(shapes) {
		t.Fatalf("%d parts, want %d: %+v", len(o.Parts), len(shapes), o.Parts)
	}
	first := 0
	for i, s := range shapes {
		got := measure(t, o.Parts[i].Path)
		if got.Width != s.w || got.Height != s.h || got.Frames != s.frames || got.First != first || got.Last != first+s.frames-1 ||
			got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable > 0 {
			t.Errorf("part %d holds %+v, want %dx%d with the pictures from %d on, %d of them", i, got, s.w, s.h, first, s.frames)
		}
		if got.Pairs > 0 && (got.SkewMost > 33.4 || got.SkewMost < -33.4) {
			t.Errorf("part %d: sound is up to %v ms from the picture", i, got.SkewMost)
		}
		length := float64(s.frames) / 30
		if s.frames > 15 && (got.AudioEnd < length-0.15 || got.AudioEnd > length+0.15) {
			t.Errorf("part %d has %.2f s of sound, want about %.2f", i, got.AudioEnd, length)
		}
		first += s.frames
	}
}

// With "scale" the recording keeps its first size: what is smaller is enlarged,
// what has another shape is shown whole between black bars.
func TestScaleKeepsTheFirstSize(t *testing.T) {
	shapes := append(downAndUp[:len(downAndUp):len(downAndUp)], shape{30, 960, 720}, shape{15, 640, 360})
	r, _, n := changed(t, "scale", "a.mp4", shapes)
	if got := measure(t, r.out); got.Width != 1920 || got.Height != 1080 || got.Frames != n || got.Unreadable > 30 || got.Missing > 30 {
		t.Errorf("the recording holds %+v, want %d pictures of 1920x1080", got, n)
	}
	cmd := exec.Command("ffmpeg", "-loglevel", "error", "-i", r.out, "-f", "rawvideo", "-pix_fmt", "gray", "-")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	luma := make([]byte, 1920*1080)
	i := 0
	for _, s := range shapes {
		wide := 1080 * s.w / s.h
		left := (1920 - wide) / 2
		for range s.frames {
			if _, err := io.ReadFull(out, luma); err != nil {
				t.Fatalf("picture %d: %v", i, err)
			}
			if at, ok := pattern.Read(luma[left:], 1920, wide, 1080); !ok || int(at) != i {
				t.Errorf("picture %d (%dx%d) reads as %d, %v", i, s.w, s.h, at, ok)
			}
			if left > 0 && (luma[540*1920+left/2] > 40 || luma[540*1920+1920-left/2] > 40) { // full range black is 0
				t.Errorf("picture %d has no black bars", i)
			}
			i++
		}
	}
}

func TestFailEndsAtTheChange(t *testing.T) {
	r := recordTo(t, graph(t, record), ringName(), "a.mp4", "--set", "app.on_format_change=fail")
	p := produce(t, r.ring, ring.I420(1920, 1080, 30, 1))
	show(t, p, []shape{{20, 1920, 1080}, {1, 1280, 720}})
	if code := r.wait(30 * time.Second); code == 0 || !strings.Contains(r.err.String(), "stage app: stream video changed its format") {
		t.Errorf("exit code %d: %s", code, tail(r.err.String()))
	}
	if got := measure(t, r.out); got.Frames != 20 || got.Height != 1080 {
		t.Errorf("the recording holds %+v, want the 20 pictures before the change", got)
	}
}

// One TS file, which goes on with the new size.
func TestTSFollowsTheSizeInBand(t *testing.T) {
	r, m, n := changed(t, "segment", "a.ts", downAndUp)
	if len(m.Outputs[0].Parts) > 0 {
		t.Errorf("there are parts: %+v", m.Outputs[0].Parts)
	}
	if got := measure(t, r.out); got.Frames != n || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable > 0 {
		t.Errorf("the recording holds %+v, want %d pictures", got, n)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=height", "-of", "csv=p=0", r.out).Output()
	if err != nil {
		t.Fatal(err)
	}
	var heights []string
	for _, h := range strings.Fields(string(out)) {
		if h = strings.Trim(h, ","); len(heights) == 0 || heights[len(heights)-1] != h {
			heights = append(heights, h)
		}
	}
	if got := strings.Join(heights, " "); got != "1080 720 1080" {
		t.Errorf("ffprobe decodes the heights %s", got)
	}
}

// Fifty changes of size at moments that nobody chose.
func TestFiftyChanges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	shapes := []shape{{30, 320, 180}}
	changes := 50
	if testing.Short() {
		changes = 12
	}
	for range changes {
		s := shape{frames: 1 + rng.IntN(20), w: 2 * (40 + rng.IntN(280)), h: 2 * (20 + rng.IntN(160))}
		if s.w == shapes[len(shapes)-1].w {
			s.w += 2
		}
		shapes = append(shapes, s)
	}
	for _, c := range []struct{ policy, name string }{{"segment", "a-%02d.mkv"}, {"segment", "b-%02d.mp4"}, {"scale", "a.mp4"}, {"segment", "a.ts"}} {
		t.Run(c.policy+filepath.Ext(c.name), func(t *testing.T) {
			r, m, n := changed(t, c.policy, c.name, shapes)
			if strings.Contains(c.name, "%") {
				parts(t, m.Outputs[0], shapes)
				return
			}
			if got := measure(t, r.out); got.Frames != n {
				t.Errorf("the recording holds %+v, want %d pictures", got, n)
			}
		})
	}
}

// What cannot follow a new size is refused before anything starts, with its line.
func TestOutputsThatCannotFollow(t *testing.T) {
	for name, want := range map[string]string{
		"a.mp4": `graph.toml:18:8: stage file: app.video may change its size in mid-recording (on_format_change = "segment"), which mp4 cannot follow in one file; put a number into the path`,
	} {
		out, err := exec.Command(mpipe, "check", graph(t, record), "--param", "ring=x", "--param", "out="+name, "--set", "app.on_format_change=segment").CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", name, err, out, want)
		}
	}
}

// RTMP ends the stream in good order and publishes anew: the server records each
// size whole, the file beside it goes on in parts.
func TestRTMPBeginsAnewWithTheSize(t *testing.T) {
	s := servers.StartRTMP(t, servers.RTMPOptions{})
	shapes := []shape{{60, 640, 360}, {60, 320, 180}, {60, 640, 360}}
	text := live + to(t, "rtmp", s.URL("change"), `queue = { when_full = "block" }`)
	r := recordTo(t, graph(t, text), ringName(), "a-%d.mp4", "--set", "app.on_format_change=segment")
	p := produce(t, r.ring, ring.I420(640, 360, 30, 1))
	n := show(t, p, shapes)
	p.Close()
	m := r.finish(60 * time.Second)
	parts(t, output(t, m, "file"), shapes)
	if o := output(t, m, "rtmp"); !o.Complete || o.Streams[0].Sent != int64(n) {
		t.Errorf("the stream is %+v", o)
	}
	rec := s.Recordings("change")
	if len(rec) != len(shapes) {
		t.Fatalf("recordings are %q, want one for each size", rec)
	}
	first := 0
	for i, s := range shapes {
		if got := measure(t, rec[i]); got.Width != s.w || got.Frames != s.frames || got.First != first || got.Missing+got.Repeated+got.Unreadable > 0 {
			t.Errorf("recording %d holds %+v", i, got)
		}
		first += s.frames
	}
}
