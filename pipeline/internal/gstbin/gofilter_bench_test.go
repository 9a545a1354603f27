package gstbin

import (
	"fmt"
	"runtime"
	"sort"
	"syscall"
	"testing"
	"time"
	"unsafe"

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

// passFrames sends n lent 1080p frames through one element; us of CPU and Go
// allocations a frame.
func passFrames(b *testing.B, n int, factory string, e pipeline.Element) (cpu, allocs float64, st GoStats) {
	p, err := New("bench")
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for _, el := range [][]string{{"src", "appsrc"}, {"x", factory}, {"end", "fakesink"}} {
		if err := p.Add(el[0], el[1], nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range []string{"sync", "async", "enable-last-sample"} {
		if err := p.Set("end", s, "false"); err != nil {
			b.Fatal(err)
		}
	}
	if p.Link("src", "x", "sink", "") != nil || p.Link("x", "end", "sink", "") != nil {
		b.Fatal("cannot link")
	}
	var g *GoStage
	if e != nil {
		if g, err = p.Tie("x", e); err != nil {
			b.Fatal(err)
		}
	}
	f := p.Feed("src")
	if err := f.SetFormat(i420(1920, 1080)); err != nil {
		b.Fatal(err)
	}
	const size, warm = 1920 * 1080 * 3 / 2, 100
	mem, err := syscall.Mmap(-1, 0, 4096+size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	defer syscall.Munmap(mem)
	defer p.Stop()
	cells := unsafe.Slice((*pipeline.Cell)(unsafe.Pointer(&mem[0])), 8)
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	var from, to runtime.MemStats
	var began time.Duration
	frame := pipeline.Borrowed{Data: mem[4096:], Duration: time.Second / 30}
	for i := range n + warm {
		c := &cells[i%len(cells)]
		for c.Held.Load() != 0 || !f.Room() {
			time.Sleep(50 * time.Microsecond) // a spin would be counted
		}
		if i == warm {
			runtime.ReadMemStats(&from)
			began = cpuTime()
		}
		c.Held.Store(1)
		frame.Cell = c
		if err := f.Push(&frame, time.Duration(i)*time.Second/30); err != nil {
			b.Fatal(err)
		}
	}
	runtime.ReadMemStats(&to)
	cpu = float64((cpuTime() - began).Microseconds()) / float64(n)
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
// GStreamer's identity, measured in turn; medians. The CPU includes the source
// and the waiting for it, which is the same for all.
func BenchmarkGoElement(b *testing.B) {
	const rounds, frames = 7, 500
	kinds := []struct {
		name, factory string
		e             pipeline.Element
	}{{"identity", "identity", nil}, {"Go, looks on", pipeline.GoFactory, lookOn{}}, {"Go, writes a byte", pipeline.GoFactory, touch{}}}
	for b.Loop() {
		cpu := make([][]float64, len(kinds))
		for range rounds {
			for i, k := range kinds {
				c, allocs, st := passFrames(b, frames, k.factory, k.e)
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
