package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A minute of 1080p30 with sound from another process: every frame once, and
// not one copied, unless the encoder looks further ahead than the ring is long.
func TestAMinuteOf1080p(t *testing.T) {
	seconds := 60
	if testing.Short() {
		seconds = 6
	}
	const frame = 1920 * 1080 * 3 / 2
	for _, c := range []struct {
		name, capacity string
		encoder        []string
		heldMost       int64 // at least
		copies         bool
	}{
		{"zero latency", "64MiB", []string{"--set", "v.tune=zerolatency"}, 1, false},
		{"default look-ahead, large ring", "256MiB", []string{"--set", "v.preset=veryfast", "--set", "v.lookahead=40"}, 40, false},
		{"default look-ahead, ring of 8 frames", fmt.Sprint(8 * (frame + 4096)), []string{"--set", "v.preset=veryfast", "--set", "v.lookahead=40"}, 40, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recordTo(t, graph(t, record), ringName(), "a.mp4", append(c.encoder, "--set", "app.capacity="+c.capacity)...)
			feed := start(t, "feed", "--ring", r.ring, "--pattern", "1920x1080@30", "--frames", fmt.Sprint(30*seconds), "--pace", "reader")
			if code := feed.wait(10 * time.Minute); code != 0 {
				t.Fatalf("feed ended with %d", code)
			}
			m := r.finish(time.Minute)
			whole(t, r.out, 30*seconds)
			src := m.Sources["app"]
			video := src.Pads["video"]
			t.Logf("held at most %d frames, copied %d, ring %d bytes", src.HeldMost, video.Copied, src.Capacity)
			if (video.Copied > 0) != c.copies || !c.copies && src.Pads["audio"].Copied > 0 {
				t.Errorf("%d video and %d audio frames were copied, want copies: %v", video.Copied, src.Pads["audio"].Copied, c.copies)
			}
			if src.HeldMost < c.heldMost {
				t.Errorf("at most %d frames were held; a test of look-ahead needs %d", src.HeldMost, c.heldMost)
			}
			if video.Frames != int64(30*seconds) || video.DroppedFull+video.Dropped+video.Lost+video.Late != 0 {
				t.Errorf("counters are %+v", video)
			}
		})
	}
}

func TestSealedMemoryOverASocket(t *testing.T) {
	sock := "unix:" + filepath.Join(t.TempDir(), "ring.sock")
	r := recordTo(t, graph(t, record), sock, "a.mkv")
	if code := start(t, "feed", "--ring", sock, "--pattern", "640x360@30", "--frames", "90", "--pace", "reader").wait(time.Minute); code != 0 {
		t.Fatalf("feed ended with %d", code)
	}
	r.finish(time.Minute)
	whole(t, r.out, 90)
}

// A producer dies, and the recording goes on with the next one.
func TestWaitingForTheNextProducer(t *testing.T) {
	ring := ringName()
	r := recordTo(t, graph(t, record), ring, "a.mkv", "--set", "app.on_producer_exit=wait")
	first := start(t, "feed", "--ring", ring, "--pattern", "640x360@30")
	r.says("format")
	time.Sleep(1500 * time.Millisecond)
	first.signal(syscall.SIGKILL)
	r.says("waiting for the next producer")
	if code := start(t, "feed", "--ring", ring, "--pattern", "640x360@30", "--frames", "60").wait(20 * time.Second); code != 0 {
		t.Fatalf("the second producer ended with %d", code)
	}
	m := r.finish(20 * time.Second)
	if n := m.Sources["app"].Pads["video"].Frames; n < 90 {
		t.Errorf("%d frames from two producers, want more than 90", n)
	}
	if got := measure(t, r.out); int64(got.Frames) != m.Sources["app"].Pads["video"].Frames || got.Unreadable != 0 {
		t.Errorf("the file holds %d pictures, %d were delivered", got.Frames, m.Sources["app"].Pads["video"].Frames)
	}
}

func TestTimeouts(t *testing.T) {
	t.Run("no producer", func(t *testing.T) {
		r := recordTo(t, graph(t, record), ringName(), "a.mp4", "--set", "app.attach_timeout=300ms")
		if code := r.wait(10 * time.Second); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if s := r.err.String(); !strings.Contains(s, "graph.toml:5:1: stage app: no producer attached") || !strings.Contains(s, "mpipe feed --ring") {
			t.Errorf("it said %s", s)
		}
		if _, err := os.Stat(r.out); err == nil {
			t.Error("an empty file was left")
		}
	})
	t.Run("silent producer", func(t *testing.T) {
		r := recordTo(t, graph(t, record), ringName(), "a.mp4", "--set", "app.stall_timeout=700ms")
		feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
		r.says("format")
		time.Sleep(1500 * time.Millisecond)
		feed.signal(syscall.SIGSTOP)
		if code := r.wait(20 * time.Second); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if s := r.err.String(); !strings.Contains(s, "gave nothing for 700ms") {
			t.Errorf("it said %s", tail(s))
		}
		if got := measure(t, r.out); got.Frames < 30 || got.Missing+got.OutOfOrder != 0 {
			t.Errorf("what came before the silence is %+v", got)
		}
	})
	t.Run("wrong streams", func(t *testing.T) {
		const reason = "the graph uses app.audio, but the producer offers video (video)"
		r := recordTo(t, graph(t, record), ringName(), "a.mp4", "--set", "app.attach_timeout=2s")
		feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--no-audio")
		if code := feed.wait(10 * time.Second); code != 1 || !strings.Contains(feed.err.String(), reason) {
			t.Errorf("the producer: exit code %d, it said %s", code, feed.err.String())
		}
		if code := r.wait(10 * time.Second); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if s := r.err.String(); !strings.Contains(s, reason) {
			t.Errorf("it said %s", s)
		}
	})
}

// One word of the file, or of the command line, changes the encoder.
func TestSwappingTheEncoder(t *testing.T) {
	vp8 := strings.Replace(strings.Replace(record, `"x264"`, `"vp8"`, 1), "preset = \"ultrafast\"\n", "", 1)
	plain := strings.Replace(record, "preset = \"ultrafast\"\n", "", 1)
	gst := strings.Replace(plain, `"x264"`, "\"gst\"\nelement = \"vp8enc\"\ngst = { deadline = 1 }", 1)
	for _, c := range []struct {
		name, text, codec string
		args              []string
	}{
		{"x264", plain, "h264", nil},
		{"one word in the file", vp8, "vp8", nil},
		{"one word on the command line", plain, "h264", []string{"--set", "v.type=openh264"}},
		{"any element", gst, "vp8", nil},
		{"another element", strings.Replace(strings.Replace(gst, "vp8enc", "vp9enc", 1), "deadline = 1", "deadline = 1, cpu-used = 8", 1), "vp9", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recordTo(t, graph(t, c.text), ringName(), "a.mkv", c.args...)
			start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "60", "--pace", "reader")
			r.finish(time.Minute)
			whole(t, r.out, 60)
			out, _ := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=codec_name", "-of", "csv=p=0", r.out).Output()
			if strings.TrimSpace(string(out)) != c.codec {
				t.Errorf("the video is %s, want %s", out, c.codec)
			}
		})
	}
}

// What another program writes into a pipe, and a media file.
func TestOtherProducers(t *testing.T) {
	r := recordTo(t, graph(t, record), ringName(), "pattern.mp4")
	start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "60", "--pace", "reader")
	r.finish(time.Minute)

	t.Run("media file", func(t *testing.T) {
		copied := recordTo(t, graph(t, record), ringName(), "copy.mp4")
		start(t, "feed", "--ring", copied.ring, "--pace", "reader", r.out)
		copied.finish(time.Minute)
		whole(t, copied.out, 60)
	})
	t.Run("ffmpeg through a pipe", func(t *testing.T) {
		text := strings.Replace(record, "[stages.a]\ntype = \"opus\"\ninputs = [\"app.audio\"]\n", "", 1)
		piped := recordTo(t, graph(t, strings.Replace(text, `["v", "a"]`, `["v"]`, 1)), ringName(), "piped.mp4")
		cmd := exec.Command("bash", "-c", fmt.Sprintf("ffmpeg -v error -i %q -f rawvideo -pix_fmt yuv420p - | %q feed --ring %s --video 640x360@30 --pace reader", r.out, mpipe, piped.ring))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		piped.finish(time.Minute)
		if got := measure(t, piped.out); got.Frames != 60 || got.Missing+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("recording holds %+v", got)
		}
	})
}
