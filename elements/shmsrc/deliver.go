package shmsrc

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

const (
	// gather is how long to wait, from the first frame of any pad, for the first
	// frames of the others and of other sources before the timeline starts without
	// them: streams of one producer start within a frame of each other.
	gather = 500 * time.Millisecond
	// starving is how long an encoder may hunger at the copy limit before the
	// run fails: nothing can move any more.
	starving = 5 * time.Second
	// commitGrace is how long, after a stop, a frame that a producer has begun
	// may take to be finished.
	commitGrace = time.Second
	// idle bounds a sleep: time-outs are looked at this often.
	idle = 100 * time.Millisecond
)

// pad is one stream of the ring that the graph uses. It belongs to Run's
// goroutine once Run has begun, except for the counters.
type pad struct {
	name   string
	kind   ring.Kind
	out    pipeline.Outlet
	stream *ring.Stream

	format   uint32 // id of the format the outlet knows; 0 before the first
	held     []ring.Frame
	seen     bool          // a frame came
	lastSeen time.Time     // when the latest did
	ended    bool          // EOS was sent
	lastEnd  time.Duration // capture stamp at which its latest frame ends
	filled   time.Duration // capture stamp up to which a hole was filled; what is older comes too late
	count    counters
}

var kinds = []ring.Kind{ring.KindAudio, ring.KindVideo} // audio first: it is small and others wait for it

// Run delivers until the producer ends, dies, or ctx is done.
func (s *source) Run(ctx context.Context) error {
	defer s.drop()
	for {
		err := s.deliver(ctx)
		if err != nil {
			s.reader.Refuse(err)
			return err
		}
		if !s.proceed(ctx) {
			return s.end()
		}
	}
}

// deliver moves frames from one attachment to the outlets until the attachment
// has nothing more to give.
func (s *source) deliver(ctx context.Context) error {
	r := s.reader
	s.adviser = adviser{}
	start := time.Now()
	lastFrame := start
	stopped := time.Time{}
	var starved time.Time // since when the graph starves with the copy limit reached
	for {
		if ctx.Err() != nil && stopped.IsZero() {
			stopped = time.Now()
			r.StopProducer()
		}
		moved, err := s.pump(r)
		if err != nil {
			return err
		}
		now := time.Now()
		s.advise(r, now)
		if moved {
			lastFrame, starved = now, time.Time{}
			continue
		}
		if s.finished(r, stopped) {
			if r.State() == ring.Invalid {
				return fmt.Errorf("%s wrote what no reader may trust: %w; correct the producer (ring/FORMAT.md has the rules)", r.Producer(), r.Err())
			}
			return nil
		}
		if err := s.fillHoles(r, now.Sub(start)); err != nil {
			return err
		}
		if s.stallTimeout > 0 && now.Sub(lastFrame) > s.stallTimeout && s.waiting(r) {
			s.env.Log.Error("the producer gives nothing", "for", s.stallTimeout)
			return errors.Join(s.end(), &timeoutError{fmt.Sprintf("the producer gave nothing for %v; see what it does, or raise stall_timeout", s.stallTimeout)})
		}
		switch s.relieve(r) {
		case relieved:
			continue
		case atLimit:
			if starved.IsZero() {
				starved = now
			}
			if now.Sub(starved) > starving {
				return fmt.Errorf("the encoders behind this source hold more frames than the ring (%s) and copy_limit (%s) allow, so nothing moves; raise one of them, or choose an encoder setting with less look-ahead",
					pipeline.FormatSize(s.capacity), pipeline.FormatSize(s.copyLimit))
			}
		}
		wait := context.Background() // a stop is not a reason to spin
		if stopped.IsZero() {
			wait = ctx
		}
		r.Wait(wait, idle)
	}
}

// pump delivers what can be delivered now.
func (s *source) pump(r *ring.Reader) (moved bool, err error) {
	for _, k := range kinds {
		for {
			f, ok := r.Peek(k)
			if !ok {
				break
			}
			p := s.padOf(f.Stream)
			if p != nil && len(p.held) > 0 && s.env.Timeline.Started() && !s.passes(k, f) {
				break // no room: what is behind it waits too, and the producer notices
			}
			if !s.take(r, k, p) {
				break
			}
			moved = true
			if err := s.flush(); err != nil {
				return moved, err
			}
		}
	}
	return moved, s.flush()
}

// passes tells that a frame whose pad has no room is to be set aside, since another
// pad of the class hungers for what may lie behind it: stages with several inputs
// take what one has only beside something from each other. At most half of the ring
// is set aside; what the hungry pad wants may not come at all.
func (s *source) passes(k ring.Kind, f ring.Frame) bool {
	hungry := false
	for _, p := range s.order {
		hungry = hungry || p.kind == k && len(p.held) == 0 && !p.ended && p.out.Hungry()
	}
	return hungry && 2*(s.aside(k)+int64(len(f.Data))) <= s.classBytes(k)
}

// take moves the next frame of the class out of the ring: lent, or as a copy
// while the encoder holds more than the ring has.
func (s *source) take(r *ring.Reader, k ring.Kind, p *pad) bool {
	if p == nil || p.ended {
		release(r.Take(k))
		return true
	}
	var f ring.Frame
	if s.tooDeep(r, k) {
		var ok bool
		if f, ok = r.TakeCopy(k); !ok {
			return false
		}
	} else {
		f = r.Take(k)
	}
	if f.Cell == nil && f.Flags&ring.FlagEOS == 0 {
		return false // it lies behind an evicted frame, and copies are at their limit
	}
	p.seen, p.lastSeen = true, time.Now()
	p.held = append(p.held, f)
	return true
}

func (s *source) padOf(stream uint16) *pad {
	for _, p := range s.order {
		if p.stream.ID == stream {
			return p
		}
	}
	return nil
}

// flush pushes the frames taken so far. The first time it fixes the timeline:
// zero is the earliest first frame of all pads of all sources.
func (s *source) flush() error {
	if !s.env.Timeline.Started() && !s.startTimeline() {
		return nil
	}
	for _, p := range s.order {
		for len(p.held) > 0 {
			done, err := s.push(p, p.held[0])
			if err != nil {
				return err
			}
			if !done {
				break
			}
			p.held = p.held[1:]
		}
	}
	return nil
}

// release gives back a frame that never reached the graph; the end of a stream
// has nothing to give back.
func release(f ring.Frame) {
	if f.Cell != nil {
		f.Cell.Release()
	}
}

// drop releases the frames that were taken and not pushed.
func (s *source) drop() {
	for _, p := range s.order {
		for _, f := range p.held {
			release(f)
		}
		p.held = nil
	}
}

func (s *source) startTimeline() bool {
	first, missing := time.Duration(0), false
	for _, p := range s.order {
		if len(p.held) == 0 {
			missing = missing || !p.seen
			continue
		}
		if stamp := time.Duration(p.held[0].PTS); first == 0 || stamp < first {
			first = stamp
		}
	}
	if first == 0 {
		return false
	}
	if s.offered.IsZero() {
		s.offered = time.Now()
	}
	missing = !s.env.Timeline.Offer(s.env.Stage, first) || missing
	if missing && time.Since(s.offered) < gather && !s.crowded() {
		return false
	}
	s.env.Timeline.Start(first)
	return true
}

// crowded: so many frames are held back that waiting on would fill the ring.
func (s *source) crowded() bool {
	for _, k := range kinds {
		if 2*s.aside(k) > s.classBytes(k) {
			return true
		}
	}
	return false
}

// aside is how many bytes of a class were taken and not pushed.
func (s *source) aside(k ring.Kind) (bytes int64) {
	for _, p := range s.order {
		if p.kind != k {
			continue
		}
		for _, f := range p.held {
			bytes += int64(len(f.Data))
		}
	}
	return bytes
}

func (s *source) classBytes(k ring.Kind) int64 {
	if k == ring.KindAudio {
		return s.audioCapacity
	}
	return s.capacity
}

// push hands one frame to its outlet; false when there is no room for it yet.
func (s *source) push(p *pad, f ring.Frame) (done bool, err error) {
	if f.Flags&ring.FlagEOS != 0 {
		return true, p.end()
	}
	stamp := time.Duration(f.PTS)
	if _, ok := s.env.Timeline.At(stamp); !ok || stamp < p.filled {
		p.count.late.Add(1)
		release(f)
		return true, nil
	}
	if f.FormatID != p.format {
		if err := s.setFormat(p, f); err != nil {
			return false, err
		}
	}
	if !p.out.Room() {
		return false, nil
	}
	b := pipeline.Borrowed{
		Data:     f.Data,
		PTS:      stamp,
		Duration: time.Duration(f.Duration),
		Flags:    flags(f.Flags),
		Cell:     (*pipeline.Cell)(unsafe.Pointer(f.Cell)),
	}
	p.count.add(f)
	p.lastEnd = stamp + b.Duration
	if err := p.out.Push(&b); err != nil {
		p.held = p.held[1:] // its cell is released already, and may be another's
		return false, err
	}
	return true, nil
}

func flags(f ring.Flags) (out pipeline.FrameFlags) {
	if f&ring.FlagDiscont != 0 {
		out |= pipeline.FlagDiscont
	}
	if f&ring.FlagCorrupt != 0 {
		out |= pipeline.FlagCorrupt
	}
	return out
}

func (p *pad) end() error {
	if p.ended {
		return nil
	}
	p.ended = true
	return p.out.EOS()
}

// end gives every pad its end of stream.
func (s *source) end() error {
	var errs []error
	for _, p := range s.order {
		errs = append(errs, p.end())
	}
	return errors.Join(errs...)
}

// finished tells that nothing more can come from this attachment.
func (s *source) finished(r *ring.Reader, stopped time.Time) bool {
	for _, p := range s.order {
		if len(p.held) > 0 {
			return false
		}
	}
	if !stopped.IsZero() && time.Since(stopped) > commitGrace {
		return s.nothingReady(r)
	}
	if stopped.IsZero() && r.State() == ring.Live {
		return false
	}
	for _, k := range kinds {
		if !r.Drained(k) {
			return false
		}
	}
	return true
}

func (s *source) nothingReady(r *ring.Reader) bool {
	for _, k := range kinds {
		if _, ok := r.Peek(k); ok {
			return false
		}
	}
	return true
}

// waiting tells that it is the producer that is waited for, not the graph.
func (s *source) waiting(r *ring.Reader) bool {
	return r.State() == ring.Live && s.nothingReady(r)
}
