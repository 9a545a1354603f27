package upload

import (
	"fmt"
	"time"
)

// Stats is how an upload stands.
type Stats struct {
	Written        int64 // bytes that Write has taken, or the file's
	Confirmed      int64 // bytes that the store has confirmed
	Spooled        int64 // bytes that wait on disk
	SpooledMost    int64 // the most there were
	Parts          int   // begun
	PartsConfirmed int
	PartsUnderWay  int
	Retries        int64         // requests that failed and were, or will be, tried again
	Blocked        time.Duration // for how long Write has waited for space in the spool
	LastError      string        // of a request; "" when there was none
	Away           time.Time     // since when no request has succeeded; zero: the last one did
	Failed         error         // why sending has ended for good; nil: it has not
}

// Stats may be asked at any time.
func (u *Upload) Stats() Stats {
	u.mu.Lock()
	s := Stats{
		Written: u.n.written, Confirmed: u.n.confirmed, Spooled: u.n.spooled, SpooledMost: u.n.spooledMost,
		Parts: len(u.parts), PartsConfirmed: u.n.done, PartsUnderWay: u.n.under, Blocked: u.n.blocked, Failed: u.failed,
	}
	if !u.n.blockedSince.IsZero() {
		s.Blocked += time.Since(u.n.blockedSince)
	}
	u.mu.Unlock()
	h := u.st.state()
	s.Retries, s.Away = h.retries, h.awaySince
	if h.lastError != nil {
		s.LastError = h.lastError.Error()
	}
	return s
}

// String is a line for people.
func (s Stats) String() string {
	line := fmt.Sprintf("%s written, %s in the store, %s waiting, %d of %d parts", size(s.Written), size(s.Confirmed), size(s.Spooled), s.PartsConfirmed, s.Parts)
	if !s.Away.IsZero() {
		line += fmt.Sprintf(", store away for %s", time.Since(s.Away).Round(time.Second))
	}
	return line
}
