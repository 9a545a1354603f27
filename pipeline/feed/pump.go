package feed

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// pump carries one track into the ring. It belongs to one goroutine, except for
// the counters, which anyone may read.
type pump struct {
	o        *Options
	producer *ring.Producer
	writer   *ring.Writer
	track    track
	stream   int
	spec     ring.StreamSpec
	start    int64 // ns of CLOCK_MONOTONIC: time 0 of the source
	began    *atomic.Int64
	// abandoned is set when Run no longer waits for its pumps.
	abandoned *atomic.Bool

	format  uint32
	discont bool // frames before the next are missing
	timeUp  bool
	err     error

	video  *ring.VideoFormat // of the next picture
	number uint64            // of the next frame

	frames, bytes, dropped, skipped atomic.Int64
	blocked, late                   atomic.Int64 // ns
	media                           atomic.Int64 // ns: end of the last frame committed
}

// run returns nil at the end of the track and when ctx is done; either way the
// stream is ended behind what was committed.
func (p *pump) run(ctx context.Context) error {
	err := p.loop(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if errors.Is(err, ring.ErrStopped) || errors.Is(err, ring.ErrGone) || p.abandoned.Load() {
		return err
	}
	if p.o.Reattach && p.producer.Err() != nil {
		return err // nobody is there to hear of the end
	}
	if eerr := p.producer.End(p.stream); err == nil {
		err = eerr
	}
	return err
}

func (p *pump) loop(ctx context.Context) error {
	for {
		f, err := p.track.next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		p.began.CompareAndSwap(0, ring.Now())
		if p.o.Duration > 0 && f.pts >= p.o.Duration {
			p.timeUp = true
			return nil
		}
		if err := p.publish(f.format); err != nil {
			return err
		}
		if err := p.pace(ctx, f.pts); err != nil {
			return err
		}
		if err := p.put(ctx, f); err != nil {
			return err
		}
	}
}

// publish announces a format before the first frame that has it.
func (p *pump) publish(f ring.Format) (err error) {
	switch {
	case f.Video != nil:
		p.video = f.Video
		p.format, err = p.producer.SetVideo(p.stream, *f.Video)
	case f.Audio != nil:
		p.format, err = p.producer.SetAudio(p.stream, *f.Audio)
	}
	return err
}

// pace waits for the frame's time.
func (p *pump) pace(ctx context.Context, pts time.Duration) error {
	if p.o.AsFast {
		return ctx.Err()
	}
	d := time.Duration(p.start + int64(pts) - ring.Now())
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// claimCost is what a claim may take without having waited for room: it takes
// less than a microsecond unless the scheduler steps in.
const claimCost = 5 * time.Millisecond

func (p *pump) claim(n int) (ring.Slot, error) {
	if p.o.Drop {
		return p.writer.Claim(p.stream, p.format, n, ring.Drop)
	}
	used, capacity, _ := p.producer.Fill(p.spec.Kind)
	began := ring.Now()
	slot, err := p.writer.Claim(p.stream, p.format, n, ring.Block(0))
	waited := ring.Now() - began
	if used+int64(n) > capacity || waited > int64(claimCost) {
		p.blocked.Add(waited)
	}
	return slot, err
}

// wanted tells whether a picture is fed, by the consumer's advice.
func (p *pump) wanted() bool {
	n := p.number
	p.number++
	return !p.o.Adapt || p.video == nil || p.producer.Advice().Keep(n, p.video.FPSNum, p.video.FPSDen)
}

// put has the track write the frame into the ring, or leaves it out.
func (p *pump) put(ctx context.Context, f frame) error {
	p.discont = p.discont || f.discont
	if !p.wanted() {
		p.skipped.Add(1)
		p.writer.DropByPolicy(p.stream)
		return p.track.skip(ctx)
	}
	slot, err := p.claim(f.size)
	if err == nil && p.abandoned.Load() {
		slot.Abort()
		return ctx.Err()
	}
	if errors.Is(err, ring.ErrFull) {
		p.dropped.Add(1)
		p.discont = true
		return p.track.skip(ctx)
	}
	if err != nil {
		return err
	}
	if err := p.track.write(ctx, slot.Data); err != nil {
		slot.Abort()
		return err
	}
	var flags ring.Flags
	if p.discont {
		flags |= ring.FlagDiscont
	}
	at := p.start + int64(f.pts)
	slot.Commit(at, int64(f.duration), flags)
	p.discont = false
	if late := ring.Now() - at; !p.o.AsFast && late > p.late.Load() {
		p.late.Store(late)
	}
	p.frames.Add(1)
	p.bytes.Add(int64(f.size))
	p.media.Store(int64(f.pts + f.duration))
	return nil
}
