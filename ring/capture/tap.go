package capture

import (
	"context"
	"time"

	"github.com/mpipe/mpipe/ring"
)

const (
	// tapSleep is how long a tap sleeps when there was nothing: nobody can wake an
	// observer. A ring holds far more than comes in that time.
	tapSleep = 2 * time.Millisecond
	// tapLook is how often a tap looks for new attachments, and for the end of
	// those it has.
	tapLook = 200 * time.Millisecond
)

// tapped is one attachment that a tap follows.
type tapped struct {
	*account
	o   *ring.Observer
	buf []byte
}

// Tap records beside the consumer of an address, which neither it nor its
// producers can notice. From the moment it comes it copies what is committed; what
// was overwritten before it could is counted, not recorded. Otherwise it is as
// Consume.
func Tap(ctx context.Context, w *Writer, o Options) (Report, error) {
	if _, err := ring.Inspect(o.Ring); err != nil {
		return Report{Reason: ReasonError}, err
	}
	t := &tap{recording: &recording{o: o, w: w, began: time.Now()}, seen: map[uint64]bool{}}
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := t.clock(run, cancel)
	defer stop()
	defer t.close()
	if err := t.follow(run, cancel); err != nil {
		cancel(err)
	}
	return t.finish(context.Cause(run))
}

type tap struct {
	*recording
	seen   map[uint64]bool // ring ids
	list   []*tapped
	looked time.Time
}

// follow returns when ctx is done or something failed.
func (t *tap) follow(ctx context.Context, cancel context.CancelCauseFunc) error {
	for ctx.Err() == nil {
		if time.Since(t.looked) > tapLook {
			t.looked = time.Now()
			if err := t.find(); err != nil {
				return err
			}
			if err := t.endings(); err != nil {
				return err
			}
			if t.attachedNow() == 0 && len(t.seen) > 0 && !t.o.Keep {
				cancel(errEnded)
				return nil
			}
		}
		moved, err := t.copy()
		if err != nil {
			return err
		}
		if !moved {
			select {
			case <-ctx.Done():
			case <-time.After(tapSleep):
			}
		}
	}
	for _, a := range t.list {
		if err := t.end(a.account, a.o.Stats, missedBy(a.o), Stopped, nil); err != nil {
			return err
		}
	}
	return nil
}

// find begins with attachments that are new. Nobody at the address is no error:
// the next consumer may come.
func (t *tap) find() error {
	found, err := ring.Observe(t.o.Ring)
	if err != nil {
		return nil
	}
	for i, o := range found {
		s, _ := o.State()
		if t.seen[o.RingID()] || s != ring.Live {
			o.Close()
			continue
		}
		t.seen[o.RingID()] = true
		a, err := t.begin(o.Stats(), o.Streams(), o.Format)
		t.list = append(t.list, &tapped{account: a, o: o})
		t.attached()
		if err != nil {
			for _, o := range found[i+1:] {
				o.Close()
			}
			return err
		}
	}
	return nil
}

// endings notices what is over. What is left of it is read before its end is
// written.
func (t *tap) endings() error {
	left := t.list[:0]
	var failed error
	for _, a := range t.list {
		state, why := a.o.State()
		if state == ring.Live {
			left = append(left, a)
			continue
		}
		for failed == nil {
			moved, err := t.copyOne(a)
			if failed = err; !moved {
				break
			}
		}
		if failed == nil {
			failed = t.end(a.account, a.o.Stats, missedBy(a.o), state.String(), why)
		}
		a.o.Close()
		t.detached()
	}
	t.list = left
	return failed
}

// copy records what came, at most one frame of each kind of each attachment.
func (t *tap) copy() (moved bool, err error) {
	for _, a := range t.list {
		m, err := t.copyOne(a)
		if err != nil {
			return moved, err
		}
		moved = moved || m
	}
	return moved, nil
}

func (t *tap) copyOne(a *tapped) (moved bool, err error) {
	for _, k := range kinds {
		before := a.o.Missed(k)
		f, ok := a.o.Next(k, a.buf)
		t.mu.Lock()
		t.missed += a.o.Missed(k) - before
		t.mu.Unlock()
		if !ok {
			continue
		}
		moved = true
		if cap(f.Data) > cap(a.buf) {
			a.buf = f.Data
		}
		if err := a.frame(f); err != nil {
			return moved, err
		}
	}
	return moved, t.look(a.account, a.o.Stats, missedBy(a.o), false)
}

func (t *tap) close() {
	for _, a := range t.list {
		a.o.Close()
	}
}

// missedBy gives what Losses wants.
func missedBy(o *ring.Observer) map[string]int64 {
	m := map[string]int64{}
	for _, k := range kinds {
		if n := o.Missed(k); n > 0 {
			m[k.String()] = n
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
