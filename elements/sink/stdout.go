package sink

import (
	"context"
	"os"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[stdout]("stdout", "A container's bytes on standard output, for another program to read.")
}

type stdout struct {
	container string
	raw       map[string]any
}

func (s *stdout) Props(p *pipeline.Props) {
	p.String(&s.container, "container", "mkv", "What is written.", pipeline.OneOf(streamable()...))
	p.Table(&s.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (s *stdout) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	f := muxed(s.container, s.raw)
	f.Where, f.Recovery = "standard output", "what was written"
	return f, nil
}

// ContainersFor is for the error about a stream that the container cannot hold.
func (s *stdout) ContainersFor(k pipeline.Kind) []string { return containersFor(streamable(), k) }

// TakesStdout tells a program that it may not print there itself.
func (s *stdout) TakesStdout() bool { return true }

// Open refuses a terminal, which would show the bytes as text.
func (s *stdout) Open(context.Context) error {
	if st, err := os.Stdout.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && !isNull(st) {
		return pipeline.At("type", "standard output is a terminal; send it to a program or a file: mpipe run … | ffplay -")
	}
	return nil
}

func isNull(st os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(st, null)
}

func (s *stdout) Begin(context.Context, *pipeline.OutputEnv) error { return nil }
func (s *stdout) Write(p []byte) (int, error)                      { return os.Stdout.Write(p) }
func (s *stdout) Finish(context.Context) error                     { return nil }
func (s *stdout) Abandon(error)                                    {}
