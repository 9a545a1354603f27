package filter_test

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
)

const canvas = "luma = 60\nwidth = 320\nheight = 180\nframes = 30"

func overlay(props string) string { return one("video", canvas, "type = \"overlay\"\n"+props) }

// Text is where it should be, in its colour, and nowhere else.
func TestOverlayText(t *testing.T) {
	long(t)
	for position, at := range map[string][4]int{
		"top-left": {10, 10, 160, 50}, "top": {100, 10, 220, 50}, "bottom-right": {200, 140, 310, 170}, "center": {100, 60, 220, 120},
	} {
		path, _ := record(t, "video", overlay(fmt.Sprintf("text = \"mpipe\"\nmargin = 10\nposition = %q", position)), run.Options{})
		f := watch(t, path)
		inside, all := f.bright(10, at[0], at[1], at[2], at[3]), f.bright(10, 0, 0, 320, 180)
		if inside < 50 || inside != all {
			t.Errorf("%s: %d bright pixels in %v, %d in all", position, inside, at, all)
		}
	}
	path, _ := record(t, "video", overlay("text = \"mpipe\"\nfontcolor = \"black\"\nfontsize = 60"), run.Options{})
	if f := watch(t, path); f.bright(10, 0, 0, 320, 180) > 0 {
		t.Error("black text is bright")
	}
}

// A text that is changed while frames pass is another one from then on.
func TestOverlayTextChanges(t *testing.T) {
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		time.Sleep(700 * time.Millisecond)
		for prop, value := range map[string]any{"fontcolor": "purple-ish", "position": "behind"} {
			if err := c.Set(done, "it", prop, value); err == nil {
				t.Errorf("%s took %v", prop, value)
			}
		}
		if err := c.Set(done, "it", "text", "WWWWWWWWWW"); err != nil {
			t.Error(err)
		}
	}()
	slow := strings.Replace(overlay(`text = "."`), "frames = 30", "frames = 120\npace = \"15ms\"", 1)
	path, _ := record(t, "video", slow, run.Options{Control: c})
	close(done)
	f := watch(t, path)
	if first, last := f.bright(0, 0, 0, 320, 180), f.bright(119, 0, 0, 320, 180); first > 20 || last < 200 {
		t.Errorf("%d bright pixels before and %d after", first, last)
	}
}

func TestOverlayClock(t *testing.T) {
	long(t)
	path, _ := record(t, "video", overlay("clock = \"%H:%M\"\nposition = \"bottom-left\""), run.Options{})
	f := watch(t, path)
	if inside, all := f.bright(10, 0, 130, 120, 180), f.bright(10, 0, 0, 320, 180); inside < 50 || inside != all {
		t.Errorf("%d bright pixels at the lower left, %d in all", inside, all)
	}
}

// An image lies where it should, to the pixel.
func TestOverlayImage(t *testing.T) {
	long(t)
	file := filepath.Join(t.TempDir(), "white.png")
	img := image.NewRGBA(image.Rect(0, 0, 40, 20))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	img.Set(0, 0, color.White)
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(out, img); err != nil {
		t.Fatal(err)
	}
	out.Close()
	for position, at := range map[string][2]int{"top-left": {10, 10}, "right": {270, 80}, "bottom-right": {270, 150}, "center": {140, 80}} {
		path, _ := record(t, "video", overlay(fmt.Sprintf("image = %q\nmargin = 10\nposition = %q", file, position)), run.Options{})
		f, x, y := watch(t, path), at[0], at[1]
		f.spots(t, 10, map[[2]int]int{{x - 2, y + 10}: 60, {x + 2, y + 10}: 235, {x + 37, y + 10}: 235, {x + 42, y + 10}: 60,
			{x + 20, y - 2}: 60, {x + 20, y + 2}: 235, {x + 20, y + 17}: 235, {x + 20, y + 22}: 60})
		if t.Failed() {
			t.Fatal(position)
		}
	}
	path, _ := record(t, "video", overlay(fmt.Sprintf("image = %q\nwidth = 80\nheight = 80\nalpha = 0.5\nmargin = 0", file)), run.Options{})
	watch(t, path).spots(t, 10, map[[2]int]int{{4, 4}: 148, {75, 75}: 148, {84, 40}: 60})
}

// An image that is not there, or is none, is refused before anything starts.
func TestOverlayImageIsLookedAt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "cannot be read as an image", file + "x": "no such file"} {
		p, err := parse(overlay(fmt.Sprintf("image = %q", path)) + "[sinks.n]\ntype = \"null\"\ninputs = [\"it\"]\n")
		if err != nil {
			t.Fatal(err)
		}
		m, err := run.Run(t.Context(), p, run.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || run.ExitCode(m, err) != run.ExitConfig {
			t.Errorf("%s: got %v (exit %d), want %q", path, err, run.ExitCode(m, err), want)
		}
	}
}
