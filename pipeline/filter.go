package pipeline

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Filter is a stage in Go that changes frames in place.
//
// Process is called for each frame on GStreamer's streaming thread, one at a
// time. The frame is the filter's own until Process returns, and may not be kept.
// A frame that lies in the producer's memory, or that others hold too, is copied
// once before, and counted. An error or a panic ends the run with the stage's id;
// [ErrDrop] leaves the frame out.
type Filter interface {
	Element
	Process(f *Frame) error
}

// Viewer is a stage or a sink in Go that only looks at frames. It is called as a
// Filter is, and costs no copy: what it sees may be memory of the producer, which
// can be written at any time by one that does not keep the rules.
type Viewer interface {
	Element
	View(f *Frame) error
}

// ErrDrop leaves out the frame for which a Filter or Viewer returns it; counted.
var ErrDrop = errors.New("leave this frame out")

// Taker is a Filter or Viewer that takes something else than raw video in I420:
// one kind of stream and, of a raw one, GStreamer's names of the layouts it
// understands: "I420", "NV12", "BGRA", "S16LE", "F32LE". Others are converted
// first. A Viewer may take an encoded kind; formats are then nil.
type Taker interface {
	Takes() (kind Kind, formats []string)
}

// Starter is an element in Go that wants to know its run: Start comes after Open,
// before frames. An error means that nothing starts.
type Starter interface {
	Start(env *StageEnv) error
}

// Closer is a Filter or Viewer with something to give back. Close comes once, when
// no frame can come any more, whether or not the run went well.
type Closer interface {
	Close() error
}

// StageEnv is what a run gives to a Filter or Viewer that is a Starter.
type StageEnv struct {
	Stage    string
	Pos      Pos
	Log      *slog.Logger
	Timeline *Timeline // from capture stamps to the running time that frames have

	mu       sync.Mutex
	counters map[string]*atomic.Int64
}

// Counter gives the stage's counter of that name, which the manifest shows.
func (e *StageEnv) Counter(name string) *atomic.Int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.counters == nil {
		e.counters = map[string]*atomic.Int64{}
	}
	if e.counters[name] == nil {
		e.counters[name] = &atomic.Int64{}
	}
	return e.counters[name]
}

// Counters reads all counters.
func (e *StageEnv) Counters() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[string]int64, len(e.counters))
	for name, c := range e.counters {
		out[name] = c.Load()
	}
	return out
}

// Frame is one picture, some sound or one encoded frame, during a call.
type Frame struct {
	Video    *VideoFormat  // of raw video, else nil; strides and offsets are those of Plane, not of the format
	Audio    *AudioFormat  // of raw audio, else nil
	PTS      time.Duration // running time; negative when unknown
	Duration time.Duration // 0 when unknown
	Flags    FrameFlags
	Key      bool // it decodes on its own; raw frames always do

	planes [4]Plane
	n      int
}

// Plane is a part of a frame: a plane of a picture, all samples of a sound, all
// bytes of an encoded frame.
type Plane struct {
	Data   []byte // all rows, with what lies between them
	Stride int    // bytes from one row to the next
	Row    int    // bytes of a row that are picture
	Rows   int
}

// Line is row y of the plane.
func (p Plane) Line(y int) []byte { return p.Data[y*p.Stride:][:p.Row:p.Row] }

// Planes tells how many planes there are: 3 for I420, 2 for NV12, else 1.
func (f *Frame) Planes() int { return f.n }

// Plane gives one of them; luma is 0. It panics as a slice does beyond Planes.
func (f *Frame) Plane(i int) Plane { return f.planes[:f.n][i] }

// Data is the first plane's bytes: interleaved samples, or an encoded frame.
func (f *Frame) Data() []byte { return f.planes[0].Data }

// S16 gives the samples of sound in S16LE, interleaved: the frame's own memory.
func (f *Frame) S16() []int16 { return samples[int16](f) }

// F32 gives the samples of sound in F32LE, interleaved: the frame's own memory.
func (f *Frame) F32() []float32 { return samples[float32](f) }

func samples[T any](f *Frame) []T {
	b := f.Data()
	if len(b) == 0 {
		return nil
	}
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// SetPlanes gives the frame its memory. It is for whoever makes frames: a run, or
// a test of a filter.
func (f *Frame) SetPlanes(planes ...Plane) { f.n = copy(f.planes[:], planes) }
