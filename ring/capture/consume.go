package capture

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Options say how to record.
type Options struct {
	Ring   string // its address
	Config ring.Config
	// Keep goes on with further producers; otherwise a recording ends when all
	// that attached are gone.
	Keep     bool
	Duration time.Duration // of the recording, from the first attachment on; 0 is without limit
	// AttachTimeout bounds the wait for the first producer; 0 waits for ever.
	AttachTimeout time.Duration
	Progress      func(Report) // called about every Every; nil for none
	Every         time.Duration
	Event         func(text string) // told of attachments, in words; nil for nothing
}

// Why a recording ended.
const (
	ReasonEnded    = "the producers ended"
	ReasonSignal   = "signal"
	ReasonDuration = "duration"
	ReasonError    = "error"
)

// ErrNobody: no producer came.
var ErrNobody = errors.New("no producer attached in time")

// recording is what Consume and Tap have in common.
type recording struct {
	o     Options
	w     *Writer
	began time.Time

	mu     sync.Mutex
	first  time.Time // when the first attachment was seen
	now    int       // attached
	all    int
	missed int64
	latest *account
	shown  []StreamReport // of the latest, as of its last look
}

// Consume is the consumer at an address: it takes every frame, so that nothing is
// lost and a slow disk holds the producer up, until the producers are gone, the
// duration is over, or ctx is done. Then it stops its producers, takes what they
// still commit, and gives the report; w is not closed.
func Consume(ctx context.Context, w *Writer, o Options) (Report, error) {
	l, err := ring.Listen(o.Ring, o.Config)
	if err != nil {
		return Report{Reason: ReasonError}, err
	}
	defer l.Close()
	r := &recording{o: o, w: w, began: time.Now()}
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := r.clock(run, cancel)
	defer stop()
	readers := make(chan *ring.Reader)
	go accept(run, l, readers, cancel)
	var wg sync.WaitGroup
	over := make(chan struct{}, 1)
	for running := true; running; {
		select {
		case reader := <-readers:
			wg.Add(1)
			r.attached()
			go func() {
				defer wg.Done()
				if err := r.take(run, reader); err != nil {
					cancel(err)
				}
				if r.detached() == 0 && !o.Keep {
					select {
					case over <- struct{}{}:
					default:
					}
				}
			}()
		case <-over:
			if running = r.attachedNow() > 0; !running {
				cancel(errEnded)
			}
		case <-run.Done():
			running = false
		}
	}
	wg.Wait()
	return r.finish(context.Cause(run))
}

var (
	errEnded    = errors.New(ReasonEnded)
	errDuration = errors.New(ReasonDuration)
)

// accept hands on what attaches.
func accept(ctx context.Context, l *ring.Listener, to chan<- *ring.Reader, cancel context.CancelCauseFunc) {
	for {
		reader, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() == nil {
				cancel(err)
			}
			return
		}
		select {
		case to <- reader:
		case <-ctx.Done():
			reader.Close()
			return
		}
	}
}

// stopGrace is how long, after a stop, what producers have begun may take.
const stopGrace = time.Second

// take records one attachment.
func (r *recording) take(ctx context.Context, reader *ring.Reader) error {
	defer reader.Close()
	a, err := r.begin(reader.Stats(), reader.Streams(), reader.Format)
	if err != nil {
		return err
	}
	var stopped time.Time
	var buf []byte
	for {
		if ctx.Err() != nil && stopped.IsZero() {
			stopped = time.Now()
			reader.StopProducer()
		}
		moved := false
		for _, k := range kinds {
			if _, ok := reader.Peek(k); !ok {
				continue
			}
			moved = true
			f := reader.Take(k)
			if f.Cell != nil {
				// The producer can change what lies in the ring while it is written.
				buf = append(buf[:0], f.Data...)
				f.Data = buf
				f.Cell.Release()
			}
			if err := a.frame(f); err != nil {
				return err
			}
		}
		if err := r.look(a, reader.Stats, nil, !moved); err != nil {
			return err
		}
		switch {
		case moved:
			reader.Reclaim()
			continue
		case reader.State() != ring.Live && reader.Drained(ring.KindVideo) && reader.Drained(ring.KindAudio):
			return r.end(a, reader.Stats, nil, reader.State().String(), reader.Err())
		case !stopped.IsZero() && time.Since(stopped) > stopGrace:
			return r.end(a, reader.Stats, nil, Stopped, nil)
		}
		wait := ctx
		if !stopped.IsZero() {
			wait = context.Background() // a stop is not a reason to spin
		}
		reader.Wait(wait, 100*time.Millisecond)
	}
}

// Audio first: it is small, and what is recorded last is late.
var kinds = []ring.Kind{ring.KindAudio, ring.KindVideo}

func (r *recording) begin(st ring.Stats, streams []ring.Stream, format func(uint16, uint32) (ring.Format, bool)) (*account, error) {
	a, err := begin(r.w, st, streams, format)
	r.mu.Lock()
	r.latest, r.shown = a, a.report()
	r.mu.Unlock()
	r.say("attached: " + st.Producer.String())
	return a, err
}

// look writes losses and has progress see how far it is.
func (r *recording) look(a *account, st func() ring.Stats, missed map[string]int64, now bool) error {
	err := a.lost(st, missed, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest == a {
		r.shown = a.report()
	}
	return err
}

func (r *recording) end(a *account, st func() ring.Stats, missed map[string]int64, state string, why error) error {
	err := a.lost(st, missed, true)
	if err == nil {
		err = a.end(state, why)
	}
	r.mu.Lock()
	if r.latest == a {
		r.shown = a.report()
	}
	r.mu.Unlock()
	text := "over: " + st().Producer.String() + ", " + state
	if why != nil {
		text += ": " + why.Error()
	}
	r.say(text)
	return err
}

func (r *recording) say(text string) {
	if r.o.Event != nil {
		r.o.Event(text)
	}
}

func (r *recording) attached() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first.IsZero() {
		r.first = time.Now()
	}
	r.now++
	r.all++
}

func (r *recording) detached() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	return r.now
}

func (r *recording) attachedNow() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// clock ends the recording in time, and reports. The function it returns waits
// until it does so no more.
func (r *recording) clock(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		next := time.Now().Add(r.o.Every)
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				r.mu.Lock()
				first := r.first
				r.mu.Unlock()
				switch {
				case first.IsZero() && r.o.AttachTimeout > 0 && now.Sub(r.began) > r.o.AttachTimeout:
					cancel(ErrNobody)
				case !first.IsZero() && r.o.Duration > 0 && now.Sub(first) > r.o.Duration:
					cancel(errDuration)
				}
				if r.o.Progress != nil && r.o.Every > 0 && now.After(next) {
					next = now.Add(r.o.Every)
					r.o.Progress(r.report())
				}
			}
		}
	}()
	return func() { end(); <-done }
}

func (r *recording) report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.mu.Lock()
	frames, bytes := r.w.end.Frames, r.w.end.Bytes
	r.w.mu.Unlock()
	return Report{
		Elapsed: time.Since(r.began).Seconds(), Attachments: r.all, Attached: r.now, Streams: r.shown,
		Frames: frames, Bytes: bytes, Missed: r.missed,
	}
}

// finish tells why it ended; only some reasons are errors.
func (r *recording) finish(cause error) (Report, error) {
	rep := r.report()
	switch {
	case errors.Is(cause, errEnded), errors.Is(cause, errDuration):
		rep.Reason, cause = cause.Error(), nil
	case errors.Is(cause, context.Canceled):
		rep.Reason, cause = ReasonSignal, nil
	default:
		rep.Reason = ReasonError
	}
	return rep, cause
}
