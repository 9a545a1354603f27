package hls

import (
	"errors"
	"io"
	"time"
)

// Media is what a stream carries.
type Media uint8

const (
	Video Media = iota + 1
	Audio
)

// Start is when the first frame of a stream is to be shown, in running time. A
// negative First is not known.
type Start struct {
	Media Media
	First time.Duration
}

// parts takes what a cutter makes.
type parts interface {
	// initial is called once, before any segment, by formats that have a part
	// that belongs to all of them.
	initial(b []byte) error
	// Write takes the next bytes of the segment that is open.
	io.Writer
	// cut tells that the open segment is whole; it began at start, in the time
	// of the container, and is d long.
	cut(start, d time.Duration) error
}

// cutter reads a container from front to back.
type cutter interface {
	io.Writer
	// end is called behind the last byte.
	end() error
}

// errCut is the error of a stream that ends in the middle of something.
var errCut = errors.New("the muxer's stream ends within a unit of its container")

// pacer decides where segments end.
type pacer struct {
	target time.Duration
	out    parts
	begun  bool
	start  time.Duration // of the open segment
	last   time.Duration // of the latest point to cut at
	widest time.Duration // between two points to cut at
}

// slack is how much earlier than the wanted length a segment may end: key frames
// that are made by counting frames come a little early or late by the clock.
func slack(target time.Duration) time.Duration { return target / 20 }

// point is a place at which the stream can be cut; all before it was written.
func (p *pacer) point(t time.Duration) error {
	if !p.begun {
		p.begun, p.start, p.last = true, t, t
		return nil
	}
	p.widest = max(p.widest, t-p.last)
	p.last = t
	if t-p.start < p.target-slack(p.target) {
		return nil
	}
	start := p.start
	p.start = t
	return p.out.cut(start, t-start)
}

// finish ends the last segment at t.
func (p *pacer) finish(t time.Duration) error {
	if !p.begun {
		return nil
	}
	return p.out.cut(p.start, max(0, t-p.start))
}
