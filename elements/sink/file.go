package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[file]("file", "A media file on disk: MP4, MKV, WebM, Ogg or TS, or MP3, FLAC or WAV for sound alone, readable after a kill at any moment.")
}

type file struct {
	path      string
	container string
	overwrite bool
	recovery  time.Duration
	minFree   int64
	parts     parts
	raw       map[string]any
}

func (f *file) Props(p *pipeline.Props) {
	p.String(&f.path, "path", "", "Where the file goes; missing folders are made. With a number in it, as \"talk-%05d.mp4\", the recording is in parts, from 0 on: see segment, and on_format_change of sources.", pipeline.Required)
	p.String(&f.container, "container", "", "The container; empty takes it from the ending of the path.",
		pipeline.OneOf(append([]string{""}, containerNames()...)...))
	p.Bool(&f.overwrite, "overwrite", false, "Replace a file that is already there.")
	p.Duration(&f.recovery, "recovery", "1s", "At most this much of the end is lost when mpipe is killed.", pipeline.AtLeast("100ms"))
	p.Size(&f.minFree, "min_free_disk", "32MiB", "The file is finished, and the output fails, when less than this is free on its disk; \"0\" writes to the end.")
	f.parts.props(p)
	p.Table(&f.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (f *file) Check() error { return f.parts.check(f.inParts()) }

// first is the file that is written first: of several, number 0.
func (f *file) first() string {
	if f.inParts() {
		return numbered(f.path, 0)
	}
	return f.path
}

func (f *file) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	name := f.container
	if name == "" {
		var ok bool
		if name, ok = containerOf(f.path); !ok {
			return pipeline.Fragment{}, pipeline.At("path", `the ending of %q says no container; end the path in one of %s, or add container = "mp4" or the like`,
				f.path, allEndings())
		}
	}
	c := containers[name]
	if c.muxer == "" && len(f.raw) > 0 {
		return pipeline.Fragment{}, pipeline.At("gst", "%s has no muxer whose properties could be set; take gst away", name)
	}
	return pipeline.Fragment{
		// Unbuffered: what the muxer gave out is the kernel's, whatever becomes
		// of this process. async=false: no sink waits for another.
		Nodes: append(c.mux(f.recovery, f.raw), pipeline.Node{Factory: "filesink", Package: "libgstreamer1.0-0", Set: []pipeline.Setting{
			{Name: "location", Value: f.first()},
			{Name: "buffer-mode", Value: "unbuffered"},
			{Name: "async", Value: "false"},
			{Name: "sync", Value: "false"},
		}}),
		Inputs:    c.inputs,
		File:      f.first(),
		Container: name,
		Segment:   f.segment(),
		Change:    changeIn(name),
		Recovery:  c.recovery(f.recovery),
	}, nil
}

// ContainersFor lists the containers that hold a kind of stream, for the error
// about one that does not.
func (f *file) ContainersFor(k pipeline.Kind) []string {
	return containersFor(containerNames(), k)
}

// Open makes the folder and claims the name, so that two runs cannot write the
// same file and an existing recording is never lost by mistake.
func (f *file) Open(context.Context) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o777); err != nil {
		return pipeline.At("path", "cannot make the folder: %w; make it by hand or choose another path", err)
	}
	if st, err := os.Stat(f.path); err == nil && !st.Mode().IsRegular() {
		return f.openSpecial(st)
	}
	if err := f.Watch(); err != nil {
		return err
	}
	return f.claim(f.first())
}

// claim makes a file that nobody has. What is there stays until frames flow: the
// element itself truncates.
func (f *file) claim(path string) error {
	flags := os.O_WRONLY | os.O_CREATE
	if !f.overwrite {
		flags |= os.O_EXCL
	}
	h, err := os.OpenFile(path, flags, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return pipeline.At("path", "%s is already there; choose another path, or add overwrite = true to replace it", path)
	case err != nil:
		return pipeline.At("path", "cannot create the file: %w; choose a path that can be written", err)
	}
	return h.Close()
}

// openSpecial allows pipes and devices for containers that are written from
// front to back.
func (f *file) openSpecial(st os.FileInfo) error {
	name := f.container
	if name == "" {
		name, _ = containerOf(f.path)
	}
	if st.IsDir() {
		return pipeline.At("path", "%s is a folder; name a file in it", f.path)
	}
	switch name {
	case "mp4":
		return pipeline.At("path", `%s is not a regular file, and MP4 is finished by going back in it; use container = "mkv" or "ts"`, f.path)
	case "wav":
		return pipeline.At("path", `%s is not a regular file, and WAV is finished by going back in it; use container = "flac" or "ogg"`, f.path)
	}
	return nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
func nanos(d time.Duration) string  { return fmt.Sprint(d.Nanoseconds()) }
