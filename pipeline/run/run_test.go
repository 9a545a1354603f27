package run_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mpipe/mpipe/elements/encode"
	_ "github.com/mpipe/mpipe/elements/sink"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	_ "github.com/mpipe/mpipe/pipeline/pipelinetest" // its source, "lender"
	"github.com/mpipe/mpipe/pipeline/run"
)

const head = `version = 1
[sources.cam]
type = "lender"
%s
[stages.v]
type = "x264"
inputs = ["cam.video"]
preset = "ultrafast"
keyframe_interval = "1s"
[stages.a]
type = "opus"
inputs = ["cam.audio"]
`

const mp4 = `[sinks.mp4]
type = "file"
inputs = ["v", "a"]
path = "%s"
`

func plan(t *testing.T, text string) *graph.Plan {
	t.Helper()
	g, err := graph.Parse("test.toml", []byte(text), graph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := graph.NewPlan(g, run.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func frames(t *testing.T, path, stream string) string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-select_streams", stream, "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe %s: %v: %s", path, err, out)
	}
	return strings.Fields(string(out) + " none")[0] // MPEG-TS lists a stream once more under its program
}

func TestARunWritesACompleteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, `frames = 150`)+fmt.Sprintf(mp4, path)), run.Options{})
	if err != nil || !m.Complete || run.ExitCode(m, err) != 0 || m.Reason != "end of stream" {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	o := m.Outputs[0]
	if !o.Playable || !o.Seekable || o.Streams[0].Frames != 150 || o.Streams[0].Captured != 150 || o.Streams[0].KeyFrames != 5 {
		t.Errorf("output is %+v, want 150 frames with 5 key frames, playable and seekable", o)
	}
	if o.SkewMS == nil || *o.SkewMS > 33 || *o.SkewMS < -33 {
		t.Errorf("audio and video are %v ms apart, want within a frame", o.SkewMS)
	}
	if n := frames(t, path, "v"); n != "150" {
		t.Errorf("ffprobe decodes %s frames, want 150", n)
	}
	if boxes := topBoxes(t, path); boxes != "ftyp free mdat moov" {
		t.Errorf("a cleanly ended MP4 consists of %q, want one moov and no fragments", boxes)
	}
}

// topBoxes lists the outermost boxes of an MP4.
func topBoxes(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for len(b) >= 8 {
		n := uint64(binary.BigEndian.Uint32(b))
		if n == 1 {
			n = binary.BigEndian.Uint64(b[8:])
		}
		names = append(names, string(b[4:8]))
		if n == 0 || n > uint64(len(b)) {
			break
		}
		b = b[n:]
	}
	return strings.Join(names, " ")
}

func TestASignalDrainsAndFinalises(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var states []string
	m, err := run.Run(ctx, plan(t, fmt.Sprintf(head, "frames = 0\nslow = \"5ms\"")+fmt.Sprintf(mp4, path)), run.Options{
		Every: 10 * time.Millisecond,
		Progress: func(s run.Status) {
			if len(states) == 0 || states[len(states)-1] != s.State {
				states = append(states, s.State)
			}
		},
	})
	if err != nil || !m.Complete || m.Reason != "signal" {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if s := strings.Join(states, " "); !strings.HasPrefix(s, "opening running") || !strings.HasSuffix(s, "ended") {
		t.Errorf("states were %q", s)
	}
	if n := frames(t, path, "v"); n != fmt.Sprint(m.Outputs[0].Streams[0].Captured) {
		t.Errorf("ffprobe decodes %s frames, %d were captured", n, m.Outputs[0].Streams[0].Captured)
	}
}

func TestAKillStopsAtOnceAndLeavesAPlayableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	kill := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(kill) })
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 0\nslow = \"2ms\"")+fmt.Sprintf(mp4, path)), run.Options{Kill: kill})
	if !errors.Is(err, run.ErrKilled) || m.Complete || run.ExitCode(m, err) != run.ExitKilled {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	played, _ := strconv.ParseInt(frames(t, path, "v"), 10, 64)
	if sent := m.Outputs[0].Streams[0].Sent; played < sent-90 {
		t.Errorf("%d of %d frames play: more than the last seconds are lost", played, sent)
	}
}

func TestOneFullDiskLeavesTheOtherOutputWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	text := fmt.Sprintf(head, "frames = 300\nslow = \"1ms\"") + fmt.Sprintf(mp4, path) + `[sinks.full]
type = "file"
container = "mkv"
inputs = ["v", "a"]
path = "/dev/full"
`
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Stage != "full" || !strings.Contains(err.Error(), "free space") || run.ExitCode(m, err) != run.ExitFailed {
		t.Fatalf("got %v, want an error of stage full that says to free space", err)
	}
	if !m.Outputs[0].Complete || frames(t, path, "v") != "300" {
		t.Errorf("the other output is %+v, want all 300 frames", m.Outputs[0])
	}
	if m.Outputs[1].Complete || m.Complete {
		t.Error("an output on a full disk was called complete")
	}
}

func TestASourceThatFailsLeavesWhatCameBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "fail = 45")+fmt.Sprintf(mp4, path)), run.Options{})
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Stage != "cam" || e.Pos.Line == 0 || !strings.Contains(err.Error(), "fell off") {
		t.Fatalf("got %v, want cam's own error with its place", err)
	}
	if n := frames(t, path, "v"); n != "45" {
		t.Errorf("%s frames in the file, 45 came before the failure", n)
	}
	if m.Complete || m.Error == "" {
		t.Errorf("manifest says %+v", m)
	}
}

func TestFormatChange(t *testing.T) {
	for _, policy := range []string{"scale", "fail"} {
		path := filepath.Join(t.TempDir(), policy+".mp4")
		_, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "resize = 30\non_format_change = \""+policy+"\"")+fmt.Sprintf(mp4, path)), run.Options{})
		switch policy {
		case "scale":
			if err != nil {
				t.Fatal(err)
			}
			if n := frames(t, path, "v"); n != "60" {
				t.Errorf("%s frames after a change of size, want 60", n)
			}
		case "fail":
			if err == nil || !strings.Contains(err.Error(), `on_format_change = "scale"`) {
				t.Errorf("got %v, want an error that names the way out", err)
			}
			if n := frames(t, path, "v"); n != "30" {
				t.Errorf("%s frames before the change, want 30", n)
			}
		}
	}
}

func TestAnExistingFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "")+fmt.Sprintf(mp4, path)), run.Options{})
	if err == nil || !strings.Contains(err.Error(), "test.toml:16:8: stage mp4: ") || !strings.Contains(err.Error(), "overwrite = true") || run.ExitCode(m, err) != run.ExitConfig {
		t.Errorf("got %v (exit %d), want the place, the stage and the way out", err, run.ExitCode(m, err))
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file now holds %q", b)
	}
}

// Every encoder in every container that takes what it gives: all frames are in
// the file and decode. Whatever the planner refuses has no place in a file.
func TestEveryEncoderInEveryContainer(t *testing.T) {
	const text = `version = 1
[sources.cam]
type = "lender"
[stages.e]
type = %q
inputs = ["cam.%s"]
[sinks.f]
type = "file"
inputs = ["e"]
path = %q
transcode = "never"
`
	encoders := map[string]string{
		"x264": "video", "openh264": "video", "x265": "video", "vp8": "video", "vp9": "video", "av1": "video",
		"opus": "audio", "aac": "audio", "mp3": "audio", "vorbis": "audio", "flac": "audio", "pcm": "audio",
	}
	ran := 0
	for _, ending := range []string{"mp4", "mkv", "webm", "ogg", "ts", "mp3", "flac", "wav"} {
		for enc, medium := range encoders {
			path := filepath.Join(t.TempDir(), enc+"."+ending)
			p, err := graph.ParsePlan("test.toml", []byte(fmt.Sprintf(text, enc, medium, path)), graph.Options{}, run.Catalog())
			if err != nil {
				if !strings.Contains(err.Error(), "; ") {
					t.Errorf("%s in %s is refused without a remedy: %v", enc, ending, err)
				}
				continue
			}
			ran++
			m, err := run.Run(context.Background(), p, run.Options{})
			if err != nil || !m.Complete || !m.Outputs[0].Playable {
				t.Errorf("%s in %s: %v", enc, ending, err)
				continue
			}
			if n := m.Outputs[0].Streams[0].LostInEncoder; n > 0 {
				t.Errorf("%s lost %d frames", enc, n)
			}
			if n := frames(t, path, medium[:1]); medium == "video" && n != "60" || medium == "audio" && n < "10" {
				t.Errorf("%s in %s: %s frames decode", enc, ending, n)
			}
		}
	}
	// 5 + 3 in MP4, 6 + 6 in MKV, 3 + 2 in WebM, 1 + 3 in Ogg, 3 + 3 in TS,
	// and MP3, FLAC and PCM in files of their own.
	if ran != 38 {
		t.Errorf("%d pairs of encoder and container were run, want 38", ran)
	}
}

// Sound and picture together in every container.
func TestContainers(t *testing.T) {
	for _, c := range []struct{ file, video string }{
		{"a.mp4", "x264"}, {"a.mkv", "x264"}, {"a.webm", "vp8"}, {"a.ts", "x264"},
	} {
		t.Run(c.file+" "+c.video, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			text := strings.Replace(fmt.Sprintf(head, ""), `"x264"`, `"`+c.video+`"`, 1) + fmt.Sprintf(mp4, path)
			m, err := run.Run(context.Background(), plan(t, strings.Replace(text, "preset = \"ultrafast\"\n", "", 1)), run.Options{})
			if err != nil || !m.Complete || !m.Outputs[0].Playable {
				t.Fatalf("err %v, manifest %+v", err, m)
			}
			if n := frames(t, path, "v"); n != "60" {
				t.Errorf("%s pictures decode, want 60", n)
			}
		})
	}
}

// A file that somebody removed while it was written is not a recording.
func TestAFileThatVanished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mkv")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for { // once there is something in it
			if st, err := os.Stat(path); err == nil && st.Size() > 0 {
				os.Remove(path)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 100\nslow = \"5ms\"")+fmt.Sprintf(mp4, path)), run.Options{})
	<-gone
	if err == nil || m.Complete || !strings.Contains(err.Error(), "the file is gone") || run.ExitCode(m, err) != run.ExitFailed {
		t.Errorf("got %v, manifest %+v", err, m.Outputs)
	}
}
