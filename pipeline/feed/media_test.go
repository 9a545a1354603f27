package feed

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/ring"
)

func TestMedia(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mkv")
	cmd := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=162x90:r=25:d=2", "-f", "lavfi", "-i", "sine=r=44100:d=2",
		"-c:v", "libx264", "-c:a", "flac", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, err := Media(context.Background(), path, MediaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := consume(t, ring.Config{}, 0, 0)
	r := mustFeed(t, c, s, Options{AsFast: true})
	got := c.result(t)
	v, a := got["video"], got["audio"]
	if len(v.frames) != 50 || v.pts[49]-v.pts[0] != int64(49*40*time.Millisecond) || v.formats[0].Video.Width != 162 {
		t.Errorf("%d pictures over %v, format %+v", len(v.frames), time.Duration(v.pts[49]-v.pts[0]), v.formats[0].Video)
	}
	samples := 0
	for i, f := range a.frames {
		if want := a.pts[0] + int64(timeOf(int64(samples), 44100)); a.pts[i] < want-int64(time.Millisecond) || a.pts[i] > want+int64(time.Millisecond) {
			t.Fatalf("packet %d at %d, want %d", i, a.pts[i], want)
		}
		if samples += len(f) / 2; len(f) > 441*2 {
			t.Errorf("packet %d has %d bytes", i, len(f))
		}
	}
	if samples != 88200 || r.Reason != ReasonEnd {
		t.Errorf("%d samples, reason %q", samples, r.Reason)
	}
}

func TestMediaThatGrows(t *testing.T) {
	var ts []byte
	for _, size := range []string{"160x90", "320x180"} {
		out, err := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s="+size+":r=25:d=1", "-c:v", "libx264", "-g", "5", "-bf", "0", "-f", "mpegts", "-").Output()
		if err != nil {
			t.Fatal(err)
		}
		ts = append(ts, out...)
	}
	path := filepath.Join(t.TempDir(), "two.ts")
	if err := os.WriteFile(path, ts, 0o600); err != nil {
		t.Fatal(err)
	}
	feed := func(most VideoSpec) (map[string]*heard, error) {
		s, err := Media(context.Background(), path, MediaOptions{MaxSize: most})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c := consume(t, ring.Config{}, 0, 0)
		_, err = Run(context.Background(), s, Options{Ring: c.addr, AsFast: true})
		return c.result(t), err
	}
	if _, err := feed(VideoSpec{}); err == nil || !strings.Contains(err.Error(), "--max-size 320x180") {
		t.Errorf("growing unannounced: %v", err)
	}
	got, err := feed(VideoSpec{Width: 320, Height: 180})
	if err != nil || len(got["video"].formats) != 2 || got["video"].formats[1].Video.Width != 320 {
		t.Errorf("growing as announced: %v, formats %+v", err, got["video"].formats)
	}
}
