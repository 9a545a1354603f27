package sink

import (
	"context"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[writer]("writer", "A container's bytes to an io.Writer of the program that embeds mpipe.")
}

// writers are those that ToWriter has named.
var writers = struct {
	sync.Mutex
	open map[string]func() (io.WriteCloser, error)
}{open: map[string]func() (io.WriteCloser, error){}}

// ToWriter lets graphs write to a program's own io.Writer, by type = "writer"
// and this name. open is called once for each run, when frames are about to
// flow; Close follows the last byte. A Write that blocks is backpressure.
//
//	sink.ToWriter("upload", func() (io.WriteCloser, error) { return store.Create("talk.mkv") })
func ToWriter(name string, open func() (io.WriteCloser, error)) {
	writers.Lock()
	defer writers.Unlock()
	writers.open[name] = open
}

type writer struct {
	name      string
	container string
	raw       map[string]any

	w io.WriteCloser
}

func (w *writer) Props(p *pipeline.Props) {
	p.String(&w.name, "name", "", "Under which the program has given it to sink.ToWriter.", pipeline.Required)
	p.String(&w.container, "container", "mkv", "What is written.", pipeline.OneOf(streamable()...))
	p.Table(&w.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (w *writer) Check() error {
	writers.Lock()
	defer writers.Unlock()
	if writers.open[w.name] != nil {
		return nil
	}
	names := make([]string, 0, len(writers.open))
	for n := range writers.open {
		names = append(names, n)
	}
	sort.Strings(names)
	if len(names) == 0 {
		return pipeline.At("name", "this program has no writer for graphs; a program of yours that embeds mpipe gives one with sink.ToWriter")
	}
	return pipeline.At("name", "this program has no writer %q; it has: %q", w.name, names)
}

func (w *writer) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	f := muxed(w.container, w.raw)
	f.Where, f.Recovery = "writer "+w.name, "what was written"
	return f, nil
}

// ContainersFor is for the error about a stream that the container cannot hold.
func (w *writer) ContainersFor(k pipeline.Kind) []string { return containersFor(streamable(), k) }

func (w *writer) Begin(context.Context, *pipeline.OutputEnv) (err error) {
	writers.Lock()
	open := writers.open[w.name]
	writers.Unlock()
	if w.w, err = open(); err != nil {
		return fmt.Errorf("the writer %s did not open: %w", w.name, err)
	}
	return nil
}

func (w *writer) Write(p []byte) (int, error)  { return w.w.Write(p) }
func (w *writer) Finish(context.Context) error { return w.w.Close() }
func (w *writer) Abandon(error)                { w.w.Close() }
