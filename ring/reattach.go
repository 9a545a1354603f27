package ring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errNoConsumer is ErrFull for a frame that came between two consumers.
var errNoConsumer = fmt.Errorf("%w: no consumer is attached", ErrFull)

// search is the way to the next attachment. One goroutine looks, those who claim
// wait for it as long as their policy lets them.
type search struct {
	mu     sync.Mutex
	done   chan struct{} // closed when the search that runs is over; nil when none runs
	cancel context.CancelFunc
	err    error // why there will be no next one
	closed bool
}

// Lost counts the frames that consumers before this one did not use up, and those
// that found no consumer: see [AttachOptions].
func (p *Producer) Lost() int64 { return p.lost.Load() }

// Epochs counts the attachments so far, this one included.
func (p *Producer) Epochs() int64 { return p.epochs.Load() }

// Reattach leaves a consumer that is gone, has stopped, or has replaced its ring,
// for the next one at the address, and gives how many claims the last did not use
// up. Writers and format ids stay valid; streams that were ended are open again.
// When it fails, it may be called again.
func (p *Producer) Reattach(ctx context.Context) (lost int64, err error) {
	s := &p.search
	before := p.lost.Load()
	s.mu.Lock()
	for s.done != nil { // another search may be on its way to the same end
		done := s.done
		s.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		s.mu.Lock()
	}
	if s.closed {
		s.mu.Unlock()
		return 0, ErrClosed
	}
	old := p.at.Load()
	ctx, s.cancel = context.WithCancel(ctx)
	s.done, s.err = make(chan struct{}), nil
	s.mu.Unlock()
	err = p.next(ctx, old, false)
	s.over(nil)
	return p.lost.Load() - before, err
}

// await waits for the attachment after old within a policy. nil means: try again.
func (p *Producer) await(old *attachment, policy Policy, ending bool) error {
	done, err := p.seek(old)
	if err != nil || done == nil {
		return err
	}
	if policy.block && policy.limit == 0 {
		<-done
		return nil
	}
	wait := time.Duration(0)
	if policy.block {
		wait = policy.limit
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		if !ending {
			p.lost.Add(1)
		}
		return errNoConsumer
	}
}

// seek makes sure that somebody looks for the attachment after old; done is nil
// when that is there already.
func (p *Producer) seek(old *attachment) (done <-chan struct{}, err error) {
	s := &p.search
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case p.at.Load() != old:
		return nil, nil
	case s.err != nil:
		return nil, s.err
	case s.done != nil:
		return s.done, nil
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.done = make(chan struct{})
	go func() { s.over(p.next(ctx, old, true)) }()
	return s.done, nil
}

// over ends the search that runs.
func (s *search) over(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
	close(s.done)
	s.done, s.err = nil, err
}

// close ends a search and lets none begin.
func (s *search) close() {
	s.mu.Lock()
	s.closed = true
	done := s.done
	if done != nil {
		s.cancel()
	}
	s.mu.Unlock()
	if done != nil {
		<-done
	}
}

// next finds the attachment after old and makes it the current one. keep: streams
// that were ended stay so.
func (p *Producer) next(ctx context.Context, old *attachment, keep bool) error {
	at, err := p.find(ctx, old)
	if err != nil {
		return err
	}
	p.mu.Lock()
	for i := range p.formats { // into an empty table, in order: the same ids
		if f := p.formats[i].Load(); f != nil {
			at.publish(f)
		}
	}
	for i := range p.streams {
		p.fresh[i].Store(true)
	}
	if keep {
		p.endAgain(at)
	} else {
		p.endSaid = 0
		for i := range p.ended {
			p.ended[i].Store(false)
		}
	}
	p.epochs.Add(1)
	p.at.Store(at)
	p.mu.Unlock()
	old.stop()
	old.mu.Lock()
	old.over = true
	old.mu.Unlock()
	p.lost.Add(old.release())
	return nil
}

// endAgain says the ends of streams in a new attachment. It fails only when that
// is over already; then the next one hears of them.
func (p *Producer) endAgain(at *attachment) {
	w := &Writer{p: p}
	if p.endSaid == 0 || w.bind(at) != nil {
		return
	}
	defer w.Close()
	for i := range p.streams {
		if p.endSaid&(1<<i) == 0 {
			continue
		}
		if s, err := w.claimIn(i, 0, 0, Drop, true); err == nil {
			s.Commit(Now(), 0, FlagEOS)
		}
	}
}

// find attaches again: over the same connection when the consumer replaced its
// ring, which works inside a sandbox too, else at the address.
func (p *Producer) find(ctx context.Context, old *attachment) (*attachment, error) {
	if old.replaced() && old.link != nil {
		at, err := old.link.again(ctx, p.hello)
		var later *tryLaterError
		if !errors.As(err, &later) {
			if err == nil {
				old.mu.Lock()
				old.left, old.link = true, nil
				old.mu.Unlock()
			}
			return at, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	old.leave()
	if p.addr.fd >= 0 {
		return nil, fmt.Errorf("%w: a socket that was handed in is good for one consumer", ErrGone)
	}
	return attach(ctx, p.addr, p.hello)
}
