package feed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/ring"
)

func TestRawFrames(t *testing.T) {
	// 18 x 10 is not a multiple of 4: rows must not be taken for padded ones.
	const w, h, count = 18, 10, 7
	size := w * h * 3 / 2
	data := make([]byte, count*size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	sound := make([]byte, 4410*2*2+44) // 100 ms and 11 samples
	for i := range sound {
		sound[i] = byte(i * 5)
	}
	v := VideoSpec{w, h, pattern.Rate{Num: 25, Den: 1}}
	s, err := Raw(&RawVideo{VideoSpec: v, From: bytes.NewReader(data), Name: "standard input"},
		&RawAudio{AudioSpec: AudioSpec{44100, 2}, From: bytes.NewReader(sound), Name: "sound"})
	if err != nil {
		t.Fatal(err)
	}
	c := consume(t, ring.Config{}, 0, 0)
	r := mustFeed(t, c, s, Options{AsFast: true})
	got := c.result(t)
	if !bytes.Equal(bytes.Join(got["video"].frames, nil), data) || len(got["video"].frames) != count {
		t.Error("the pictures are not the ones that came in")
	}
	f := got["video"].formats[0].Video
	if f.Strides != [4]int{18, 9, 9} || f.Offsets != [4]int{0, 180, 225} {
		t.Errorf("strides %v, offsets %v", f.Strides, f.Offsets)
	}
	if !bytes.Equal(bytes.Join(got["audio"].frames, nil), sound) {
		t.Error("the sound is not what came in")
	}
	if r.Reason != ReasonEnd || r.Streams[1].Frames != 11 {
		t.Errorf("report %+v", r)
	}
}

func TestRawEndsWithinAFrame(t *testing.T) {
	v := VideoSpec{16, 16, pattern.Rate{Num: 25, Den: 1}}
	s, err := Raw(&RawVideo{VideoSpec: v, From: strings.NewReader(strings.Repeat("x", 384+100)), Name: "standard input"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := consume(t, ring.Config{}, 0, 0)
	r, err := Run(context.Background(), s, Options{Ring: c.addr, AsFast: true})
	want := "standard input ended within frame 2: 100 of 384 bytes; does it hold I420 pictures of 16x16?"
	if err == nil || err.Error() != want || r.Streams[0].Frames != 1 {
		t.Errorf("got %v, want %s; report %+v", err, want, r)
	}
	if got := c.result(t)["video"]; len(got.frames) != 1 || !got.ended {
		t.Errorf("%d frames arrived, end %v", len(got.frames), got.ended)
	}
}

func TestRawStopsWhileWaiting(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	s, err := Raw(&RawVideo{VideoSpec: VideoSpec{16, 16, pattern.Rate{Num: 25, Den: 1}}, From: pr, Name: "standard input"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pw.Write(make([]byte, 400)) // one frame and a bit of the next
	c := consume(t, ring.Config{}, 0, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, s, Options{Ring: c.addr, AsFast: true})
	if err != nil || r.Reason != ReasonSignal || r.Streams[0].Frames != 1 {
		t.Errorf("%v, report %+v", err, r)
	}
	c.result(t)
}

// TestRawLayouts compares the layouts with ffmpeg's idea of them.
func TestRawLayouts(t *testing.T) {
	for fourcc, pixfmt := range map[string]string{
		"I420": "yuv420p", "Y42B": "yuv422p", "Y444": "yuv444p", "NV12": "nv12", "NV21": "nv21",
		"I420_10LE": "yuv420p10le", "P010_10LE": "p010le", "YUY2": "yuyv422", "UYVY": "uyvy422", "GRAY8": "gray",
		"RGB": "rgb24", "BGRA": "bgra", "xRGB": "0rgb",
	} {
		for _, size := range []string{"34x18", "33x17"} {
			v, err := ParseVideo(size)
			if err != nil {
				t.Fatal(err)
			}
			f, err := tight(&RawVideo{VideoSpec: v, FourCC: fourcc})
			if err != nil {
				if size == "34x18" || !strings.Contains(err.Error(), "even") {
					t.Errorf("%s %s: %v", fourcc, size, err)
				}
				continue
			}
			out, err := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "color=s=64x64:d=1:r=1", "-frames:v", "1",
				"-vf", "format="+pixfmt+",scale="+strings.ReplaceAll(size, "x", ":"), "-pix_fmt", pixfmt, "-f", "rawvideo", "-").Output()
			if err != nil {
				t.Fatalf("ffmpeg %s %s: %v", pixfmt, size, err)
			}
			if len(out) != f.Size() {
				t.Errorf("%s %s: %d bytes, ffmpeg writes %d", fourcc, size, f.Size(), len(out))
			}
		}
	}
}

// failing is a reader whose medium breaks.
type failing struct{ io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the disk is on fire")
	}
	return n, err
}

func TestBrokenInput(t *testing.T) {
	s, err := Raw(&RawVideo{VideoSpec: VideoSpec{16, 16, pattern.Rate{Num: 25, Den: 1}}, From: failing{strings.NewReader("abc")}, Name: "standard input"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := consume(t, ring.Config{}, 0, 0)
	_, err = Run(context.Background(), s, Options{Ring: c.addr, AsFast: true})
	if err == nil || err.Error() != "standard input: the disk is on fire" {
		t.Errorf("got %v", err)
	}
	c.result(t)
}
