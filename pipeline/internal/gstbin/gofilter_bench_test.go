package gstbin

import (
	"fmt"
	"runtime"
	"sort"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

type lookOn struct{}

func (lookOn) Props(*pipeline.Props)      {}
func (lookOn) View(*pipeline.Frame) error { return nil }

type touch struct{}

func (touch) Props(*pipeline.Props) {}
func (touch) Process(f *pipeline.Frame) error {
	f.Plane(0).Line(0)[0]++
	return nil
}

// passFrames pushes n frames of 1080p through one element, on one thread and
// without a pause; us of CPU and Go allocations a frame. Nobody else has the frames,
// or, shared, the other branch of a tee does, so that who writes has to copy.
func passFrames(b *testing.B, n int, factory string, e pipeline.Element, shared bool) (cpu, allocs float64, st GoStats) {
	p, err := New("bench")
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	still := map[string]string{"sync": "false", "async": "false", "enable-last-sample": "false"}
	type elem struct {
		id, factory string
		set         map[string]string
	}
	elems := []elem{
		{"src", "videotestsrc", map[string]string{"num-buffers": strconv.Itoa(n), "pattern": "black"}},
		{"caps", "capsfilter", map[string]string{"caps": "video/x-raw,format=I420,width=1920,height=1080,framerate=30/1"}},
		{"x", factory, nil}, {"end", "fakesink", still},
	}
	links := [][2]string{{"src", "caps"}, {"caps", "x"}, {"x", "end"}}
	if shared {
		elems = append(elems, elem{"tee", "tee", nil}, elem{"other", "fakesink", still})
		links = [][2]string{{"src", "caps"}, {"caps", "tee"}, {"tee", "other"}, {"tee", "x"}, {"x", "end"}}
	}
	for _, el := range elems {
		if err := p.Add(el.id, el.factory, nil); err != nil {
			b.Fatal(err)
		}
		for k, v := range el.set {
			if err := p.Set(el.id, k, v); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, l := range links {
		if err := p.Link(l[0], l[1], "sink", ""); err != nil {
			b.Fatal(err)
		}
	}
	var g *GoStage
	if e != nil {
		if g, err = p.Tie("x", e); err != nil {
			b.Fatal(err)
		}
	}
	defer p.Stop()
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	began := cpuTime()
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	for {
		m := p.Next(time.Second)
		if m.Fault != nil {
			b.Fatal(m.Fault)
		}
		if m.EOS {
			break
		}
	}
	cpu = float64((cpuTime() - began).Microseconds()) / float64(n)
	runtime.ReadMemStats(&to)
	if g != nil {
		st = g.Stats()
	}
	return cpu, float64(to.Mallocs-from.Mallocs) / float64(n), st
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGoElement prints what an element in Go costs a 1080p frame beside
// GStreamer's identity and an element in C that puts a note on each frame
// (timecodestamper), measured in turn; medians. The CPU includes the source's,
// which is the same for all.
func BenchmarkGoElement(b *testing.B) {
	const rounds, frames = 9, 1000
	kinds := []struct {
		name, factory string
		e             pipeline.Element
		shared        bool
	}{
		{"identity", "identity", nil, false},
		{"an element in C", "timecodestamper", nil, false},
		{"Go, looks on", pipeline.GoFactory, lookOn{}, false},
		{"Go, writes a byte", pipeline.GoFactory, touch{}, false},
		{"Go, writes, shared", pipeline.GoFactory, touch{}, true},
	}
	for b.Loop() {
		cpu := make([][]float64, len(kinds))
		for range rounds {
			for i, k := range kinds {
				c, allocs, st := passFrames(b, frames, k.factory, k.e, k.shared)
				cpu[i] = append(cpu[i], c)
				if len(cpu[i]) == rounds {
					sort.Float64s(cpu[i])
					fmt.Printf("%-20s %8.1f us/frame %+8.1f over identity   %.3f allocs/frame   %d of %d frames copied\n",
						k.name, cpu[i][rounds/2], cpu[i][rounds/2]-cpu[0][rounds/2], allocs, st.Copied, st.Frames)
				}
			}
		}
	}
}
