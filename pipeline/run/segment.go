package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// PartResult is one file of an output that is cut into several, read back.
type PartResult struct {
	Path     string  `json:"path"`
	Start    float64 `json:"start_s"` // of its first frame in the recording
	Duration float64 `json:"duration_s"`
	Bytes    int64   `json:"bytes"`
	Frames   int64   `json:"frames"` // of its first video stream, or of its first stream
	Complete bool    `json:"complete"`
	Error    string  `json:"error,omitempty"`
}

// part is a file that was ended, with what went into it.
type part struct {
	pipeline.Part
	traffic map[string]gstbin.Traffic
}

// inPart gives the settings of a node in the present part.
func (o *output) inPart(n *graph.Node, set []pipeline.Setting) []pipeline.Setting {
	if o.Segment == nil || n.ID != o.sink || len(o.parts) == 0 {
		return set
	}
	set = slices.Clone(set)
	for i := range set {
		if set[i].Name == "location" {
			set[i].Value = o.Segment.File(len(o.parts))
		}
	}
	return set
}

// boundPart says how long the part that is attached next may become.
func (o *output) boundPart() {
	if o.Segment == nil {
		return
	}
	span := o.Segment.Time
	if span == 0 {
		span = math.MaxInt64 / 2 // until its size is reached
	}
	o.gate.Cut(span)
}

// cutBySize ends the part when it is as large as it may be.
func (o *output) cutBySize() {
	if o.Segment == nil || o.Segment.Size == 0 {
		return
	}
	if o.pipe.Traffic(o.sink, "sink").Bytes >= o.Segment.Size {
		o.gate.Cut(0)
	}
}

// endPart keeps the account of a part, and makes the next one when more follows.
func (o *output) endPart() (more bool, err error) {
	more, began := o.gate.WasCut()
	if o.Segment == nil { // of a stream, whose account is kept as a whole
		if !more {
			return false, nil
		}
		return true, o.make()
	}
	p := pipeline.Part{File: o.Segment.File(len(o.parts))}
	if len(o.parts) > 0 { // the first keeps the recording's own time, the others begin at 0
		p.Start = max(0, began)
	}
	for _, m := range o.ins {
		p.Duration = max(p.Duration, o.latest[m.key()].LastEnd)
	}
	o.mu.Lock()
	o.parts = append(o.parts, part{p, o.latest})
	o.mu.Unlock()
	if err := o.Segment.Done(p); err != nil || !more {
		return false, err
	}
	if err := o.Segment.Claim(len(o.parts)); err != nil {
		return false, stageError(o.stage, pipeline.Environment, err)
	}
	return true, o.make()
}

// checkParts reads all files of the output back.
func (o *output) checkParts(ctx context.Context, res *OutputResult) error {
	var errs []error
	frames := make([]int64, len(res.Streams))
	res.Bytes, res.Duration, res.Playable, res.Seekable, res.Checked = 0, 0, true, true, true
	for _, p := range o.parts {
		one := OutputResult{Container: res.Container, Streams: slices.Clone(res.Streams)}
		for i, m := range o.ins {
			t := p.traffic[m.key()]
			one.Streams[i].Sent, one.Streams[i].bytes, one.Streams[i].Frames = t.Frames, t.Bytes, t.Frames
		}
		err := o.readBack(ctx, p.File, &one)
		r := PartResult{Path: p.File, Start: p.Start.Seconds(), Duration: one.Duration, Bytes: one.Bytes, Complete: err == nil}
		if err != nil {
			r.Error = err.Error()
			errs = append(errs, fmt.Errorf("%s: %w", p.File, err))
		}
		for i, s := range one.Streams {
			frames[i] += s.Frames
			if i == 0 || s.isVideo() && !one.Streams[0].isVideo() {
				r.Frames = s.Frames
			}
		}
		res.Parts = append(res.Parts, r)
		res.Bytes, res.Duration = res.Bytes+r.Bytes, max(res.Duration, r.Start+r.Duration)
		res.Playable, res.Seekable = res.Playable && one.Playable, res.Seekable && one.Seekable
		if len(res.Parts) == 1 {
			res.SkewMS = one.SkewMS
		}
	}
	for i := range res.Streams {
		res.Streams[i].Frames = frames[i]
	}
	if len(o.parts) == 0 {
		if _, err := os.Stat(o.File); err == nil {
			return o.readBack(ctx, o.File, res)
		}
		return errors.New("nothing was recorded")
	}
	return errors.Join(errs...)
}
