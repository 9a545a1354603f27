package process

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// Packets of sound are at most half a second of 32-bit samples, so that the
// default memory of a reader's ring holds two of stereo at 48 kHz.
const (
	packetsASecond = 2
	sampleBytes    = 4
)

// shape is the form of frames, as a ring says it. It can be compared.
type shape struct {
	video ring.VideoFormat // with a width of 0: it is sound
	audio ring.AudioFormat
}

func shapeOf(f *pipeline.Frame) (s shape, err error) {
	switch {
	case f.Video != nil:
		v := f.Video
		s.video, err = ring.PackedVideo(v.FourCC, v.Width, v.Height, v.FPSNum, max(1, v.FPSDen))
	case f.Audio != nil:
		a := f.Audio
		s.audio = ring.AudioFormat{Sample: a.Sample, Rate: a.Rate, Channels: a.Channels, Mask: a.Mask}
	default:
		err = fmt.Errorf("a frame that is neither raw picture nor raw sound")
	}
	return s, err
}

func (s shape) isVideo() bool { return s.video.Width > 0 }

func (s shape) kind() ring.Kind {
	if s.isVideo() {
		return ring.KindVideo
	}
	return ring.KindAudio
}

// size is the bytes of a picture, or of the longest packet of sound.
func (s shape) size() int {
	if s.isVideo() {
		return s.video.Size()
	}
	return s.audio.Rate * s.audio.Channels * sampleBytes / packetsASecond
}

func (s shape) spec() ring.StreamSpec {
	return ring.StreamSpec{Name: s.kind().String(), Kind: s.kind(), MaxFrame: s.size()}
}

// bytes is what a frame takes in the ring.
func (s shape) bytes(f *pipeline.Frame) int {
	if s.isVideo() {
		return s.video.Size()
	}
	return len(f.Data())
}

// put copies a frame into the ring.
func (s shape) put(dst []byte, f *pipeline.Frame) {
	if !s.isVideo() {
		copy(dst, f.Data())
		return
	}
	for i := range f.Planes() {
		p := f.Plane(i)
		for y := range p.Rows {
			copy(dst[s.video.Offsets[i]+y*s.video.Strides[i]:], p.Line(y))
		}
	}
}

// take copies what the process gave into the frame, which has to have the same
// form; rows may lie elsewhere.
func take(f *pipeline.Frame, format ring.Format, src []byte) error {
	switch {
	case f.Video != nil && format.Video != nil:
		v := format.Video
		if v.FourCC != f.Video.FourCC || v.Width != f.Video.Width || v.Height != f.Video.Height {
			return fmt.Errorf("it gives %s %dx%d for a picture in %s %dx%d; it has to keep the form", v.FourCC, v.Width, v.Height, f.Video.FourCC, f.Video.Width, f.Video.Height)
		}
		if len(src) < v.Size() {
			return fmt.Errorf("it gives %d bytes for a picture of %d", len(src), v.Size())
		}
		for i := range f.Planes() {
			p := f.Plane(i)
			for y := range p.Rows {
				copy(p.Line(y), src[v.Offsets[i]+y*v.Strides[i]:])
			}
		}
	case f.Audio != nil && format.Audio != nil:
		a := format.Audio
		if a.Sample != f.Audio.Sample || a.Rate != f.Audio.Rate || a.Channels != f.Audio.Channels || len(src) != len(f.Data()) {
			return fmt.Errorf("it gives %d bytes of %s at %d Hz in %d channels for %d of %s at %d Hz in %d; it has to keep the form",
				len(src), a.Sample, a.Rate, a.Channels, len(f.Data()), f.Audio.Sample, f.Audio.Rate, f.Audio.Channels)
		}
		copy(f.Data(), src)
	default:
		return fmt.Errorf("it gives a frame of another kind")
	}
	return nil
}
