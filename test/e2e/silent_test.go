package e2e

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/ring"
)

// A producer that offers sound and never plays any: silence is recorded, and the
// run says so.
func TestAStreamThatStaysSilent(t *testing.T) {
	for _, name := range []string{"a.mp4", "a.mkv"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recordTo(t, graph(t, record), ringName(), name)
			format := ring.I420(320, 180, 30, 1)
			p := produce(t, r.ring, format)
			const frames = 240
			draw(t, p, format, frames)
			p.Close()
			m := r.finish(30 * time.Second)
			if !strings.Contains(r.err.String(), "stream gives nothing; silence is recorded until it does") {
				t.Errorf("it did not say that the sound is missing: %s", tail(r.err.String()))
			}
			if s := m.Outputs[0].Streams; s[0].Frames != frames || s[1].Frames < 200 {
				t.Errorf("the file holds %+v", s)
			}
			if got := measure(t, r.out); got.Frames != frames || got.Missing+got.OutOfOrder+got.Repeated != 0 {
				t.Errorf("recording holds %+v", got)
			}
		})
	}
}

// Pictures stop for 38 seconds while the sound goes on, as a screen that stands
// still does: the sound is all there, and the pictures go on where they should.
func TestPicturesThatPause(t *testing.T) {
	for _, name := range []string{"a.mp4", "a.mkv", "a.ts"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recordTo(t, graph(t, record), ringName(), name, "--set", "v.preset=veryfast")
			format := ring.I420(320, 180, 30, 1)
			p := produce(t, r.ring, format)
			video, err := p.SetVideo(0, format)
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
			base := ring.Now()
			write := func(stream int, id uint32, size int, at, d time.Duration) {
				slot, err := w.Claim(stream, id, size, ring.Block(10*time.Second))
				if err != nil {
					t.Fatalf("stream %d at %v: %v", stream, at, err)
				}
				slot.Commit(base+int64(at), int64(d), 0)
			}
			for i := range 4000 { // 40 s of sound
				at := time.Duration(i) * 10 * time.Millisecond
				if i%3 == 0 && (i < 100 || i > 3900) {
					write(0, video, format.Size(), at, 30*time.Millisecond)
				}
				write(1, audio, 1920, at, 10*time.Millisecond)
			}
			p.Close()
			m := r.finish(30 * time.Second)
			pads := m.Sources["app"].Pads
			if a := pads["audio"]; a.Frames != 4000 || a.DroppedFull+a.Late+a.Filled != 0 {
				t.Errorf("sound: %+v, want 4000 packets and none lost", a)
			}
			if v := pads["video"]; v.Frames != 67 || v.Late != 0 || v.Filled < 8*30 {
				t.Errorf("pictures: %+v, want 67 and repeats", v)
			}
			for _, medium := range []string{"v", "a"} {
				out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", medium, "-show_entries", "packet=pts_time", "-of", "default=nw=1:nk=1", r.out).Output()
				stamps := strings.Fields(string(out))
				if err != nil || len(stamps) == 0 {
					t.Fatalf("ffprobe: %v", err)
				}
				first, _ := strconv.ParseFloat(stamps[0], 64)
				last, _ := strconv.ParseFloat(stamps[len(stamps)-1], 64)
				if last-first < 39.5 || last-first > 40.5 {
					t.Errorf("%s goes from %.2f s to %.2f s, want 40 s", medium, first, last)
				}
			}
		})
	}
}

// produce attaches with one stream of pictures and one of sound.
func produce(t *testing.T, addr string, format ring.VideoFormat) *ring.Producer {
	t.Helper()
	p, err := ring.Attach(context.Background(), addr, []ring.StreamSpec{
		{Name: "video", Kind: ring.KindVideo, MaxFrame: format.Size()},
		{Name: "audio", Kind: ring.KindAudio, MaxFrame: 1920},
	}, ring.AttachOptions{Name: "e2e"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// draw writes n pictures of the test pattern in real time.
func draw(t *testing.T, p *ring.Producer, format ring.VideoFormat, n int) {
	t.Helper()
	id, err := p.SetVideo(0, format)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pic, err := pattern.NewVideo(pattern.Layout{
		Width: format.Width, Height: format.Height, Strides: [3]int(format.Strides[:3]), Offsets: [3]int(format.Offsets[:3]),
	}, pattern.Rate{Num: 30, Den: 1})
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Second / 30)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		slot, err := w.Claim(0, id, format.Size(), ring.Block(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		pic.Draw(slot.Data, uint32(i))
		slot.Commit(ring.Now(), int64(time.Second/30), 0)
	}
}
