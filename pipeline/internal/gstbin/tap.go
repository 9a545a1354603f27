package gstbin

// #include "shim.h"
import "C"

import (
	"sync/atomic"
	"time"
)

// Traffic is what has passed a pad so far. Times are running time.
type Traffic struct {
	Frames   int64
	Bytes    int64
	Keys     int64         // buffers that decode on their own
	FirstPTS time.Duration // -1 before the first buffer
	LastPTS  time.Duration // the greatest; -1 before the first
	LastEnd  time.Duration // the greatest PTS + duration
	EOS      bool          // the stream's end passed
}

// Plus adds what passed the same place later, in another pipeline.
func (t Traffic) Plus(later Traffic) Traffic {
	if t.FirstPTS < 0 {
		t.FirstPTS = later.FirstPTS
	}
	t.Frames += later.Frames
	t.Bytes += later.Bytes
	t.Keys += later.Keys
	t.LastPTS = max(t.LastPTS, later.LastPTS)
	t.LastEnd = max(t.LastEnd, later.LastEnd)
	t.EOS = t.EOS || later.EOS
	return t
}

func readTap(t *C.MpipeTap) Traffic {
	load := func(p *C.int64_t) int64 { return atomic.LoadInt64((*int64)(p)) }
	return Traffic{
		Frames:   load(&t.frames),
		Bytes:    load(&t.bytes),
		Keys:     load(&t.keys),
		FirstPTS: time.Duration(load(&t.first_pts)),
		LastPTS:  time.Duration(load(&t.last_pts)),
		LastEnd:  time.Duration(load(&t.last_end)),
		EOS:      atomic.LoadUint32((*uint32)(&t.eos)) != 0,
	}
}
