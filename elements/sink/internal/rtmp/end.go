package rtmp

import (
	"context"
	"errors"
	"io"
	"time"
)

const (
	// endPoll is how often the end is looked at while the server works on it.
	endPoll = 10 * time.Millisecond
	// endPatience is how long a server that never confirms may take to answer the
	// end before the connection is half closed, which most understand.
	endPatience = time.Second
)

// End ends the stream and returns when the server has confirmed that it has read
// all of it: by its answer to deleteStream or to a ping, by an acknowledgement,
// or, if it does none of these, by closing the connection in good order. It
// waits as long as there is progress; nothing confirmed for longer than the
// stall time is an error, like the end of ctx. The connection is closed then.
func (s *Stream) End(ctx context.Context) error {
	defer s.Close()
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	err := s.ping()
	if err == nil {
		err = s.command(0, "FCUnpublish", txUnpublish, nil, s.addr.Stream)
	}
	if err == nil {
		err = s.command(0, "deleteStream", txDelete, nil, float64(s.id))
	}
	if err != nil && !s.confirmedAll() {
		return s.sendError(err)
	}
	return s.awaitEnd(ctx)
}

func (s *Stream) awaitEnd(ctx context.Context) error {
	began, progress, seen := time.Now(), time.Now(), s.Confirmed()
	halfClosed := false
	for {
		if s.confirmedAll() {
			return nil
		}
		select {
		case <-ctx.Done():
			return s.addr.fail(Ending, ctx.Err(), 0)
		case <-s.done:
			if errors.Is(s.err, io.EOF) && !s.answers() {
				s.mu.Lock()
				s.ended = true
				s.mu.Unlock()
			}
			if s.confirmedAll() {
				return nil
			}
			return s.addr.fail(Ending, s.err, s.opts.Stall)
		case <-time.After(endPoll):
		}
		now := time.Now()
		if n := s.Confirmed(); n != seen {
			seen, progress = n, now
		}
		if s.opts.Stall > 0 && now.Sub(progress) > s.opts.Stall {
			return s.addr.fail(Ending, errQuiet, s.opts.Stall)
		}
		if half, ok := s.conn.(interface{ CloseWrite() error }); ok && !halfClosed && !s.answers() && now.Sub(began) > endPatience {
			halfClosed = true
			_ = half.CloseWrite() // what went wrong is seen when reading
		}
	}
}

func (s *Stream) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pings.answers
}

// confirmedAll tells that the server has read everything, and notes it.
func (s *Stream) confirmedAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		s.confirmed = s.flv
	}
	return s.ended || s.pings.answers && len(s.pings.marks) == 0 && s.confirmed == s.flv
}
