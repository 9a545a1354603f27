package shmsrc

import (
	"context"
	"errors"

	"github.com/mpipe/mpipe/ring"
)

// proceed tells whether the recording goes on after an attachment is over: in
// another ring of the same producer, or with another producer.
func (s *source) proceed(ctx context.Context) bool {
	if ctx.Err() != nil {
		s.noteDeath()
		return false
	}
	switch s.reader.State() {
	case ring.Replaced:
		return s.nextRing(ctx)
	case ring.Dead:
		s.noteDeath()
		return s.nextProducer(ctx)
	}
	return false
}

func (s *source) noteDeath() {
	if s.reader.State() != ring.Dead {
		return
	}
	s.mu.Lock()
	s.died = true
	s.mu.Unlock()
	s.env.Log.Warn("the producer died", "producer", s.reader.Producer().Name, "pid", s.reader.Producer().PID)
}

// nextProducer waits for another producer where the graph wants that.
func (s *source) nextProducer(ctx context.Context) bool {
	if s.onProducerExit != "wait" {
		return false
	}
	s.retire()
	s.env.Log.Info("waiting for the next producer", "ring", s.addr)
	if err := s.attach(ctx); err != nil {
		s.env.Log.Warn("no next producer; the recording ends", "reason", err)
		return false
	}
	return true
}

// nextRing goes on with a producer one of whose threads got stuck. A producer
// that does not come back is as good as dead.
func (s *source) nextRing(ctx context.Context) bool {
	wait, cancel := ctx, context.CancelFunc(func() {})
	if s.attachTimeout > 0 {
		wait, cancel = context.WithTimeout(ctx, s.attachTimeout)
	}
	defer cancel()
	r, err := s.listener.Replace(wait, s.reader)
	if err == nil {
		err = s.bind(r)
	}
	if err == nil {
		s.retire()
		s.use(r)
		s.env.Log.Info("the producer goes on in another ring", "producer", r.Producer().Name, "pid", r.Producer().PID)
		return true
	}
	if r != nil {
		r.Close()
	}
	s.mu.Lock()
	s.died = true
	s.mu.Unlock()
	s.env.Log.Warn("the producer did not come back to another ring", "reason", err)
	var gone *ring.GoneError
	return errors.As(err, &gone) && s.nextProducer(ctx)
}
