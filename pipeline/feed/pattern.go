package feed

import (
	"context"
	"fmt"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/ring"
)

// Pattern is the test programme: one video for each size, named video, video2,
// …, and a sound that clicks with the first video's white squares. Either may be
// left out: no videos, or the zero AudioSpec.
func Pattern(videos []VideoSpec, audio AudioSpec) (*Source, error) {
	s := &Source{}
	for i, v := range videos {
		name := "video"
		if i > 0 {
			name = fmt.Sprintf("video%d", i+1)
		}
		t, err := newPatternVideo(name, v)
		if err != nil {
			return nil, err
		}
		s.tracks = append(s.tracks, t)
	}
	if audio != (AudioSpec{}) {
		clicks := pattern.Rate{Num: 1, Den: 1} // without a video: on whole seconds
		if len(videos) > 0 {
			clicks = videos[0].Rate
		}
		a, err := pattern.NewAudio(audio.Rate, audio.Channels, clicks)
		if err != nil {
			return nil, err
		}
		s.tracks = append(s.tracks, &patternAudio{draw: a, shape: audio})
	}
	if len(s.tracks) == 0 {
		return nil, fmt.Errorf("neither video nor audio: nothing to feed")
	}
	return s, nil
}

type patternVideo struct {
	name   string
	format ring.VideoFormat
	rate   pattern.Rate
	draw   *pattern.Video
	begun  bool
	n      uint32 // the current frame
}

func newPatternVideo(name string, v VideoSpec) (*patternVideo, error) {
	f := ring.I420(v.Width, v.Height, v.Rate.Num, v.Rate.Den)
	draw, err := pattern.NewVideo(pattern.Layout{
		Width: v.Width, Height: v.Height,
		Strides: [3]int(f.Strides[:3]), Offsets: [3]int(f.Offsets[:3]),
	}, v.Rate)
	if err != nil {
		return nil, err
	}
	return &patternVideo{name: name, format: f, rate: v.Rate, draw: draw}, nil
}

func (t *patternVideo) spec() ring.StreamSpec {
	return ring.StreamSpec{Name: t.name, Kind: ring.KindVideo, MaxFrame: t.format.Size()}
}

func (t *patternVideo) next(context.Context) (frame, error) {
	f := frame{size: t.format.Size()}
	if t.begun {
		t.n++
	} else {
		f.format.Video = &t.format
	}
	t.begun = true
	f.pts = t.rate.At(t.n)
	f.duration = t.rate.At(t.n+1) - f.pts
	return f, nil
}

func (t *patternVideo) write(_ context.Context, dst []byte) error {
	t.draw.Draw(dst, t.n)
	return nil
}

func (t *patternVideo) skip(context.Context) error { return nil }

type patternAudio struct {
	shape    AudioSpec
	draw     *pattern.Audio
	packets  int64 // begun
	from, to int64 // samples of the current packet
}

func (t *patternAudio) spec() ring.StreamSpec {
	most := samplesAt(packet, t.shape.Rate) + 1
	return ring.StreamSpec{Name: "audio", Kind: ring.KindAudio, MaxFrame: int(most) * t.draw.FrameSize()}
}

func (t *patternAudio) next(context.Context) (frame, error) {
	t.from = t.to
	t.packets++
	// Rates that 100 does not divide have packets of two lengths.
	t.to = t.packets * int64(t.shape.Rate) / 100
	f := frame{size: int(t.to-t.from) * t.draw.FrameSize(), pts: timeOf(t.from, t.shape.Rate)}
	f.duration = timeOf(t.to, t.shape.Rate) - f.pts
	if t.packets == 1 {
		f.format.Audio = &ring.AudioFormat{Sample: "S16LE", Rate: t.shape.Rate, Channels: t.shape.Channels}
	}
	return f, nil
}

func (t *patternAudio) write(_ context.Context, dst []byte) error {
	t.draw.Play(dst, t.from)
	return nil
}

func (t *patternAudio) skip(context.Context) error { return nil }
