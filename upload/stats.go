package upload

import (
	"fmt"
	"time"
)

// Stats is how an upload stands.
type Stats struct {
	Written        int64     `json:"written"`      // bytes that Write has taken, or the file's
	Confirmed      int64     `json:"confirmed"`    // bytes that the store has confirmed
	Spooled        int64     `json:"spooled"`      // bytes that wait on disk
	SpooledMost    int64     `json:"spooled_most"` // the most there were
	Parts          int       `json:"parts"`        // begun
	PartsConfirmed int       `json:"parts_confirmed"`
	PartsUnderWay  int       `json:"parts_under_way"`
	Retries        int64     `json:"retries"`              // requests that failed; they were, or will be, tried again
	Blocked        float64   `json:"blocked"`              // seconds for which Write has waited for space in the spool
	LastError      string    `json:"last_error,omitempty"` // of a request
	AwaySince      time.Time `json:"away_since,omitzero"`  // since when no request has succeeded; zero: the last one did
	Failed         error     `json:"-"`                    // why sending has ended for good; nil: it has not
}

// Stats may be asked at any time.
func (u *Upload) Stats() Stats {
	u.mu.Lock()
	s := Stats{
		Written: u.n.written, Confirmed: u.n.confirmed, Spooled: u.n.spooled, SpooledMost: u.n.spooledMost,
		Parts: len(u.parts), PartsConfirmed: u.n.done, PartsUnderWay: u.n.under, Failed: u.failed,
	}
	blocked := u.n.blocked
	if !u.n.blockedSince.IsZero() {
		blocked += time.Since(u.n.blockedSince)
	}
	s.Blocked = blocked.Seconds()
	u.mu.Unlock()
	h := u.st.state()
	s.Retries, s.AwaySince = h.retries, h.awaySince
	if h.lastError != nil {
		s.LastError = h.lastError.Error()
	}
	return s
}

// String is a line for people.
func (s Stats) String() string {
	line := fmt.Sprintf("%s written, %s in the store, %s waiting, %d of %d parts", size(s.Written), size(s.Confirmed), size(s.Spooled), s.PartsConfirmed, s.Parts)
	if !s.AwaySince.IsZero() {
		line += fmt.Sprintf(", store away for %s", time.Since(s.AwaySince).Round(time.Second))
	}
	return line
}
