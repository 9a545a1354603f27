package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Options say how to feed. Ring is required.
type Options struct {
	Ring string // its address
	Name string // who feeds, shown to the consumer; "mpipe feed" when empty
	// AsFast feeds as fast as the reader takes. Otherwise each frame is written
	// at the time its stamp says. The stamps are the same: start + time of frame.
	AsFast bool
	// Drop leaves out a frame that finds the ring full, and counts it. Otherwise
	// the feed waits for room.
	Drop bool
	// Adapt leaves pictures out, counted, so that no more are fed than the consumer
	// says it can take.
	Adapt bool
	// Reattach goes on when the consumer starts again, with what was lost counted.
	Reattach      bool
	Duration      time.Duration // feed no frame from this time on; 0 is all there are
	AttachTimeout time.Duration // 0 waits for ever
	Progress      func(Report)  // called about every Every; nil for none
	Every         time.Duration
	// Waiting is called once, when no consumer took the ring for a second; nil
	// for nothing.
	Waiting func()
}

// Why a feed ended.
const (
	ReasonEnd     = "end of input"
	ReasonTime    = "duration"
	ReasonSignal  = "signal"
	ReasonStopped = "the consumer takes nothing more"
	ReasonError   = "error"
)

// letGo is how long a feed that is told to stop waits for a consumer that takes
// nothing, before it leaves with what is committed.
const letGo = 2 * time.Second

// patience is how long the feed waits for a consumer before it says so.
const patience = time.Second

// Run attaches, feeds until the source ends, ctx is done, or the consumer stops
// taking, and detaches. The report is never nil. The error is nil when everything
// ended in good order, frames dropped or not.
func Run(ctx context.Context, src *Source, o Options) (*Report, error) {
	if o.Name == "" {
		o.Name = "mpipe feed"
	}
	f := &feeding{o: o}
	p, err := attach(ctx, src, o)
	if err != nil {
		reason := ReasonError
		if ctx.Err() != nil {
			reason, err = ReasonSignal, ErrNotAttached
		}
		r := f.report(reason, err)
		return &r, err
	}
	f.producer = p
	err = f.run(ctx, src)
	reason := ReasonEnd
	switch {
	case errors.Is(err, ring.ErrStopped):
		reason, err = ReasonStopped, nil
	case err != nil:
		reason = ReasonError
	case ctx.Err() != nil:
		reason = ReasonSignal
	case f.timeUp():
		reason = ReasonTime
	}
	r := f.report(reason, err)
	if !f.abandoned.Load() {
		if cerr := p.Close(); cerr != nil && err == nil {
			r.Reason, r.Error, err = ReasonError, cerr.Error(), cerr
		}
	}
	return &r, err
}

func attach(ctx context.Context, src *Source, o Options) (*ring.Producer, error) {
	wait := ctx
	if o.AttachTimeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, o.AttachTimeout)
		defer cancel()
	}
	if o.Waiting != nil {
		tell := time.AfterFunc(patience, o.Waiting)
		defer tell.Stop()
	}
	p, err := ring.Attach(wait, o.Ring, src.Streams(), ring.AttachOptions{Name: o.Name, Reattach: o.Reattach})
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, fmt.Errorf("no consumer took the ring %q within %v%s", o.Ring, o.AttachTimeout, whyNot(err))
	}
	return p, err
}

// ErrNotAttached is the error of a feed that was told to stop too early.
var ErrNotAttached = errors.New("stopped before a consumer took the ring; nothing was fed")

// nobody are ring's reasons for which starting a consumer is the remedy.
var nobody = []string{"nobody listens", "does not exist", "is dead", "the consumer left", "the consumer died"}

// whyNot gives the last reason that ring.Attach met, and what to do about it. The
// end of the wait is no reason.
func whyNot(err error) string {
	reason := lastReason(err)
	if text := err.Error(); reason == "" && !strings.HasSuffix(text, context.DeadlineExceeded.Error()) {
		reason = text[strings.LastIndex(text, ": ")+1:] // the text says more than the chain
		reason = strings.TrimSpace(reason)
	}
	const start = "start one, such as `mpipe run` with a graph whose source names this ring"
	if reason == "" {
		return "; if none runs, " + start
	}
	for _, text := range nobody {
		if strings.Contains(reason, text) {
			return ": " + reason + "; " + start
		}
	}
	return ": " + reason
}

// lastReason is the text of the innermost error that is not the end of a context;
// of several, the last.
func lastReason(err error) string {
	switch e := err.(type) {
	case nil:
		return ""
	case interface{ Unwrap() []error }:
		reason := ""
		for _, inner := range e.Unwrap() {
			if r := lastReason(inner); r != "" {
				reason = r
			}
		}
		return reason
	case interface{ Unwrap() error }:
		return lastReason(e.Unwrap())
	}
	if err == context.Canceled || err == context.DeadlineExceeded {
		return ""
	}
	return err.Error()
}

// feeding is a Run that is attached.
type feeding struct {
	o         Options
	began     atomic.Int64 // when the first frame came, ns of CLOCK_MONOTONIC; 0 before
	producer  *ring.Producer
	pumps     []*pump
	abandoned atomic.Bool
}

// run starts a pump for each track and waits for all of them. The producer stays
// attached, unless a pump had to be abandoned.
func (f *feeding) run(ctx context.Context, src *Source) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	start := ring.Now()
	for i, t := range src.tracks {
		w, err := f.producer.Writer()
		if err != nil {
			return err
		}
		f.pumps = append(f.pumps, &pump{
			o: &f.o, producer: f.producer, writer: w, track: t, stream: i, spec: t.spec(), start: start, began: &f.began, abandoned: &f.abandoned,
		})
	}
	var wg sync.WaitGroup
	for _, p := range f.pumps {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if p.err = p.run(ctx); p.err != nil {
				stop() // one that failed ends the others, with what they have committed
			}
			p.writer.Close()
		}()
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	if !f.wait(ctx, done) {
		// A pump waits inside the ring for a consumer that does not move. When
		// that ends, in whatever way, the last one closes the door.
		f.abandoned.Store(true)
		go func() { <-done; f.producer.Close() }()
		return fmt.Errorf("the consumer took nothing for %v; left without waiting for it", letGo)
	}
	return f.err()
}

// wait returns true when the pumps are done, false when they were told to stop
// and cannot.
func (f *feeding) wait(ctx context.Context, done <-chan struct{}) bool {
	every := f.o.Every
	if every <= 0 || f.o.Progress == nil {
		every = time.Hour
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	stopped := ctx.Done()
	var limit <-chan time.Time
	for {
		select {
		case <-done:
			return true
		case <-tick.C:
			if f.o.Progress != nil {
				f.o.Progress(f.report("", nil))
			}
		case <-stopped:
			stopped, limit = nil, time.After(letGo)
		case <-limit:
			return false
		}
	}
}

// err is the first pump's error that says most: one the consumer caused is only
// reported when no source failed.
func (f *feeding) err() error {
	var found error
	for _, p := range f.pumps {
		if p.err != nil && (found == nil || errors.Is(found, ring.ErrStopped) || errors.Is(found, ring.ErrGone)) {
			found = p.err
		}
	}
	return found
}

func (f *feeding) timeUp() bool {
	for _, p := range f.pumps {
		if p.timeUp {
			return true
		}
	}
	return false
}
