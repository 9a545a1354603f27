package ring

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is the class of a stream. An attachment has one ring per class in use,
// so that a picture that is held never pins the space of audio.
type Kind uint8

const (
	KindVideo Kind = 1
	KindAudio Kind = 2
)

// kinds lists the classes by their index in the layout.
var kinds = [classCount]Kind{KindVideo, KindAudio}

func (k Kind) String() string {
	switch k {
	case KindVideo:
		return "video"
	case KindAudio:
		return "audio"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// MarshalText writes the kind by its name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (k *Kind) UnmarshalText(text []byte) error {
	for _, known := range kinds {
		if known.String() == string(text) {
			*k = known
			return nil
		}
	}
	return fmt.Errorf("ring: %q is no kind of stream", text)
}

// class is the kind's index in the layout; ok is false for what is no kind.
func (k Kind) class() (int, bool) { return int(k) - 1, k == KindVideo || k == KindAudio }

// StreamSpec is what a producer declares when it attaches.
type StreamSpec struct {
	Name     string // letters, digits, '.', '_' and '-'; unique in the attachment
	Kind     Kind
	MaxFrame int // bytes of the largest frame the stream will ever carry
}

// Stream is a declared stream under the number its frames carry: its index in
// the list given to [Attach].
type Stream struct {
	ID uint16
	StreamSpec
}

// Flags travel with a frame.
type Flags uint32

const (
	FlagKey     Flags = 1 << iota // can be understood without the frames before it
	FlagDiscont                   // something before this frame is missing
	FlagCorrupt                   // the producer knows that the content is damaged
	FlagEOS                       // end of the stream: no payload, nothing of the stream follows
)

const flagsKnown = FlagKey | FlagDiscont | FlagCorrupt | FlagEOS

// Errors of the producer's side.
var (
	// ErrFull: no room, or none before the deadline. The frame was counted as dropped.
	ErrFull = errors.New("ring: full")
	// ErrStopped: the consumer takes nothing new but still delivers what was committed.
	ErrStopped = errors.New("ring: the consumer has stopped taking frames")
	// ErrGone: the consumer closed the ring or died. Attach again to go on.
	ErrGone = errors.New("ring: the consumer is gone")
	// ErrEnded: the stream was ended by this producer.
	ErrEnded = errors.New("ring: the stream has ended")
	// ErrClosed: the producer, writer, listener or reader was closed on this side.
	ErrClosed = errors.New("ring: closed")
)

// RefusedError is the consumer's answer to a producer it does not take.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "ring: the consumer refused: " + e.Reason }

// InUseError: another live consumer listens at the address.
type InUseError struct{ Addr string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("ring: %s is in use by another consumer; stop it or choose another name", e.Addr)
}

// Policy says what Claim does when there is no room.
type Policy struct {
	block bool
	limit time.Duration // 0: for ever
}

// Drop gives up at once: the frame that does not fit is the one that is lost.
// The right policy for a thread that must not wait, such as a renderer.
var Drop = Policy{}

// Block waits for room, at most for d, or for ever when d is 0.
func Block(d time.Duration) Policy { return Policy{block: true, limit: max(d, 0)} }

// Now is CLOCK_MONOTONIC in ns: the clock of all stamps in a ring. It makes no
// system call.
func Now() int64 { return clockBase.ns + int64(time.Since(clockBase.at)) }

// clockBase ties Go's own reading of the same clock, which is the vDSO's and shows
// differences alone, to its zero: the best of some pairs of readings, as the
// thread may be interrupted between the two.
var clockBase = func() (base struct {
	ns int64
	at time.Time
}) {
	best := time.Hour
	for range 16 {
		var ts unix.Timespec
		before := time.Now()
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			return base
		}
		if took := time.Since(before); took < best {
			best = took
			base.ns, base.at = ts.Nano(), before.Add(took/2)
		}
	}
	return base
}()
