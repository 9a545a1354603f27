package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// ReplayOptions say how to replay.
type ReplayOptions struct {
	Ring   string  // its address
	Name   string  // what producers are called; "" as they were
	Only   uint32  // number of the one attachment to play; 0 is all
	Speed  float64 // of the original; 0 is 1
	AsFast bool    // as fast as the reader takes, whatever the original timing
	Drop   bool    // leave out a frame that finds the ring full; otherwise wait
	// AttachTimeout bounds the wait for a consumer, of each attachment; 0 waits
	// for ever.
	AttachTimeout time.Duration
	// Died is called where the original producer died, which should do the same;
	// nil ends the attachment in good order.
	Died     func()
	Progress func(Report) // called about every Every; nil for none
	Every    time.Duration
	Event    func(text string) // told of attachments, in words; nil for nothing
}

// Why a replay ended, besides ReasonSignal and ReasonError.
const (
	ReasonPlayed  = "end of the capture"
	ReasonStopped = "the consumer takes nothing more"
)

// letGo is how long a replay that is told to stop waits for a consumer that takes
// nothing, before it leaves.
const letGo = 2 * time.Second

// Replay is a producer that does what the producers of a capture did, in the
// original timing: what attached attaches, at the same distance, and each frame
// comes as long after that as it came then, divided by the speed. Stamps are the
// original ones moved as a whole, so that what was captured together stays
// together, whatever the speed. Each stream is written by a goroutine of its own,
// so that one that finds the ring full does not hold up another.
//
// ctx ends the streams behind what is committed. Where a capture was cut short,
// the attachment ends in good order.
func Replay(ctx context.Context, f *File, x *Index, o ReplayOptions) (Report, error) {
	if o.Speed == 0 {
		o.Speed = 1
	}
	r := &replay{f: f, o: o, began: time.Now()}
	list := x.Attachments
	if o.Only != 0 {
		if int(o.Only) > len(list) {
			return Report{Reason: ReasonError}, fmt.Errorf("attachment %d; the capture has %d", o.Only, len(list))
		}
		list = list[o.Only-1 : o.Only]
	}
	if len(list) == 0 {
		return Report{Reason: ReasonError}, errors.New("no producer attached in the capture, so there is nothing to replay")
	}
	err := r.run(ctx, list)
	rep := r.report()
	switch {
	case errors.Is(err, ring.ErrStopped):
		rep.Reason, err = ReasonStopped, nil
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		rep.Reason, err = ReasonSignal, nil
	case err != nil:
		rep.Reason = ReasonError
	default:
		rep.Reason = ReasonPlayed
	}
	return rep, err
}

// replay is one Replay.
type replay struct {
	f     *File
	o     ReplayOptions
	began time.Time
	zero  int64 // ns: when the first record of the first attachment is due
	stop  context.CancelCauseFunc

	mu     sync.Mutex
	all    int
	now    int
	lanes  []*lane // of all attachments so far
	latest *Attached
}

// run plays the attachments, each when those that had ended before it are over.
func (r *replay) run(ctx context.Context, list []*Attached) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.stop = cancel
	defer r.progress(ctx)()
	done := make([]chan struct{}, len(list))
	for i := range list {
		done[i] = make(chan struct{})
	}
	r.zero = ring.Now()
	for i, a := range list {
		go func() {
			defer close(done[i])
			for j := range i {
				if list[j].To <= a.From {
					<-done[j]
				}
			}
			if i == 0 || r.sleep(ctx, r.due(r.zero, list[0].From, a.From)) == nil {
				r.play(ctx, a)
			}
		}()
	}
	var left <-chan time.Time
	stopped := ctx.Done()
	for _, d := range done {
		for waiting := true; waiting; {
			select {
			case <-d:
				waiting = false
			case <-stopped:
				stopped, left = nil, time.After(letGo)
			case <-left:
				if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
					return err
				}
				return fmt.Errorf("the consumer took nothing for %v; left without waiting for it", letGo)
			}
		}
	}
	return context.Cause(ctx)
}

// due is when something of the capture's time at is to happen, when from is to
// happen at zero.
func (r *replay) due(zero, from, at int64) int64 {
	return zero + int64(float64(at-from)/r.o.Speed)
}

// sleep waits for a moment of CLOCK_MONOTONIC.
func (r *replay) sleep(ctx context.Context, until int64) error {
	d := time.Duration(until - ring.Now())
	if r.o.AsFast || d <= 0 {
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

// play plays one attachment. What fails stops the replay.
func (r *replay) play(ctx context.Context, a *Attached) {
	p, err := r.attach(ctx, a)
	if err != nil {
		r.stop(err)
		return
	}
	defer p.Close()
	start := ring.Now()
	r.say(fmt.Sprintf("attached to %s, as producer %d of the capture", p.Consumer(), a.Number))
	defer r.detached()
	var lanes []*lane
	for i, s := range a.Streams {
		w, err := p.Writer()
		if err != nil {
			r.stop(err)
			return
		}
		defer w.Close()
		lanes = append(lanes, &lane{r: r, a: a, p: p, w: w, stream: i, info: s, start: start, ids: map[uint32]uint32{}})
	}
	r.attached(a, lanes)
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := l.run(ctx); err != nil {
				r.stop(err)
			}
		}()
	}
	wg.Wait()
	if r.sleep(ctx, r.due(start, a.From, a.To)) == nil {
		r.over(a)
	}
}

// over does what the producer did at its end.
func (r *replay) over(a *Attached) {
	switch {
	case a.Detach == nil:
		r.say(fmt.Sprintf("producer %d: the capture was cut short here", a.Number))
	case a.Detach.State == ring.Dead.String() && r.o.Died != nil:
		r.o.Died()
	default:
		text := a.Detach.State
		if a.Detach.Reason != "" {
			text += ": " + a.Detach.Reason
		}
		r.say(fmt.Sprintf("producer %d, in the capture: %s", a.Number, text))
	}
}

func (r *replay) attach(ctx context.Context, a *Attached) (*ring.Producer, error) {
	var streams []ring.StreamSpec
	for _, s := range a.Streams {
		spec, err := s.spec()
		if err != nil {
			return nil, err
		}
		streams = append(streams, spec)
	}
	name := r.o.Name
	if name == "" {
		name = a.Producer.Name
	}
	wait := ctx
	if r.o.AttachTimeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, r.o.AttachTimeout)
		defer cancel()
	}
	p, err := ring.Attach(wait, r.o.Ring, streams, ring.AttachOptions{Name: name})
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, fmt.Errorf("no consumer took the ring %q within %v; start one, such as `mpipe run` with a graph whose source names this ring (%w)", r.o.Ring, r.o.AttachTimeout, err)
	}
	return p, err
}

func (r *replay) say(text string) {
	if r.o.Event != nil {
		r.o.Event(text)
	}
}

func (r *replay) attached(a *Attached, lanes []*lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	r.now++
	r.latest = a
	r.lanes = append(r.lanes, lanes...)
}

func (r *replay) detached() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = max(0, r.now-1)
}

// progress reports until the function it returns was called.
func (r *replay) progress(ctx context.Context) (stop func()) {
	if r.o.Progress == nil || r.o.Every <= 0 {
		return func() {}
	}
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.o.Every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.o.Progress(r.report())
			}
		}
	}()
	return func() { end(); <-done }
}

func (r *replay) report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{Elapsed: time.Since(r.began).Seconds(), Attachments: r.all, Attached: r.now, Streams: []StreamReport{}}
	for _, l := range r.lanes {
		s := l.report()
		rep.Frames += s.Frames
		rep.Bytes += s.Bytes
		if l.a == r.latest {
			rep.Streams = append(rep.Streams, s)
		}
	}
	return rep
}
