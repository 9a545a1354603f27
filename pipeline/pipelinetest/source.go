package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/feed/pattern"
)

func init() {
	pipeline.Register[lender](Source, "Lends moving pictures and silence out of its own memory, for tests.")
}

// Source is the type of a source without a ring, for graphs of tests: .video is
// 160x120 I420 at 30 frames a second, .audio stereo S16LE at 48 kHz, as fast as
// they are taken, lent as a ring lends them. It has the properties frames (0 is
// endless), fail and resize (at which frame), slow (a wait before each), none (end at once)
// and numbered (the test pattern, with each frame's number in the picture).
const Source = "lender"

type lender struct {
	frames   int
	none     bool
	numbered bool
	fail     int
	resize   int
	slow     time.Duration
	onChange string

	env *pipeline.SourceEnv
	mem []byte
	pic *pattern.Video // of numbered frames
}

const (
	lw, lh    = 160, 120
	lendCells = 64 // more than x264 looks ahead
	vsize     = lw * lh * 3 / 2
	asize     = 1600 * 4 // samples of a frame's time at 48 kHz, stereo, 16 bits
)

func (l *lender) Props(p *pipeline.Props) {
	p.Int(&l.frames, "frames", 60, "Frames to give; 0 is endless.")
	p.Bool(&l.none, "none", false, "End without a frame.")
	p.Bool(&l.numbered, "numbered", false, "Draw the test pattern with the frame's number.")
	p.Int(&l.fail, "fail", 0, "Fail at this frame.")
	p.Int(&l.resize, "resize", 0, "Halve the height from this frame on.")
	p.Duration(&l.slow, "slow", "0s", "Wait before each frame.")
	p.String(&l.onChange, "on_format_change", "scale", "As for a ring.", pipeline.OneOf("scale", "segment", "fail"))
}

func (l *lender) OnFormatChange() string { return l.onChange }

func (l *lender) Output(pad string) (pipeline.Kind, error) {
	switch pad {
	case "video":
		return pipeline.RawVideo, nil
	case "audio":
		return pipeline.RawAudio, nil
	}
	return pipeline.Kind{}, errors.New("name .video or .audio")
}

func (l *lender) Open(_ context.Context, env *pipeline.SourceEnv) (err error) {
	l.env = env
	if l.numbered {
		planes := pattern.Layout{Width: lw, Height: lh, Strides: [3]int{lw, lw / 2, lw / 2}, Offsets: [3]int{0, lw * lh, lw * lh * 5 / 4}}
		if l.pic, err = pattern.NewVideo(planes, pattern.Rate{Num: 30, Den: 1}); err != nil {
			return err
		}
	}
	l.mem, err = syscall.Mmap(-1, 0, 4096+2*lendCells*vsize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	return err
}

func (l *lender) Close() error {
	for i := range 2 * lendCells {
		if l.cell(i).Held.Load() != 0 {
			return fmt.Errorf("frame %d is still out", i)
		}
	}
	return syscall.Munmap(l.mem)
}

func (l *lender) cell(i int) *pipeline.Cell {
	return &unsafe.Slice((*pipeline.Cell)(unsafe.Pointer(&l.mem[0])), 2*lendCells)[i]
}

func (l *lender) Run(ctx context.Context) error {
	const base = time.Hour
	l.env.Timeline.Start(base)
	if l.none {
		return l.end()
	}
	format := pipeline.Format{Video: &pipeline.VideoFormat{FourCC: "I420", Width: lw, Height: lh, FPSNum: 30, FPSDen: 1, NativeLayout: true}}
	for pad, o := range l.env.Outlets {
		f := format
		if pad == "audio" {
			f = pipeline.Format{Audio: &pipeline.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}}
		}
		if err := o.SetFormat(f); err != nil {
			return err
		}
	}
	for n := 0; (l.frames == 0 || n < l.frames) && ctx.Err() == nil; n++ {
		time.Sleep(l.slow)
		if l.fail > 0 && n == l.fail {
			return errors.New("the camera fell off the wall")
		}
		if l.resize > 0 && n == l.resize && l.env.Outlets["video"] != nil {
			half := *format.Video
			half.Height /= 2
			if err := l.env.Outlets["video"].SetFormat(pipeline.Format{Video: &half}); err != nil {
				return err
			}
			format.Video = &half
		}
		if err := l.push(ctx, n, base, format.Video.Height); err != nil {
			return err
		}
	}
	return l.end()
}

func (l *lender) end() error {
	for _, o := range l.env.Outlets {
		if err := o.EOS(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lender) push(ctx context.Context, n int, base time.Duration, height int) error {
	for pad, o := range l.env.Outlets {
		i, size := n%lendCells, lw*height*3/2
		if pad == "audio" {
			i, size = i+lendCells, asize
		}
		for l.cell(i).Held.Load() != 0 || !o.Room() {
			if ctx.Err() != nil {
				return nil
			}
			time.Sleep(100 * time.Microsecond)
		}
		data := l.mem[4096+i*vsize:][:size]
		switch {
		case pad != "video":
		case l.pic != nil:
			l.pic.Draw(data, uint32(n))
		default:
			for j := range data {
				data[j] = byte(n*3 + j)
			}
		}
		l.cell(i).Held.Store(1)
		err := o.Push(&pipeline.Borrowed{Data: data, PTS: base + time.Duration(n)*time.Second/30, Duration: time.Second / 30, Cell: l.cell(i)})
		if err != nil {
			return err
		}
	}
	return nil
}
