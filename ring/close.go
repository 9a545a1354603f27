package ring

import (
	"time"

	"golang.org/x/sys/unix"
)

// Close detaches: the producer's Claim returns ErrGone from now on. Frames that
// are still lent out stay valid; the memory is given back when the last of them
// is released, by a goroutine that lives as long as they do and looks every
// 50 ms. With none out, everything is given back before Close returns. Counters
// can be read afterwards.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.reclaimAll()
	r.sweep()
	r.refresh()
	r.closed = true
	r.stopPeer() // before the lock: it waits for watchers, which take it
	switch r.State() {
	case Live:
		r.announce(consClosed)
		r.conclude(Closed, nil)
	case Invalid, Replaced, Closed: // the producer knows, and why
	default:
		r.announce(consClosed)
	}
	r.release.Store(0)
	r.dataWaiters.Store(0)
	r.fullWaiters.Store(0)
	if r.out() == 0 {
		r.unmap()
		return nil
	}
	go func() {
		for r.out() != 0 {
			time.Sleep(50 * time.Millisecond)
			r.reclaimCopies()
			r.restore()
			r.sweep()
		}
		r.unmap()
	}()
	return nil
}

// out is how many frames are not released.
func (r *Reader) out() (n int64) {
	for _, c := range r.classes {
		if c != nil {
			n += c.held
		}
	}
	return n
}

// unmap gives the memory back and keeps the last counters.
func (r *Reader) unmap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats()
	r.snapshot = &s
	r.trimSpare(-1)
	if r.b.fd < 0 {
		return // Go's memory
	}
	// A thread that released the last frame a moment ago may still be about to
	// wake this reader: its words stay addressable. See parking.
	if r.b.words.overlayAnon() == nil {
		parkPut(r.b.words)
	}
	parkPut(r.b.local)
	_ = r.b.seg.unmap()
	_ = r.b.cons.unmap()
	_ = unix.Close(r.b.fd)
	r.closeOverlays()
}
