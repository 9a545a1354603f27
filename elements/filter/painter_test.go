package filter_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[painter]("painter", "Lends flat pictures and square waves, with the ways streams have of being difficult.")
}

// painter gives pictures whose upper half has one luma and whose lower half
// another, and a square wave; both are told by the frame's number alone. All
// painters of a run begin at the same stamp.
type painter struct {
	width, height, fps, frames int
	luma, low, step, blue      int
	level                      int
	from, hole, stall          time.Duration
	holeAt                     int
	pace, delay                time.Duration
	bare                       bool

	env *pipeline.SourceEnv
	mem []byte
}

func (p *painter) Props(s *pipeline.Props) {
	s.Int(&p.width, "width", 160, "Pixels.")
	s.Int(&p.height, "height", 120, "Pixels.")
	s.Int(&p.fps, "fps", 30, "Frames a second.")
	s.Int(&p.frames, "frames", 60, "Frames to give.")
	s.Int(&p.luma, "luma", 100, "Of the upper half.")
	s.Int(&p.low, "low", 0, "Luma of the lower half; 0 is as the upper.")
	s.Int(&p.step, "step", 0, "Luma added for each frame.")
	s.Int(&p.blue, "blue", 128, "Cb.")
	s.Int(&p.level, "level", 0, "Of the square wave, 500 Hz.")
	s.Duration(&p.from, "from", "0s", "Stamp of the first frame.")
	s.Int(&p.holeAt, "hole_at", 0, "Frame before which the stamps jump.")
	s.Duration(&p.hole, "hole", "0s", "How far they jump.")
	s.Duration(&p.stall, "stall", "0s", "How long nothing comes then.")
	s.Duration(&p.pace, "pace", "0s", "Wait before each frame.")
	s.Bool(&p.bare, "bare", false, "Frames without a duration.")
	s.Duration(&p.delay, "delay", "0s", "Wait before the format is told.")
}

const cells = 64

func (p *painter) vsize() int { return p.width * p.height * 3 / 2 }
func (p *painter) asize() int { return 48000 / p.fps * 4 }

func (p *painter) Output(pad string) (pipeline.Kind, error) {
	switch pad {
	case "video":
		return pipeline.RawVideo, nil
	case "audio":
		return pipeline.RawAudio, nil
	}
	return pipeline.Kind{}, errors.New("name .video or .audio")
}

func (p *painter) Open(_ context.Context, env *pipeline.SourceEnv) (err error) {
	p.env = env
	p.mem, err = syscall.Mmap(-1, 0, 4096+cells*(p.vsize()+p.asize()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	return err
}

func (p *painter) Close() error {
	for i := range 2 * cells {
		if p.cell(i).Held.Load() != 0 {
			return fmt.Errorf("frame %d is still out", i)
		}
	}
	return syscall.Munmap(p.mem)
}

func (p *painter) cell(i int) *pipeline.Cell {
	return &unsafe.Slice((*pipeline.Cell)(unsafe.Pointer(&p.mem[0])), 2*cells)[i]
}

const base = time.Hour

func (p *painter) Run(ctx context.Context) error {
	p.env.Timeline.Start(base)
	time.Sleep(p.delay)
	for pad, o := range p.env.Outlets {
		f := pipeline.Format{Video: &pipeline.VideoFormat{FourCC: "I420", Width: p.width, Height: p.height, FPSNum: p.fps, FPSDen: 1, NativeLayout: true}}
		if pad == "audio" {
			f = pipeline.Format{Audio: &pipeline.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}}
		}
		if err := o.SetFormat(f); err != nil {
			return err
		}
	}
	for n := 0; n < p.frames && ctx.Err() == nil; n++ {
		time.Sleep(p.pace)
		at := base + p.from + time.Duration(n)*time.Second/time.Duration(p.fps)
		if p.holeAt > 0 && n >= p.holeAt {
			at += p.hole
			if n == p.holeAt {
				time.Sleep(p.stall)
			}
		}
		for pad, o := range p.env.Outlets {
			if err := p.push(ctx, pad, o, n, at); err != nil {
				return err
			}
		}
	}
	return p.end()
}

func (p *painter) end() error {
	for _, o := range p.env.Outlets {
		if err := o.EOS(); err != nil {
			return err
		}
	}
	return nil
}

func (p *painter) push(ctx context.Context, pad string, o pipeline.Outlet, n int, at time.Duration) error {
	i := n % cells
	data := p.mem[4096+i*p.vsize():][:p.vsize()]
	if pad == "audio" {
		data = p.mem[4096+cells*p.vsize()+i*p.asize():][:p.asize()]
		i += cells
	}
	for p.cell(i).Held.Load() != 0 || !o.Room() {
		if ctx.Err() != nil {
			return nil
		}
		time.Sleep(100 * time.Microsecond)
	}
	if pad == "audio" {
		p.sound(data)
	} else {
		p.paint(data, n)
	}
	p.cell(i).Held.Store(1)
	length := time.Second / time.Duration(p.fps)
	if p.bare {
		length = 0
	}
	return o.Push(&pipeline.Borrowed{Data: data, PTS: at, Duration: length, Cell: p.cell(i)})
}

func (p *painter) paint(data []byte, n int) {
	luma := p.width * p.height
	for i := range data {
		switch y := p.luma + n*p.step; {
		case i < luma/2 || i < luma && p.low == 0:
			data[i] = byte(y)
		case i < luma:
			data[i] = byte(p.low)
		case i < luma*5/4:
			data[i] = byte(p.blue)
		default:
			data[i] = 128
		}
	}
}

func (p *painter) sound(data []byte) {
	pcm := unsafe.Slice((*int16)(unsafe.Pointer(&data[0])), len(data)/2)
	for i := range pcm {
		pcm[i] = int16(p.level)
		if i/2/48%2 == 1 {
			pcm[i] = int16(-p.level)
		}
	}
}
