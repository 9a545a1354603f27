package ring

import (
	"fmt"
	"slices"
	"strings"
)

// VideoFormat describes raw video in memory: strides and offsets are bytes per
// plane, counted from the start of the frame's payload.
type VideoFormat struct {
	FourCC      string // GStreamer's name of the layout, one that [FourCCs] lists: "I420", "NV12", "BGRA", …
	Width       int    // pixels
	Height      int    // pixels
	Planes      int
	Strides     [4]int
	Offsets     [4]int
	FPSNum      int    // frame rate; 0/1 when it varies
	FPSDen      int    // never 0
	Colorimetry string // GStreamer's form: "bt709", "bt601", "1:3:5:1"; "" leaves it to the default
	ChromaSite  string // "mpeg2", "jpeg", …; "" leaves it to the default
}

// AudioFormat describes raw, interleaved audio.
type AudioFormat struct {
	Sample   string // GStreamer's name, one that [SampleNames] lists: "S16LE", "F32LE", …
	Rate     int    // frames per second
	Channels int
	Mask     uint64 // as GStreamer's channel-mask; 0 leaves it to the default
}

// Format is one or the other, under the id its frames carry. Formats never
// change: another format is another id.
type Format struct {
	ID    uint32
	Video *VideoFormat
	Audio *AudioFormat
}

// Limits of formats; a frame is bounded by its stream's MaxFrame besides.
const (
	maxSide     = 1 << 15 // pixels: what GStreamer's own elements accept
	maxRate     = 1 << 20 // audio frames per second
	maxChannels = 64      // GStreamer's limit
	maxFPSPart  = 1 << 24 // numerator or denominator of a frame rate
)

// plane says how a plane's stride and rows follow from the picture's size.
type plane struct {
	bytes  int // per sample
	xShift int // samples = width rounded up to a multiple of 1<<xShift, shifted right by xShift
	yShift int
	round  int // the stride is rounded up to this many bytes
}

// layouts are GStreamer's own: video-info.c, fill_planes, in 1.22.
var layouts = map[string][]plane{
	"I420":      {{1, 0, 0, 4}, {1, 1, 1, 4}, {1, 1, 1, 4}},
	"YV12":      {{1, 0, 0, 4}, {1, 1, 1, 4}, {1, 1, 1, 4}},
	"Y42B":      {{1, 0, 0, 4}, {1, 1, 0, 4}, {1, 1, 0, 4}},
	"Y444":      {{1, 0, 0, 4}, {1, 0, 0, 4}, {1, 0, 0, 4}},
	"NV12":      {{1, 0, 0, 4}, {2, 1, 1, 4}},
	"NV21":      {{1, 0, 0, 4}, {2, 1, 1, 4}},
	"NV16":      {{1, 0, 0, 4}, {2, 1, 0, 4}},
	"I420_10LE": {{2, 0, 0, 4}, {2, 1, 1, 4}, {2, 1, 1, 4}},
	"P010_10LE": {{2, 0, 0, 4}, {4, 1, 1, 4}},
	"YUY2":      {{4, 1, 0, 4}},
	"UYVY":      {{4, 1, 0, 4}},
	"YVYU":      {{4, 1, 0, 4}},
	"GRAY8":     {{1, 0, 0, 4}},
	"GRAY16_LE": {{2, 0, 0, 4}},
	"RGB":       {{3, 0, 0, 4}},
	"BGR":       {{3, 0, 0, 4}},
	"RGBA":      {{4, 0, 0, 4}},
	"BGRA":      {{4, 0, 0, 4}},
	"ARGB":      {{4, 0, 0, 4}},
	"ABGR":      {{4, 0, 0, 4}},
	"RGBx":      {{4, 0, 0, 4}},
	"BGRx":      {{4, 0, 0, 4}},
	"xRGB":      {{4, 0, 0, 4}},
	"xBGR":      {{4, 0, 0, 4}},
}

// samples gives the bytes of one sample by its GStreamer name.
var samples = map[string]int{
	"S8": 1, "U8": 1,
	"S16LE": 2, "U16LE": 2, "S16BE": 2, "U16BE": 2,
	"S24LE": 3, "S24BE": 3, "S24_32LE": 4, "S24_32BE": 4,
	"S32LE": 4, "U32LE": 4, "S32BE": 4, "U32BE": 4,
	"F32LE": 4, "F32BE": 4, "F64LE": 8, "F64BE": 8,
}

// FourCCs lists the picture layouts a ring carries, sorted.
func FourCCs() []string { return sortedKeys(layouts) }

// SampleNames lists the audio sample formats a ring carries, sorted.
func SampleNames() []string { return sortedKeys(samples) }

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func (p plane) stride(width int) int {
	return roundUp(((width+1<<p.xShift-1)>>p.xShift)*p.bytes, p.round)
}

func (p plane) rows(height int) int { return (height + 1<<p.yShift - 1) >> p.yShift }

// row is the bytes of a row that hold samples.
func (p plane) row(width int) int { return ((width + 1<<p.xShift - 1) >> p.xShift) * p.bytes }

// I420 is planar YUV 4:2:0 as GStreamer lays it out by default: each row
// rounded up to 4 bytes, planes Y, U and V one after the other.
func I420(w, h, fpsNum, fpsDen int) VideoFormat {
	f, err := PackedVideo("I420", w, h, fpsNum, fpsDen)
	if err != nil { // the caller's numbers are out of range: SetVideo says so
		return VideoFormat{FourCC: "I420", Width: w, Height: h, FPSNum: fpsNum, FPSDen: fpsDen}
	}
	return f
}

// PackedVideo is the layout GStreamer itself computes for a picture of the
// given size: rows rounded up to 4 bytes, planes without gaps. It fails for a
// fourcc that [FourCCs] does not list and for sizes out of range.
func PackedVideo(fourcc string, w, h, fpsNum, fpsDen int) (VideoFormat, error) {
	f := VideoFormat{FourCC: fourcc, Width: w, Height: h, FPSNum: fpsNum, FPSDen: fpsDen}
	planes, known := layouts[fourcc]
	if !known {
		return VideoFormat{}, fmt.Errorf("ring: unknown picture layout %q; known are %s", fourcc, strings.Join(FourCCs(), ", "))
	}
	f.Planes = len(planes)
	if err := f.checkNumbers(); err != nil {
		return VideoFormat{}, err
	}
	at := 0
	for i, p := range planes {
		rows := p.rows(h)
		if i == 0 && len(planes) > 1 && planes[1].yShift > 0 {
			rows = roundUp(h, 2) // GStreamer gives luma the rows its chroma stands for
		}
		f.Strides[i], f.Offsets[i] = p.stride(w), at
		at += f.Strides[i] * rows
	}
	return f, nil
}

// Size is the bytes of one frame: the end of the plane that ends last. 0 for a
// format that is not valid.
func (f VideoFormat) Size() int {
	size := 0
	for i, p := range layouts[f.FourCC] {
		size = max(size, f.Offsets[i]+f.Strides[i]*p.rows(f.Height))
	}
	return size
}

func (f VideoFormat) checkNumbers() error {
	switch {
	case f.Width < 1 || f.Height < 1 || f.Width > maxSide || f.Height > maxSide:
		return fmt.Errorf("ring: a picture of %dx%d; each side must be 1 to %d pixels", f.Width, f.Height, maxSide)
	case f.FPSDen < 1 || f.FPSNum < 0 || f.FPSNum > maxFPSPart || f.FPSDen > maxFPSPart:
		return fmt.Errorf("ring: frame rate %d/%d; want 0/1 when it varies, otherwise a fraction with parts up to %d", f.FPSNum, f.FPSDen, maxFPSPart)
	}
	return nil
}

// check tells whether a frame of this format can be read at all. Both sides
// call it: the reader on what it copied out of the ring.
func (f VideoFormat) check() error {
	planes, known := layouts[f.FourCC]
	if !known {
		return fmt.Errorf("ring: unknown picture layout %q; known are %s", f.FourCC, strings.Join(FourCCs(), ", "))
	}
	if err := f.checkNumbers(); err != nil {
		return err
	}
	if f.Planes != len(planes) {
		return fmt.Errorf("ring: %s has %d planes, not %d", f.FourCC, len(planes), f.Planes)
	}
	for i, p := range planes {
		if f.Strides[i] < p.row(f.Width) || f.Strides[i] > 1<<24 {
			return fmt.Errorf("ring: plane %d of %s %dx%d has a stride of %d bytes; a row alone takes %d", i, f.FourCC, f.Width, f.Height, f.Strides[i], p.row(f.Width))
		}
		if f.Offsets[i] < 0 || f.Offsets[i] > 1<<40 {
			return fmt.Errorf("ring: plane %d starts at byte %d", i, f.Offsets[i])
		}
	}
	if len(f.Colorimetry) >= formatTextSize || len(f.ChromaSite) >= formatTextSize {
		return fmt.Errorf("ring: colorimetry and chroma site may have %d bytes", formatTextSize-1)
	}
	return nil
}

// frameBytes is the bytes of one sample of every channel.
func (f AudioFormat) frameBytes() int { return samples[f.Sample] * f.Channels }

func (f AudioFormat) check() error {
	switch {
	case samples[f.Sample] == 0:
		return fmt.Errorf("ring: unknown sample format %q; known are %s", f.Sample, strings.Join(SampleNames(), ", "))
	case f.Rate < 1 || f.Rate > maxRate:
		return fmt.Errorf("ring: sample rate %d; want 1 to %d", f.Rate, maxRate)
	case f.Channels < 1 || f.Channels > maxChannels:
		return fmt.Errorf("ring: %d channels; want 1 to %d", f.Channels, maxChannels)
	}
	return nil
}
