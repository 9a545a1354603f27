package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/ring"
)

// gst makes files with a pipeline of GStreamer's, the measure of what is right.
func gst(t *testing.T, pipeline string) {
	t.Helper()
	out, err := exec.Command("gst-launch-1.0", append([]string{"-q"}, strings.Fields(pipeline)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gst-launch-1.0 %s: %v\n%s", pipeline, err, out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPicture compares with videoconvert into 16 bits, whose short cut for 8 bits
// is up to 5 levels off, and away from the edges of the colours, where it
// interpolates chroma.
func TestPicture(t *testing.T) {
	type form struct {
		fourcc, colorimetry string
		w, h                int
	}
	var forms []form
	for _, c := range ring.FourCCs() {
		forms = append(forms, form{c, "", 333, 242})
	}
	for _, c := range []string{"bt601", "bt709", "smpte240m", "bt2020", "1:3:5:1", "1:4:0:0"} {
		forms = append(forms, form{"I420", c, 320, 240})
	}
	forms = append(forms, form{"NV12", "", 320, 720}, form{"I420_10LE", "bt2020-10", 320, 240})
	for _, f := range forms {
		t.Run(fmt.Sprintf("%s,%dx%d,%s", f.fourcc, f.w, f.h, f.colorimetry), func(t *testing.T) {
			comparePicture(t, f.fourcc, f.colorimetry, f.w, f.h)
		})
	}
}

func comparePicture(t *testing.T, fourcc, colorimetry string, w, h int) {
	dir := t.TempDir()
	caps := fmt.Sprintf("video/x-raw,format=%s,width=%d,height=%d", fourcc, w, h)
	if colorimetry != "" {
		caps += ",colorimetry=" + colorimetry
	}
	raw, argb := filepath.Join(dir, "raw"), filepath.Join(dir, "argb")
	gst(t, "videotestsrc num-buffers=1 pattern=smpte75 ! videoconvert dither=none ! "+caps+" ! tee name=t ! queue ! filesink location="+raw+
		" t. ! queue ! videoconvert dither=none ! video/x-raw,format=ARGB64 ! filesink location="+argb)
	f, err := ring.PackedVideo(fourcc, w, h, 30, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.Colorimetry = colorimetry
	img, err := Picture(f, read(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	pixels := read(t, argb) // 16 bits each, little-endian
	want := func(x, y int) [4]int {
		p := pixels[8*(y*w+x):]
		return [4]int{int(p[3]), int(p[5]), int(p[7]), int(p[1])}
	}
	compared, worst := 0, 0
	for y := 4; y < h*6/10; y += 5 { // the bars; noise stands below
		for x := 4; x < w-4; x++ {
			if want(x-4, y) != want(x+4, y) {
				continue
			}
			compared++
			r, g, b, a := img.At(x, y).RGBA()
			got := [4]int{int(r >> 8), int(g >> 8), int(b >> 8), int(a >> 8)}
			for c, v := range want(x, y) {
				worst = max(worst, max(got[c]-v, v-got[c]))
			}
		}
	}
	if compared < w*h/16 || worst > 3 {
		t.Errorf("up to %d levels off in %d places", worst, compared)
	}
}

func TestPictureRefuses(t *testing.T) {
	f, _ := ring.PackedVideo("I420", 64, 48, 30, 1)
	if _, err := Picture(f, make([]byte, f.Size()-1)); err == nil {
		t.Error("a frame that is too short was converted")
	}
	f.Strides[1] = 3
	if _, err := Picture(f, make([]byte, 1<<20)); err == nil {
		t.Error("a format that cannot be was converted")
	}
	alpha, _ := ring.PackedVideo("BGRA", 1, 1, 30, 1)
	img, err := Picture(alpha, []byte{1, 2, 3, 40})
	if c := img.(*image.NRGBA).NRGBAAt(0, 0); err != nil || c.R != 3 || c.G != 2 || c.B != 1 || c.A != 40 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestWAV: what ffmpeg decodes from a file in each sample format is what
// GStreamer converts from the same samples.
func TestWAV(t *testing.T) {
	for _, name := range ring.SampleNames() {
		if testing.Short() && strings.Contains("S24LE S32LE U16LE U32LE F64LE S16BE S32BE", name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			compareSound(t, name, 2)
			if name == "S16LE" || name == "S24_32BE" || name == "U8" {
				compareSound(t, name, 1)
				compareSound(t, name, 6)
			}
		})
	}
}

func compareSound(t *testing.T, name string, channels int) {
	dir := t.TempDir()
	raw, float, path := filepath.Join(dir, "raw"), filepath.Join(dir, "float"), filepath.Join(dir, "x.wav")
	f := ring.AudioFormat{Sample: name, Rate: 44100, Channels: channels}
	mask := ""
	if channels == 6 {
		f.Mask = 0x0c0f // 5.1 with the sides, in GStreamer's count
		mask = ",channel-mask=(bitmask)0xc0f"
	}
	caps := fmt.Sprintf("rate=44100,channels=%d%s", channels, mask)
	gst(t, "audiotestsrc num-buffers=3 volume=0.7 ! audioconvert ! audio/x-raw,format="+name+","+caps+" ! tee name=t ! queue ! filesink location="+raw+
		" t. ! queue ! audioconvert dithering=0 ! audio/x-raw,format=F64LE,"+caps+" ! filesink location="+float)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := NewWAV(out, f)
	if err != nil {
		t.Fatal(err)
	}
	samples := read(t, raw)
	size := len(samples) / 3072
	if _, err := w.Write(samples[:1000*size]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(samples[1000*size:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Silence(1500); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil || w.Frames() != 3072+1500 {
		t.Errorf("%d sample frames, %v", w.Frames(), err)
	}
	probeWAV(t, path, channels)
	got, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-f", "f64le", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := append(read(t, float), make([]byte, 1500*channels*8)...)
	if len(got) != len(want) {
		t.Fatalf("%d channels: %d bytes decoded, want %d", channels, len(got), len(want))
	}
	for i := 0; i < len(got); i += 8 {
		a, b := floatAt(got, i), floatAt(want, i)
		if math.Abs(a-b) > 1e-6 {
			t.Fatalf("%d channels: sample %d is %v, want %v", channels, i/8, a, b)
		}
	}
}

func floatAt(b []byte, i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[i:])) }

func probeWAV(t *testing.T, path string, channels int) {
	out, err := exec.Command("ffprobe", "-v", "warning", "-show_streams", "-of", "json", path).CombinedOutput()
	var p struct {
		Streams []struct {
			Channels int    `json:"channels"`
			Layout   string `json:"channel_layout"`
			Rate     string `json:"sample_rate"`
			Samples  int64  `json:"duration_ts"`
		}
	}
	if err != nil || json.Unmarshal(out, &p) != nil || len(p.Streams) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	s := p.Streams[0]
	if s.Channels != channels || s.Rate != "44100" || s.Samples != 3072+1500 || channels == 6 && s.Layout != "5.1(side)" {
		t.Errorf("ffprobe sees %+v", s)
	}
}

func TestWAVIntoAPipe(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWAV(&b, ring.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 4800)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 3)); err == nil {
		t.Error("half a sample frame was taken")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", "-", "-f", "s16le", "-")
	cmd.Stdin = &b
	if out, err := cmd.Output(); err != nil || len(out) != 4800 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
