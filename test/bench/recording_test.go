package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/ring"
)

const (
	width, height = 1920, 1080
	frameSize     = width * height * 3 / 2
	frames        = 600
	pairs         = 11
	preset        = "veryfast"
)

const graph = `version = 1
[sources.app]
type = "shmsrc"
ring = "%s"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "` + preset + `"
tune = "zerolatency"
[stages.a]
type = "opus"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "%s"
`

// BenchmarkRecording records 20 s of 1080p30 with sound, as fast as it goes, and
// has gst-launch-1.0 make the same file with the same encoder settings from the
// same frames in memory. Reported are medians over the pairs of CPU seconds
// (user and system): of `mpipe run` and its producer together against
// gst-launch, of `mpipe run` alone, and of each by itself.
//
// The producer reads frames from a file on tmpfs into the ring and gst-launch
// from the same file into its buffers: one copy on each side.
func BenchmarkRecording(b *testing.B) {
	dir, mpipe := b.TempDir(), build(b)
	shm, video, audio := input(b)

	for b.Loop() {
		var together, alone, ours, theirs []float64
		for i := range pairs {
			out := filepath.Join(shm, fmt.Sprintf("%d.mp4", i))
			run, feed := recordWithMpipe(b, mpipe, dir, shm, video, audio, out)
			check(b, out)
			gst := recordWithGst(b, video, audio, out)
			check(b, out)
			os.Remove(out)
			together = append(together, (run+feed)/gst)
			alone = append(alone, run/gst)
			ours, theirs = append(ours, run+feed), append(theirs, gst)
			b.Logf("pair %2d: mpipe run %.2f s + feed %.2f s, gst-launch %.2f s: %.3f", i+1, run, feed, gst, (run+feed)/gst)
		}
		b.Logf("CPU, mpipe run + feed by gst-launch: median %.3f, from %.3f to %.3f over %d pairs", median(together), slices.Min(together), slices.Max(together), pairs)
		b.Logf("CPU, mpipe run alone by gst-launch:  median %.3f, from %.3f to %.3f", median(alone), slices.Min(alone), slices.Max(alone))
		b.ReportMetric(median(together), "cpu-ratio")
		b.ReportMetric(median(alone), "cpu-ratio-alone")
		b.ReportMetric(median(ours)/frames*1000, "mpipe-cpu-ms/frame")
		b.ReportMetric(median(theirs)/frames*1000, "gst-cpu-ms/frame")
	}
}

func build(b *testing.B) (mpipe string) {
	mpipe = filepath.Join(b.TempDir(), "mpipe")
	if out, err := exec.Command("go", "build", "-o", mpipe, "../../cmd/mpipe").CombinedOutput(); err != nil {
		b.Fatalf("building mpipe: %v\n%s", err, out)
	}
	return mpipe
}

// input makes a folder on tmpfs with raw frames and sound.
func input(b *testing.B) (shm, video, audio string) {
	shm, err := os.MkdirTemp("/dev/shm", "mpipe-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(shm) })
	video, audio = filepath.Join(shm, "video"), filepath.Join(shm, "audio")
	writeInput(b, video, audio)
	return shm, video, audio
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// writeInput puts the test pattern and its sound on tmpfs as raw frames.
func writeInput(b *testing.B, video, audio string) {
	f, err := os.Create(video)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	i420 := ring.I420(width, height, 30, 1)
	p, err := pattern.NewVideo(pattern.Layout{
		Width: width, Height: height, Strides: [3]int(i420.Strides[:3]), Offsets: [3]int(i420.Offsets[:3]),
	}, pattern.Rate{Num: 30, Den: 1})
	if err != nil {
		b.Fatal(err)
	}
	frame := make([]byte, frameSize)
	for n := range frames {
		p.Draw(frame, uint32(n))
		if _, err := f.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(audio, make([]byte, frames/30*48000*4), 0o600); err != nil {
		b.Fatal(err)
	}
}

func recordWithMpipe(b *testing.B, mpipe, dir, shm, video, audio, out string) (run, feed float64) {
	os.Remove(out)
	addr := filepath.Join(shm, "ring")
	return runMpipe(b, mpipe, dir, fmt.Sprintf(graph, addr, out), addr, video, audio)
}

// runMpipe runs a graph that reads the ring at addr, with a producer; it gives
// CPU seconds of both.
func runMpipe(b *testing.B, mpipe, dir, text, addr, video, audio string) (run, feed float64) {
	file := filepath.Join(dir, "graph.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	r := exec.Command(mpipe, "run", file, "--progress", "0s", "--log-level", "error")
	r.Stderr = os.Stderr
	if err := r.Start(); err != nil {
		b.Fatal(err)
	}
	in, err := os.Open(video)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	f := exec.Command(mpipe, "feed", "--ring", addr, "--video", fmt.Sprintf("%dx%d@30", width, height),
		"--audio", "48000x2", "--audio-in", audio, "--pace", "reader", "--progress", "0s")
	f.Stdin = in
	if text, err := f.CombinedOutput(); err != nil {
		b.Fatalf("mpipe feed: %v\n%s", err, text)
	}
	if err := r.Wait(); err != nil {
		b.Fatalf("mpipe run: %v", err)
	}
	return cpu(r), cpu(f)
}

func recordWithGst(b *testing.B, video, audio, out string) float64 {
	os.Remove(out)
	pipe := fmt.Sprintf(`filesrc location=%s blocksize=%d ! rawvideoparse format=i420 width=%d height=%d framerate=30/1
		! x264enc speed-preset=%s tune=zerolatency bitrate=2500 bframes=0 key-int-max=60 ! h264parse ! queue max-size-time=10000000000 max-size-bytes=0 max-size-buffers=0 ! mux.video_0
		filesrc location=%s blocksize=1920 ! rawaudioparse format=pcm pcm-format=s16le sample-rate=48000 num-channels=2
		! opusenc bitrate=96000 ! queue max-size-time=10000000000 max-size-bytes=0 max-size-buffers=0 ! mux.audio_0
		mp4mux name=mux fragment-duration=1000 fragment-mode=first-moov-then-finalise ! filesink location=%s buffer-mode=unbuffered`,
		video, frameSize, width, height, preset, audio, out)
	c := exec.Command("gst-launch-1.0", append([]string{"-q"}, strings.Fields(pipe)...)...)
	if text, err := c.CombinedOutput(); err != nil {
		b.Fatalf("gst-launch-1.0: %v\n%s", err, text)
	}
	return cpu(c)
}

func cpu(c *exec.Cmd) float64 {
	return (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Round(time.Millisecond).Seconds()
}

// check makes sure that both made the same thing.
func check(b *testing.B, file string) {
	out, err := exec.Command("ffprobe", "-v", "error", "-count_packets", "-select_streams", "v", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", file).Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != fmt.Sprint(frames) {
		b.Fatalf("%s holds %q pictures (%v), want %d", file, got, err, frames)
	}
}
