package sink

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// parts is segment = { time, size }: one recording in several files.
type parts struct {
	table map[string]any
	time  time.Duration
	size  int64
	index string
}

func (s *parts) props(p *pipeline.Props) {
	p.Table(&s.table, "segment", "Cut the recording at key frames into files of this length, { time = \"10m\" }, or about this size, { size = \"1GiB\" }; the path has a number in it, as \"talk-%05d.mp4\", or gets one.")
	p.String(&s.index, "index", "", "With segment: a CSV file that gets a line for each finished part: file, start and duration in seconds.")
}

// check reads the table.
func (s *parts) check(inParts bool) error {
	for key, v := range s.table {
		text := fmt.Sprint(v)
		var err error
		switch key {
		case "time":
			if s.time, err = time.ParseDuration(text); err == nil && s.time < time.Second {
				err = fmt.Errorf("%s is less than a second", text)
			}
		case "size":
			if s.size, err = pipeline.ParseSize(text); err == nil && s.size < 64<<10 {
				err = fmt.Errorf("%s is less than 64KiB", text)
			}
		default:
			return pipeline.At("segment."+key, `there is no such key; a segment has time and size`)
		}
		if err != nil {
			return pipeline.At("segment."+key, `%w; write for example segment = { time = "10m" } or { size = "1GiB" }`, err)
		}
	}
	if s.table != nil && s.time == 0 && s.size == 0 {
		return pipeline.At("segment", `it says neither time nor size; write for example segment = { time = "10m" }`)
	}
	if s.index != "" && !inParts {
		return pipeline.At("index", "an index is for a recording in several files; add segment = { time = … }, or take it away")
	}
	return nil
}

var counter = regexp.MustCompile(`%0?[0-9]*d`)

// numbered is the path of part n.
func numbered(path string, n int) string {
	if dir, base := filepath.Split(path); counter.MatchString(base) {
		return dir + counter.ReplaceAllStringFunc(base, func(verb string) string { return fmt.Sprintf(verb, n) })
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%05d%s", strings.TrimSuffix(path, ext), n, ext)
}

// inParts tells that the recording may be several files: the path says so by a
// number in it, or segment.
func (f *file) inParts() bool {
	return f.parts.table != nil || counter.MatchString(filepath.Base(f.path))
}

// segment is what the run is told; nil for one file.
func (f *file) segment() *pipeline.Segment {
	if !f.inParts() {
		return nil
	}
	return &pipeline.Segment{
		Time: f.parts.time, Size: f.parts.size,
		File:  func(n int) string { return numbered(f.path, n) },
		Claim: func(n int) error { return f.claim(numbered(f.path, n)) },
		Done:  f.parts.note,
	}
}

// note adds a finished part to the index.
func (s *parts) note(p pipeline.Part) error {
	if s.index == "" {
		return nil
	}
	h, err := os.OpenFile(s.index, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return pipeline.At("index", "%w", err)
	}
	_, err = fmt.Fprintf(h, "%s,%.6f,%.6f\n", p.File, p.Start.Seconds(), p.Duration.Seconds())
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	return err
}
