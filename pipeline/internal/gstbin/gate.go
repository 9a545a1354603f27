package gstbin

// #include "gate.h"
import "C"

import (
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// WhenFull is what a gate does with frames that an output does not take in time.
type WhenFull int

const (
	Block      WhenFull = C.MPIPE_GATE_BLOCK       // the encoder waits
	DropGOP    WhenFull = C.MPIPE_GATE_DROP_GOP    // up to the next key frame; of sound, what does not fit
	DropNewest WhenFull = C.MPIPE_GATE_DROP_NEWEST // what does not fit
	DropOldest WhenFull = C.MPIPE_GATE_DROP_OLDEST // what waited longest
)

// Limits bound what waits in one lane of a gate; 0 bounds nothing.
type Limits struct {
	Time     time.Duration
	Bytes    int64
	Frames   int
	WhenFull WhenFull
}

// LaneStats is one lane's account so far.
type LaneStats struct {
	Frames  int64 // that came
	Dropped int64 // of these, that did not go on
	Drops   int64 // how often dropping began
	Bytes   int64 // waiting now
	Time    time.Duration
	EOS     bool // the stream's end came
}

// Gate is where an output begins: it carries frames from the pipeline of the
// encoders into the pipeline of one output, through a bounded queue for each
// stream, and keeps the two apart when an output fails.
//
// Lanes are added while both pipelines are built. Attach, Detach, End and Shut
// may come from any goroutine, one at a time.
type Gate struct {
	c *C.MpipeGate
	n int
}

// NewGate makes a gate at the end of p; Close frees it.
func (p *Pipeline) NewGate() *Gate {
	g := &Gate{c: C.mpipe_gate_new()}
	p.gates = append(p.gates, g)
	return g
}

// Lane adds a lane that begins at the appsink id of p, the gate's own pipeline.
func (g *Gate) Lane(p *Pipeline, id string, video bool, l Limits) error {
	v := C.int(0)
	if video {
		v = 1
	}
	if C.mpipe_gate_lane(g.c, element(p.elems[id]), v, C.int(l.WhenFull), C.int64_t(l.Time), C.int64_t(l.Bytes), C.int(l.Frames)) < 0 {
		return fmt.Errorf("an output takes at most %d streams", g.n)
	}
	g.n++
	return nil
}

// GateSource is how the appsrc is set that a lane goes on into: it takes times
// as they were before, and leaves the limits to the gate.
var GateSource = []pipeline.Setting{
	{Name: "format", Value: "time"}, {Name: "handle-segment-change", Value: "true"}, {Name: "emit-signals", Value: "false"},
	{Name: "max-bytes", Value: "0"}, {Name: "max-buffers", Value: "0"}, {Name: "max-time", Value: "0"},
}

// Attach has each lane go on into the appsrc of p with the same index in ids.
// With rebase, for an output that is made anew, it begins with a key frame at
// running time 0.
func (g *Gate) Attach(p *Pipeline, ids []string, rebase bool) {
	srcs := make([]*C.GstElement, len(ids))
	for i, id := range ids {
		srcs[i] = element(p.elems[id])
	}
	r := C.int(0)
	if rebase {
		r = 1
	}
	C.mpipe_gate_attach(g.c, unsafe.SliceData(srcs), r)
}

// Cut ends the attached output before the first key frame that lies span behind
// its first frame; what follows is for the next one. It holds for that one too. A
// span of 0 takes the next key frame.
func (g *Gate) Cut(span time.Duration) { C.mpipe_gate_cut(g.c, C.int64_t(span)) }

// CutAtFormats has every output, too, end where the form of the first video
// stream changes in more than its frame rate. It is called before anything plays.
func (g *Gate) CutAtFormats() { C.mpipe_gate_cut_at_formats(g.c) }

// WasCut tells that the output was ended by a cut, so that more follows, and the
// running time of its first frame, -1 when it had none.
func (g *Gate) WasCut() (cut bool, began time.Duration) {
	var t C.int64_t
	cut = C.mpipe_gate_was_cut(g.c, &t) != 0
	return cut, time.Duration(t)
}

// Detach parts the gate from its output.
func (g *Gate) Detach() { C.mpipe_gate_detach(g.c) }

// End ends the output behind what waits, though the encoders go on.
func (g *Gate) End() { C.mpipe_gate_end(g.c) }

// Shut drops everything from now on and holds nobody up.
func (g *Gate) Shut() { C.mpipe_gate_shut(g.c) }

// Stats reads a lane's account.
func (g *Gate) Stats(lane int) LaneStats {
	var s C.MpipeLaneStats
	C.mpipe_gate_stats(g.c, C.int(lane), &s)
	return LaneStats{
		Frames: int64(s.frames), Dropped: int64(s.dropped), Drops: int64(s.gops),
		Bytes: int64(s.bytes), Time: time.Duration(s.time), EOS: s.eos != 0,
	}
}

// WriteTo writes what reaches the appsink id, until its stream ends (nil), the
// pipeline stops (ErrStopped) or w fails. The bytes are GStreamer's memory.
func (p *Pipeline) WriteTo(id string, w io.Writer) error {
	sink := element(p.elems[id])
	const patience = 100 * time.Millisecond // how late a stop is seen
	for {
		var b C.MpipePull
		switch C.mpipe_pull(sink, C.int64_t(patience), &b) {
		case 1:
			_, err := w.Write(unsafe.Slice((*byte)(unsafe.Pointer(b._map.data)), int(b._map.size)))
			C.mpipe_pull_done(&b)
			if err != nil {
				return err
			}
		case -1:
			return nil
		case -2:
			return ErrStopped
		}
	}
}
