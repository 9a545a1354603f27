package browser

import (
	"encoding/binary"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mpipe/mpipe/browser/chromium"
)

// people of browser/example/meeting.js: where each is seen, what its frames count
// from, what it sounds like.
var people = []struct {
	name        string
	x, y, first int
	tone        float64
}{
	{"ann", 0, 0, 10000, 330}, {"bob", 320, 0, 20000, 550}, {"cai", 0, 180, 30000, 880}, {"dee", 320, 180, 40000, 1320},
}

// Four participants over WebRTC: each is in its place of the picture and in the sound,
// also one that leaves and comes back.
func TestAMeeting(t *testing.T) {
	b := startBrowser(t, chromium.Options{})
	out := filepath.Join(t.TempDir(), "a.mp4")
	r := recordFile(t, "../../graphs/meeting.toml", out, "--param", "user_data_dir="+b.Dir(), "--param", "out="+out,
		"--set", "picture.width=640", "--set", "picture.height=360") // a busy machine keeps up with that
	page, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, page, "/example/meeting.html?seconds=0&w=320&h=180&fps=10")
	p.until(time.Minute, "a recording", func(r result) bool { return r.State == "live" })
	r.recorded(2)
	// What was painted of bob until it left and since it came back.
	var left, back, end int
	eval := func(js string, into any) {
		t.Helper()
		if err := p.Eval(t.Context(), js, into); err != nil {
			t.Fatal(err)
		}
	}
	eval(`leave("bob"), result.people.bob.n`, &left)
	time.Sleep(2 * time.Second)
	eval(`comeBack("bob").then(() => result.people.bob.n)`, &back)
	time.Sleep(2 * time.Second)
	eval(`end(), result.people.bob.n`, &end)
	p.until(time.Minute, "its end", done)
	m := r.finish(time.Minute)

	for i, who := range people {
		in := m.Stages["picture"].Inputs[i]
		got := measure(t, cell(t, out, who.x, who.y))
		t.Logf("%s: %+v, %+v", who.name, got, in)
		// WebRTC itself leaves frames out when there is too little of the processor.
		if got.First < who.first || got.Last >= who.first+10000 || got.Last-got.First < 40 || got.OutOfOrder != 0 ||
			got.Unreadable > got.Frames/20 || got.Frames-got.Repeated-got.Unreadable < 30 {
			t.Errorf("the place of %s holds %+v", who.name, got)
		}
		if who.name == "bob" && (got.First >= left || got.Last <= back || got.Last >= end || in.Missing < 0.5 || in.Late > 5) {
			t.Errorf("bob left at %d, came back at %d and was seen until %d: its place holds %+v, and the account says %+v", left, back, end, got, in)
		}
	}
	t.Logf("sounds: %+v\nroom: %+v\npage: %+v", m.Stages["sound"].Inputs, m.Sources["room"], p.result().Streams)
	heard := tones(t, out)
	for i, who := range people {
		first, last, silent := -1, -1, 0
		for n, w := range heard {
			if w[i] && first < 0 {
				first = n
			}
			if w[i] {
				last = n
			}
		}
		for n := max(first, 0); n < last; n++ {
			if !heard[n][i] {
				silent++
			}
		}
		t.Logf("%s: %.0f Hz from %d to %d of %d tenths of a second, silent for %d", who.name, who.tone, first, last, len(heard), silent)
		if away := who.name == "bob"; last-first < 40 || away != (silent > 10) {
			t.Errorf("the tone of %s is there from %d to %d of %d tenths of a second, silent for %d of them", who.name, first, last, len(heard), silent)
		}
	}
}

// cell cuts the pattern in one place of the grid out, without the name below it.
func cell(t *testing.T, file string, x, y int) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "cell.mkv")
	if msg, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-vf", fmt.Sprintf("crop=320:120:%d:%d", x, y), "-an", "-c:v", "ffv1", out).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v %s", err, msg)
	}
	return out
}

// tones says for each tenth of a second whose tone sounds.
func tones(t *testing.T, file string) (heard [][4]bool) {
	t.Helper()
	const rate, window = 48000, 4800
	raw, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-vn", "-ac", "1", "-ar", fmt.Sprint(rate), "-f", "f32le", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]float64, len(raw)/4)
	for i := range pcm {
		pcm[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	for ; len(pcm) >= window; pcm = pcm[window:] {
		var w [4]bool
		for i, who := range people {
			var re, im float64
			for k, s := range pcm[:window] {
				sin, cos := math.Sincos(2 * math.Pi * who.tone * float64(k) / rate)
				re, im = re+s*cos, im+s*sin
			}
			w[i] = 2*math.Hypot(re, im)/window > 0.05 // the page plays 0.15
		}
		heard = append(heard, w)
	}
	return heard
}
