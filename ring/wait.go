package ring

import (
	"context"
	"time"
	"unsafe"
)

// The eventcount that Wait sleeps on is one futex, data_seq, with four words of
// waiters, because not everybody has to wake the consumer all the time:
//
//	data_waiters     set while it wants commits           writers look after a commit
//	full_waiters     set while it sleeps without wanting  writers look when they find
//	                 releases                             the ring full
//	release waiters  set while it wants releases          whoever releases a cell
//	room waiters     always set                           the graph, when it has room
//
// The last two are words of this process. Each party first makes its event
// visible, then looks at its word; Wait first sets the words, then looks at the
// events. Both with seq_cst order, so one of them always sees the other.
//
// At 30 fps with a ring that has plenty of room, releases need not wake anybody:
// the next commit does, and Reclaim follows. So releases are wanted only when
// more than half of a class is in use, when a class has a frame the owner did
// not take (then its commits are not wanted, and a release may be what it waits
// for), or when a frame waits for copy space. Whatever happens in between, a
// writer that finds the ring full looks at full_waiters and wakes the consumer,
// which then wants releases: progress is never lost, nor put off to a time-out.

// spinMost bounds how long Wait looks at the next slots before it sleeps. The
// figure is in looks of a few ns each, about what a futex wake-up costs.
const spinMost = 2000

// Wait parks until something happened since the owner last came out of Wait:
// a commit in a class whose peek is empty, a release or other wake-up, the end
// of the peer, ctx, or d. It may return for no reason. It calls Reclaim before
// it sleeps. Sleeps are cut to 100 ms inside, so ctx may be noticed that late.
func (r *Reader) Wait(ctx context.Context, d time.Duration) {
	if r.closed {
		return
	}
	defer r.looked()
	if r.dataSeq.Load() != r.lastSeq || ctx.Err() != nil {
		return
	}
	r.reclaimAll()
	for _, c := range r.classes {
		if c != nil {
			r.flush(c)
		}
	}
	if r.news() || r.spin() {
		return
	}
	r.sweep()
	for deadline := Now() + int64(d); ; {
		left := time.Duration(deadline - Now())
		if left <= 0 || r.sleep(left) || ctx.Err() != nil {
			return
		}
	}
}

// Wake gives the addresses of the two words of an eventcount that always wakes
// Wait: for whoever makes room in the graph. Add 1 to *seq and wake the shared
// futex there when *waiters is not 0. The addresses stay valid for ever, and
// mean nothing after Close.
func (r *Reader) Wake() (waiters, seq uintptr) {
	return uintptr(unsafe.Pointer(r.room)), uintptr(unsafe.Pointer(r.dataSeq))
}

// looked remembers what the owner is about to see for itself.
func (r *Reader) looked() {
	r.lastSeq = r.dataSeq.Load()
	r.lastState = r.State()
}

// news tells whether there is something the owner cannot know of yet.
func (r *Reader) news() bool {
	r.refresh()
	if r.State() != r.lastState {
		return true
	}
	for _, c := range r.classes {
		if c != nil && !c.shown && r.find(c) {
			return true
		}
	}
	return r.State() != r.lastState // find may have found nonsense
}

// spin looks a little longer before sleeping, when that paid lately.
func (r *Reader) spin() bool {
	for range r.spins {
		if r.dataSeq.Load() != r.lastSeq {
			r.spins = min(r.spins*2, spinMost)
			return true
		}
		for _, c := range r.classes {
			if c != nil && !c.shown && r.ready(c) && r.find(c) {
				r.spins = min(r.spins*2, spinMost)
				return true
			}
		}
	}
	r.spins /= 2
	return false
}

// spinWorth is a sleep so short that spinning would have been cheaper.
const spinWorth = 20 * time.Microsecond

// sleep is one slice. It tells whether Wait is to return.
func (r *Reader) sleep(left time.Duration) bool {
	commits, releases := r.wants()
	// SYNC POINT wake, SYNC POINT release: the words first, then the events.
	if commits {
		r.dataWaiters.Store(1)
	}
	if releases {
		r.release.Store(1)
	} else {
		r.fullWaiters.Store(1)
	}
	defer func() {
		r.dataWaiters.Store(0)
		r.fullWaiters.Store(0)
		r.release.Store(0)
	}()
	if r.dataSeq.Load() != r.lastSeq || r.news() || r.reclaimAll() {
		return true
	}
	if !releases {
		// A writer may have filled the ring after wants looked and before the
		// words were set.
		if _, releases = r.wants(); releases {
			return true
		}
	}
	r.count(consWaits, 1)
	start := Now()
	futexWait(r.dataSeq, r.lastSeq, left)
	if slept := Now() - start; slept < int64(spinWorth) {
		r.spins = max(r.spins, 64)
	}
	if r.dataSeq.Load() != r.lastSeq {
		r.count(consWakeUps, 1)
		return true
	}
	return r.news()
}

// wants decides what is to wake the consumer.
func (r *Reader) wants() (commits, releases bool) {
	for _, c := range r.classes {
		if c == nil {
			continue
		}
		if c.shown || c.starved {
			releases = true
		} else {
			commits = true
		}
		w := cursor(c.write.Load())
		if c.used(w) > c.capacity/2 || seqDist(c.read.seq(), w.seq()) > c.slots/2 || c.spaceWaiters.Load() != 0 {
			releases = true
		}
	}
	if r.final {
		return false, true
	}
	return commits, releases
}
