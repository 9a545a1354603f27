package upload

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// How long to wait before a request is repeated.
const (
	firstWait = 100 * time.Millisecond // doubled each time
	awayWait  = 3 * time.Second        // at most, so that a store that is back is used soon
	// Somebody has to act first; asking too often only fills their logs.
	expiredWait = 5 * time.Second
	refusedWait = 30 * time.Second
)

// attempt is one try of a request.
type attempt struct {
	client *s3.Client
	// beat is to be called whenever something moves; an attempt that misses it
	// for Options.Stall is ended.
	beat func()
	// unsure is set once an earlier try may have been carried out unheard.
	unsure bool
}

// do carries out a request, again and again until it succeeds, is refused, or ctx
// ends. While there is patience (see hurry) even what was refused is tried again
// after a while, with credentials looked up anew, since somebody may have put it
// right; only what nobody can put right returns at once.
func (s *store) do(ctx context.Context, op string, limit time.Duration, f func(context.Context, attempt) error) error {
	return s.repeat(ctx, op, limit, f, func(away time.Time) (patient, over bool) {
		if !s.inHurry() {
			return true, false
		}
		return false, time.Since(later(away, s.since)) > s.giveUp
	})
}

// ask is do without patience: for as long as Options.Reach says.
func (s *store) ask(ctx context.Context, op string, f func(context.Context, attempt) error) error {
	end := time.Now().Add(s.reach)
	return s.repeat(ctx, op, min(s.stall, s.reach), f, func(time.Time) (patient, over bool) { return false, time.Now().After(end) })
}

func (s *store) repeat(ctx context.Context, op string, limit time.Duration, f func(context.Context, attempt) error, judge func(away time.Time) (patient, over bool)) error {
	a := attempt{}
	for wait := firstWait; ; wait = min(2*wait, awayWait) {
		err := s.try(ctx, limit, a, f)
		if err == nil {
			s.fine()
			return nil
		}
		if stop := canceled(ctx); stop != nil {
			return stop
		}
		e := s.classify(op, err)
		e.unsure = e.unsure || a.unsure
		a.unsure = e.unsure
		patient, over := judge(s.failed(op, e))
		pause := wait
		switch e.Kind {
		case Away:
		case Expired:
			pause = min(wait*2, expiredWait)
			s.renew()
		case Gone, Exists, Damaged, Stopped, Local:
			return e
		default:
			over = over || !patient
			pause = refusedWait
			s.renew()
		}
		if over {
			return e
		}
		if err := s.pause(ctx, jitter(pause)); err != nil {
			return err
		}
	}
}

// try carries it out once, within limits.
func (s *store) try(ctx context.Context, limit time.Duration, a attempt, f func(context.Context, attempt) error) (err error) {
	if limit == 0 {
		limit = s.stall
	}
	tctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dog := time.AfterFunc(limit, func() { cancel(errStalled) })
	defer dog.Stop()
	if a.client, err = s.api(tctx); err == nil {
		a.beat = func() { dog.Reset(limit) }
		err = f(tctx, a)
	}
	if err != nil && ctx.Err() == nil && tctx.Err() != nil {
		return errStalled
	}
	return err
}

var errStalled = errors.New("nothing moved for too long")

// pause waits; when the time of patience ends, so does a wait that began in it.
func (s *store) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	var hurried chan struct{}
	if !s.inHurry() {
		hurried = s.hurried
	}
	select {
	case <-ctx.Done():
		return canceled(ctx)
	case <-t.C:
	case <-hurried:
	}
	return nil
}

// jitter spreads what several workers and several processes do at a time.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
