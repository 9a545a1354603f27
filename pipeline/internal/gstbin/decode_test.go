package gstbin

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// media makes a small file with ffmpeg.
func media(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("ffmpeg", append(append([]string{"-hide_banner", "-loglevel", "error", "-y"}, args...), path)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

var both = []string{"-f", "lavfi", "-i", "testsrc=s=322x180:r=25:d=2", "-f", "lavfi", "-i", "sine=r=44100:d=2", "-c:v", "libx264", "-preset", "ultrafast"}

func open(t *testing.T, path string, video, audio bool) *Decoder {
	t.Helper()
	d, err := OpenDecoder(context.Background(), path, video, audio, "I420")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// drain takes a stream to its end and gives the frames and the sum of bytes.
func drain(t *testing.T, s *Decoding) (frames []Decoded, bytes int) {
	t.Helper()
	for {
		f, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return frames, bytes
		}
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, f.Size)
		if err := s.Copy(buf, 0); err != nil {
			t.Fatal(err)
		}
		frames, bytes = append(frames, f), bytes+len(buf)
	}
}

func TestDecodeBothStreams(t *testing.T) {
	d := open(t, media(t, "a.mp4", both...), true, true)
	type sound struct {
		frames []Decoded
		bytes  int
	}
	done := make(chan sound)
	go func() {
		f, n := drain(t, d.Audio())
		done <- sound{f, n}
	}()
	frames, _ := drain(t, d.Video())
	if len(frames) != 50 {
		t.Errorf("%d video frames, want 50", len(frames))
	}
	v := frames[0].Format.Video
	// 322 pixels are rounded up to rows of 324 and 164 bytes.
	if v.FourCC != "I420" || v.Width != 322 || v.Height != 180 || v.FPSNum != 25 || v.Strides != [4]int{324, 164, 164} ||
		v.Offsets != [4]int{0, 324 * 180, 324*180 + 164*90} || frames[0].Size != 324*180+164*180 {
		t.Errorf("format %+v, %d bytes", v, frames[0].Size)
	}
	for i, f := range frames {
		if want := time.Duration(i) * 40 * time.Millisecond; f.PTS != want {
			t.Errorf("frame %d at %v, want %v", i, f.PTS, want)
		}
		if (f.Format != nil) != (i == 0) {
			t.Errorf("frame %d announces a format: %v", i, f.Format != nil)
		}
	}
	s := <-done
	a := s.frames[0].Format.Audio
	if a.Sample != "S16LE" || a.Rate != 44100 || a.Channels != 1 {
		t.Errorf("format %+v", a)
	}
	if got := time.Duration(s.bytes/2) * time.Second / 44100; got < 1990*time.Millisecond || got > 2050*time.Millisecond {
		t.Errorf("%v of sound, want 2s", got)
	}
}

func TestDecodeContentIsRight(t *testing.T) {
	path := media(t, "flat.mkv", "-f", "lavfi", "-i", "color=c=white:s=162x90:r=10:d=0.5", "-pix_fmt", "yuv420p", "-c:v", "ffv1")
	d := open(t, path, true, true)
	if d.Audio() != nil {
		t.Error("found audio in a file without")
	}
	for range 5 {
		f, err := d.Video().Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, f.Size)
		if err := d.Video().Copy(buf, 0); err != nil {
			t.Fatal(err)
		}
		for y := range 90 {
			for x := range 162 {
				if buf[y*164+x] != 235 {
					t.Fatalf("pixel %d,%d is %d, want 235", x, y, buf[y*164+x])
				}
			}
		}
	}
	if err := d.Video().Copy(make([]byte, 10), 0); err == nil {
		t.Error("a part of a picture was copied")
	}
}

func TestDecodeSizeChange(t *testing.T) {
	dir := t.TempDir()
	var ts []byte
	for _, size := range []string{"320x180", "160x90"} {
		b, err := os.ReadFile(media(t, size+".ts", "-f", "lavfi", "-i", "testsrc=s="+size+":r=25:d=1", "-c:v", "libx264", "-g", "5", "-bf", "0"))
		if err != nil {
			t.Fatal(err)
		}
		ts = append(ts, b...)
	}
	path := filepath.Join(dir, "two.ts")
	if err := os.WriteFile(path, ts, 0o600); err != nil {
		t.Fatal(err)
	}
	frames, _ := drain(t, open(t, path, true, false).Video())
	var widths []int
	for _, f := range frames {
		if f.Format != nil {
			widths = append(widths, f.Format.Video.Width)
		}
	}
	if len(widths) != 2 || widths[0] != 320 || widths[1] != 160 {
		t.Errorf("widths %v, want 320 then 160", widths)
	}
}

func TestDecodeErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte("not a film\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	silent := media(t, "silent.mp4", "-f", "lavfi", "-i", "testsrc=s=160x90:r=25:d=1", "-c:v", "libx264")
	for path, c := range map[string]struct {
		video, audio bool
		say          string
	}{
		filepath.Join(dir, "none.mp4"): {true, true, "no such file"},
		text:                           {true, true, "notes.txt: "},
		silent:                         {false, true, "silent.mp4: "},
	} {
		began := time.Now()
		d, err := OpenDecoder(context.Background(), path, c.video, c.audio, "I420")
		if err == nil {
			d.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %q does not say %q", path, err, c.say)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: took %v to fail", path, took)
		}
	}
}

func TestDecodeStopsWithItsContext(t *testing.T) {
	d := open(t, media(t, "a.mp4", both...), true, true)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	// Audio is not taken: sooner or later video waits, and may not wait for ever.
	var err error
	for err == nil {
		_, err = d.Video().Next(ctx)
	}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
