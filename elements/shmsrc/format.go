package shmsrc

import (
	"fmt"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// formatChange describes on_format_change.
const formatChange = "When a stream changes its format: scale to the first one between black bars; segment, where files go on in a new part with the new size and streams with it (sound is converted to its first format); or fail."

// setFormat tells the outlet the format of the frames that follow.
func (s *source) setFormat(p *pad, f ring.Frame) error {
	rf, ok := s.reader.Format(f.Stream, f.FormatID)
	if !ok {
		return fmt.Errorf("a frame of stream %s at %v has the unknown format %d; the producer must publish a format before it uses it",
			p.name, time.Duration(f.PTS), f.FormatID)
	}
	out := pipeline.Format{}
	switch {
	case rf.Video != nil:
		out.Video = videoFormat(rf.Video)
	case rf.Audio != nil:
		a := rf.Audio
		out.Audio = &pipeline.AudioFormat{Sample: a.Sample, Rate: a.Rate, Channels: a.Channels, Mask: a.Mask}
	}
	if err := p.out.SetFormat(out); err != nil {
		return err
	}
	s.env.Log.Info("format", "stream", p.name, "is", describe(rf))
	p.format = f.FormatID
	return nil
}

func videoFormat(v *ring.VideoFormat) *pipeline.VideoFormat {
	out := &pipeline.VideoFormat{
		FourCC: v.FourCC, Width: v.Width, Height: v.Height, Planes: v.Planes,
		Strides: v.Strides, Offsets: v.Offsets, FPSNum: v.FPSNum, FPSDen: v.FPSDen,
		Colorimetry: v.Colorimetry, ChromaSite: v.ChromaSite, FullSize: v.Size(),
	}
	packed, err := ring.PackedVideo(v.FourCC, v.Width, v.Height, v.FPSNum, v.FPSDen)
	out.NativeLayout = err == nil && packed.Planes == v.Planes && packed.Strides == v.Strides && packed.Offsets == v.Offsets
	return out
}

func describe(f ring.Format) string {
	if v := f.Video; v != nil {
		return fmt.Sprintf("%s %dx%d %d/%d", v.FourCC, v.Width, v.Height, v.FPSNum, v.FPSDen)
	}
	return fmt.Sprintf("%s %d Hz, %d channels", f.Audio.Sample, f.Audio.Rate, f.Audio.Channels)
}
