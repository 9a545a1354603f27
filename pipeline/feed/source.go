package feed

import (
	"context"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Source is what a feed is made of: one track for each stream of the ring.
type Source struct {
	tracks []track
	close  func()
}

// Close gives back what the source holds; Run must have returned.
func (s *Source) Close() {
	if s.close != nil {
		s.close()
		s.close = nil
	}
}

// Streams tells what the source will declare when it attaches.
func (s *Source) Streams() []ring.StreamSpec {
	specs := make([]ring.StreamSpec, len(s.tracks))
	for i, t := range s.tracks {
		specs[i] = t.spec()
	}
	return specs
}

// track is one stream's frames, in order. All methods but spec belong to one
// goroutine.
type track interface {
	spec() ring.StreamSpec
	// next makes the next frame the current one; io.EOF behind the last.
	next(ctx context.Context) (frame, error)
	// write puts the current frame into dst, which has its size.
	write(ctx context.Context, dst []byte) error
	// skip leaves the current frame out.
	skip(ctx context.Context) error
}

// frame describes the current frame of a track.
type frame struct {
	format   ring.Format // set on the first frame and when it changes
	size     int         // bytes
	pts      time.Duration
	duration time.Duration // 0 when unknown
	discont  bool          // something before it is missing in the source
}

// packet is how much sound goes into the ring at a time: short enough to hand
// over soon, long enough to cost little.
const packet = 10 * time.Millisecond

// samplesAt gives the number of the sample at a time, rounded down.
func samplesAt(t time.Duration, rate int) int64 {
	return int64(t/time.Second)*int64(rate) + int64(t%time.Second)*int64(rate)/int64(time.Second)
}

// timeOf gives the time of a sample, rounded down.
func timeOf(sample int64, rate int) time.Duration {
	r := int64(rate)
	return time.Duration(sample/r)*time.Second + time.Duration(sample%r*int64(time.Second)/r)
}
