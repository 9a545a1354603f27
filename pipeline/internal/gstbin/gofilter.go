package gstbin

// #cgo pkg-config: gstreamer-base-1.0
// #include "gofilter.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// GoStage is an element of the pipeline whose frames pass through Go.
type GoStage struct {
	elem   *C.GstElement
	handle cgo.Handle
	call   func(*pipeline.Frame) error
	frame  pipeline.Frame // the one that is lent, again and again
	planes [4]pipeline.Plane

	mu      sync.Mutex
	pending []func()
	err     error
	final   GoStats
	closed  bool
}

// GoStats is what passed a GoStage.
type GoStats struct {
	Frames  int64
	Copied  int64 // of Frames, how many were not the filter's to write into
	Dropped int64 // of Frames, how many it left out
}

// Tie has the element id, of the factory [pipeline.GoFactory], call a filter or a
// viewer. Close unties it.
func (p *Pipeline) Tie(id string, e pipeline.Element) (*GoStage, error) {
	s := &GoStage{elem: element(p.elems[id])}
	viewer := C.int(0)
	switch x := e.(type) {
	case pipeline.Filter:
		s.call = x.Process
	case pipeline.Viewer:
		s.call, viewer = x.View, 1
	default:
		return nil, fmt.Errorf("%T is neither a Filter nor a Viewer", e)
	}
	s.handle = cgo.NewHandle(s)
	C.mpipe_gofilter_tie(s.elem, C.uintptr_t(s.handle), viewer)
	p.stages = append(p.stages, s)
	return s, nil
}

// Err is why the stage failed, nil when it did not.
func (s *GoStage) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Between runs f on the streaming thread before the next frame.
func (s *GoStage) Between(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, f)
}

// Stats reads the stage's counts, also after Close.
func (s *GoStage) Stats() GoStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.final
	}
	var c C.MpipeGoStats
	C.mpipe_gofilter_stats(s.elem, &c)
	return GoStats{int64(c.frames), int64(c.copied), int64(c.dropped)}
}

func (s *GoStage) close() {
	st := s.Stats()
	s.mu.Lock()
	s.final, s.closed = st, true
	s.mu.Unlock()
	s.handle.Delete()
}

//export mpipeGoFormat
func mpipeGoFormat(h C.uintptr_t, f *C.MpipeGoFormat) C.int {
	s := cgo.Handle(h).Value().(*GoStage)
	s.frame.Video, s.frame.Audio = nil, nil
	switch {
	case f.width > 0:
		s.frame.Video = &pipeline.VideoFormat{FourCC: C.GoString(f.format), Width: int(f.width), Height: int(f.height),
			FPSNum: int(f.fps_num), FPSDen: int(f.fps_den)}
	case f.rate > 0:
		s.frame.Audio = &pipeline.AudioFormat{Sample: C.GoString(f.format), Rate: int(f.rate), Channels: int(f.channels), Mask: uint64(f.mask)}
	}
	return C.MPIPE_GO_OK
}

//export mpipeGoFrame
func mpipeGoFrame(h C.uintptr_t, f *C.MpipeGoFrame) C.int {
	s := cgo.Handle(h).Value().(*GoStage)
	n := int(f.planes)
	for i := range n {
		s.planes[i] = pipeline.Plane{
			Data:   unsafe.Slice((*byte)(f.data[i]), int(f.size[i])),
			Stride: int(f.stride[i]), Row: int(f.row[i]), Rows: int(f.rows[i]),
		}
	}
	s.frame.SetPlanes(s.planes[:n]...)
	s.frame.PTS, s.frame.Duration = time.Duration(f.pts), max(0, time.Duration(f.duration))
	s.frame.Flags, s.frame.Key = 0, f.key != 0
	if f.discont != 0 {
		s.frame.Flags |= pipeline.FlagDiscont
	}
	if f.corrupt != 0 {
		s.frame.Flags |= pipeline.FlagCorrupt
	}
	err := s.run()
	clear(s.planes[:]) // the memory goes back now
	s.frame.SetPlanes()
	switch {
	case err == nil:
		return C.MPIPE_GO_OK
	case errors.Is(err, pipeline.ErrDrop):
		return C.MPIPE_GO_DROP
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	return C.MPIPE_GO_ERROR
}

// run calls the stage. A panic in a callback of C would end the process.
func (s *GoStage) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the stage panicked: %v\n%s", p, debug.Stack())
		}
	}()
	s.mu.Lock()
	for _, f := range s.pending {
		f()
	}
	s.pending = nil
	s.mu.Unlock()
	return s.call(&s.frame)
}
