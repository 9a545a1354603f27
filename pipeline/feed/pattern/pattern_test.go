package pattern

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math/rand"
	"os"
	"testing"
	"time"
)

// layout is the tight I420 layout of GStreamer: rows rounded up to 4 bytes.
func layout(w, h int) Layout {
	s, cs, ch := (w+3)&^3, ((w+1)/2+3)&^3, (h+1)/2
	rows := (h + 1) &^ 1
	return Layout{w, h, [3]int{s, cs, cs}, [3]int{0, s * rows, s*rows + cs*ch}}
}

func mustVideo(t testing.TB, w, h int, r Rate) *Video {
	t.Helper()
	v, err := NewVideo(layout(w, h), r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var sizes = [][2]int{
	{64, 36}, {160, 90}, {90, 160}, {161, 91}, {176, 144}, {320, 240}, {426, 240}, {640, 360},
	{854, 480}, {1080, 1920}, {1280, 720}, {1366, 768}, {1920, 1080}, {3840, 2160}, {4096, 2160},
}

var numbers = []uint32{0, 1, 2, 29, 30, 255, 256, 1799, 65535, 65536, 1<<31 - 1, 1 << 31, 1<<32 - 1}

// noise is what an encoder at a low rate adds: a standard deviation of 24.
var noise = func() []int {
	rng := rand.New(rand.NewSource(7))
	n := make([]int, 1<<16+1) // the odd length keeps rows from having the same
	for i := range n {
		n[i] = int(rng.NormFloat64() * 24)
	}
	return n
}()

// coded is what an encoder may make of a luma plane: noise, and each pixel mixed
// with the next.
func coded(luma []byte) []byte {
	out := make([]byte, len(luma))
	for i := range luma {
		next := luma[min(i+1, len(luma)-1)]
		v := (3*int(luma[i])+int(next))/4 + noise[i%len(noise)]
		out[i] = byte(min(max(v, 0), 255))
	}
	return out
}

// halved scales a luma plane to half its size by averaging.
func halved(luma []byte, stride, w, h int) []byte {
	out := make([]byte, (w/2)*(h/2))
	for y := range h / 2 {
		for x := range w / 2 {
			at := 2*y*stride + 2*x
			sum := int(luma[at]) + int(luma[at+1]) + int(luma[at+stride]) + int(luma[at+stride+1])
			out[y*(w/2)+x] = byte(sum / 4)
		}
	}
	return out
}

func TestCounterSurvivesCodingAndScaling(t *testing.T) {
	r := Rate{30, 1}
	for _, s := range sizes {
		w, h := s[0], s[1]
		v := mustVideo(t, w, h, r)
		frame := make([]byte, v.Size())
		stride := v.layout.Strides[0]
		for _, n := range numbers {
			if w*h > 1280*720 && n > 1 {
				continue // large pictures add time, not cases
			}
			v.Draw(frame, n)
			luma := frame[:stride*h]
			for name, got := range map[string]func() (uint32, bool){
				"as drawn":   func() (uint32, bool) { return Read(luma, stride, w, h) },
				"with noise": func() (uint32, bool) { return Read(coded(luma), stride, w, h) },
				"at half size": func() (uint32, bool) {
					return Read(halved(luma, stride, w, h), w/2, w/2, h/2)
				},
			} {
				if name == "at half size" && w < 90 {
					continue // below what Read takes
				}
				if m, ok := got(); !ok || m != n {
					t.Errorf("%dx%d frame %d %s: read %d, %v", w, h, n, name, m, ok)
				}
			}
			if Flash(luma, stride, w, h) != r.Flashes(n) || Flash(coded(luma), stride, w, h) != r.Flashes(n) {
				t.Errorf("%dx%d frame %d: the white square is wrong", w, h, n)
			}
		}
	}
}

func TestReadRefusesWhatIsNotThePattern(t *testing.T) {
	const w, h = 320, 180
	rng := rand.New(rand.NewSource(1))
	flat := func(b byte) []byte { return bytes.Repeat([]byte{b}, w*h) }
	random := make([]byte, w*h)
	rng.Read(random)
	v := mustVideo(t, w, h, Rate{30, 1})
	damaged := make([]byte, v.Size())
	v.Draw(damaged, 123)
	b := counterBlock(13, w, h)
	for y := b.y0; y < b.y1; y++ {
		for x := b.x0; x < b.x1; x++ {
			damaged[y*w+x] = black + white - damaged[y*w+x]
		}
	}
	for name, luma := range map[string][]byte{
		"black": flat(0), "video black": flat(16), "white": flat(255), "grey": flat(126),
		"noise": random, "one block inverted": damaged[:w*h], "too short": flat(16)[:w*h-1],
	} {
		if n, ok := Read(luma, w, w, h); ok {
			t.Errorf("%s read as frame %d", name, n)
		}
	}
}

func TestDrawWritesEveryByteTheSameWay(t *testing.T) {
	for _, s := range sizes {
		v := mustVideo(t, s[0], s[1], Rate{25, 1})
		a, b := bytes.Repeat([]byte{0x00}, v.Size()), bytes.Repeat([]byte{0xAA}, v.Size())
		v.Draw(a, 77)
		v.Draw(b, 77)
		// An odd height leaves one row of padding between the planes.
		l := v.layout
		for p, rows := range []int{l.Height, (l.Height + 1) / 2, (l.Height + 1) / 2} {
			from, to := l.Offsets[p], l.Offsets[p]+rows*l.Strides[p]
			if !bytes.Equal(a[from:to], b[from:to]) {
				t.Errorf("%dx%d: plane %d depends on what was in memory before", s[0], s[1], p)
			}
		}
	}
}

func TestBackgroundMoves(t *testing.T) {
	v := mustVideo(t, 320, 180, Rate{30, 1})
	a, b := make([]byte, v.Size()), make([]byte, v.Size())
	v.Draw(a, 1)
	v.Draw(b, 2)
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			differ++
		}
	}
	if differ < len(a)/4 {
		t.Errorf("only %d of %d bytes differ from one frame to the next", differ, len(a))
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		r       Rate
		n       uint32
		at      time.Duration
		flashes bool
	}{
		{Rate{30, 1}, 0, 0, true},
		{Rate{30, 1}, 1, 33_333_333, false},
		{Rate{30, 1}, 30, time.Second, true},
		{Rate{30000, 1001}, 29, 967_633_333, false},
		{Rate{30000, 1001}, 30, 1_001_000_000, true},
		{Rate{60, 1}, 1<<32 - 1, 71582788*time.Second + 250*time.Millisecond, false},
		{Rate{1, 2}, 1, 2 * time.Second, true},
	} {
		if at, f := c.r.At(c.n), c.r.Flashes(c.n); at != c.at || f != c.flashes {
			t.Errorf("%v frame %d: at %d flashes %v, want %d %v", c.r, c.n, at, f, c.at, c.flashes)
		}
	}
}

func TestSizesThatCannotBe(t *testing.T) {
	for _, s := range [][2]int{{0, 0}, {63, 90}, {160, 35}, {20000, 90}} {
		if _, err := NewVideo(layout(s[0], s[1]), Rate{30, 1}); err == nil {
			t.Errorf("%dx%d was taken", s[0], s[1])
		}
	}
	if _, err := NewVideo(layout(160, 90), Rate{0, 1}); err == nil {
		t.Error("a frame rate of 0 was taken")
	}
}

// TestPicture writes a PNG when asked, to look at with one's own eyes.
func TestPicture(t *testing.T) {
	const w, h = 1280, 720
	v := mustVideo(t, w, h, Rate{30, 1})
	frame := make([]byte, v.Size())
	v.Draw(frame, 150)
	l := v.layout
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	copy(img.Y, frame[:l.Offsets[1]])
	copy(img.Cb, frame[l.Offsets[1]:l.Offsets[2]])
	copy(img.Cr, frame[l.Offsets[2]:])
	text := rect{w / 20, h / 4, w / 2, h / 2}
	bright := 0
	for y := text.y0; y < text.y1; y++ {
		for x := text.x0; x < text.x1; x++ {
			if img.YCbCrAt(x, y) == (color.YCbCr{Y: white, Cb: neutral, Cr: neutral}) {
				bright++
			}
		}
	}
	if area := (text.x1 - text.x0) * (text.y1 - text.y0); bright < area/20 || bright > area/2 {
		t.Errorf("%d of %d pixels of the text are white", bright, area)
	}
	if path := os.Getenv("PATTERN_PNG"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := png.Encode(f, img); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkDraw1080p(b *testing.B) {
	v := mustVideo(b, 1920, 1080, Rate{30, 1})
	ring := make([]byte, 8*v.Size()) // several slots, as in a ring: not always the same warm one
	b.SetBytes(int64(v.Size()))
	for i := 0; b.Loop(); i++ {
		v.Draw(ring[i%8*v.Size():][:v.Size()], uint32(i))
	}
}
