package pipeline

import (
	"sync/atomic"
	"time"
)

// VideoFormat describes raw video in memory. Strides and offsets are bytes per
// plane; a plane may have padding after each row and after its last row.
type VideoFormat struct {
	FourCC       string // GStreamer's name of the layout: "I420", "NV12", "BGRA", …
	Width        int    // pixels
	Height       int    // pixels
	Planes       int
	Strides      [4]int
	Offsets      [4]int
	FPSNum       int    // frame rate; 0/1 is variable
	FPSDen       int    // never 0
	Colorimetry  string // GStreamer's form: "bt709", "bt601", "1:3:5:1"; "" leaves it to the default
	ChromaSite   string // "mpeg2", "jpeg", …; "" leaves it to the default
	FullSize     int    // bytes of one frame
	NativeLayout bool   // strides and offsets are the ones GStreamer computes itself
}

// AudioFormat describes raw, interleaved audio.
type AudioFormat struct {
	Sample   string // GStreamer's name: "S16LE", "F32LE", …
	Rate     int    // frames per second
	Channels int
	Mask     uint64 // channel mask as GStreamer's channel-mask; 0 leaves it to the default
}

// Format is one or the other.
type Format struct {
	Video *VideoFormat
	Audio *AudioFormat
}

// FrameFlags travel with a frame.
type FrameFlags uint32

const (
	FlagDiscont FrameFlags = 1 << iota // something before this frame is missing
	FlagCorrupt                        // the producer marked the content as damaged
)

// Borrowed is one frame in memory that mpipe does not own. Whoever lends it may
// not touch Data until the cell says it is released.
//
// Data must not point into the Go heap: it is handed to GStreamer, which keeps
// it past the call. It is read-only for everyone downstream.
type Borrowed struct {
	Data     []byte
	PTS      time.Duration // CLOCK_MONOTONIC of capture, not yet on the run's timeline
	Duration time.Duration // 0 when unknown
	Flags    FrameFlags
	Cell     *Cell
}

// Cell is how the last user of a borrowed frame says so: it stores 0 in Held
// and, if *Waiters is not 0, adds 1 to *Seq and wakes the futex there. That is
// all the code that runs when GStreamer drops a frame, and it is C.
//
// Cells live outside the Go heap. The layout is shared with pipeline/internal/gstbin
// and with ring.Cell, and asserted in both.
type Cell struct {
	Held atomic.Uint32
	_    uint32
	Wake Wake
}

// Release does in Go what the C destroy-notify does, without the wake-up: for
// frames that never reached GStreamer and are given back by the source itself.
func (c *Cell) Release() { c.Held.Store(0) }

// Wake names an eventcount by the addresses of its two words: a count of
// waiters and the sequence that is the futex. Both are 32-bit words outside the
// Go heap. The zero Wake wakes nobody.
type Wake struct {
	Waiters uintptr
	Seq     uintptr
}
