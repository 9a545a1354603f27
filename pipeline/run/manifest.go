package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// ManifestVersion is raised when a field changes its meaning.
const ManifestVersion = 1

// Manifest is the account of a run: what went in, what came out, and whether
// each output is what it should be, as read back from the output itself.
type Manifest struct {
	Version  int                              `json:"version"`
	Graph    string                           `json:"graph"`
	File     string                           `json:"file"`
	State    string                           `json:"state"`
	Complete bool                             `json:"complete"` // every output is
	Reason   string                           `json:"reason"`   // "end of stream", "producer died", "signal", "error" or "killed"
	Error    string                           `json:"error,omitempty"`
	Started  time.Time                        `json:"started"`
	Elapsed  float64                          `json:"elapsed_s"`
	Sources  map[string]pipeline.SourceReport `json:"sources"`
	Stages   map[string]StageReport           `json:"stages,omitempty"` // those written in Go, and those with several inputs
	Outputs  []OutputResult                   `json:"outputs"`
}

// OutputResult is one output, read back.
type OutputResult struct {
	Stage     string         `json:"stage"`
	Path      string         `json:"path,omitempty"`
	Container string         `json:"container,omitempty"`
	Bytes     int64          `json:"bytes"`
	Duration  float64        `json:"duration_s"` // as the container says
	Checked   bool           `json:"checked"`    // it could be read back
	Playable  bool           `json:"playable"`   // it was read back to its last packet
	Seekable  bool           `json:"seekable"`
	Complete  bool           `json:"complete"`             // playable, with every frame that was encoded for it
	Required  bool           `json:"required"`             // the run is complete only if it is
	Connects  int64          `json:"connects,omitempty"`   // how often it was begun, where that is more than once
	SkewMS    *float64       `json:"av_skew_ms,omitempty"` // how far audio starts late against video, compared with capture; with both only
	Streams   []StreamResult `json:"streams"`
	Parts     []PartResult   `json:"parts,omitempty"` // of an output in several files, in their order
	Error     string         `json:"error,omitempty"`
	pipeline.OutputReport
}

// StreamResult is one stream of an output.
type StreamResult struct {
	From          string  `json:"from"` // the stage it comes from
	Kind          string  `json:"kind"`
	Frames        int64   `json:"frames"`                    // in the file; of what was sent where it cannot be read back
	Sent          int64   `json:"frames_sent"`               // given to the muxer
	Captured      int64   `json:"frames_in"`                 // that left the source, or all sources of a picture put together
	KeyFrames     int64   `json:"key_frames"`                // of Sent
	FirstPTS      float64 `json:"first_pts_s"`               // in the file; as sent for MPEG-TS
	LastEnd       float64 `json:"last_end_s"`                // in the file; as sent for MPEG-TS
	LostInEncoder int64   `json:"lost_in_encoder,omitempty"` // video frames that an encoder took and never gave out
	Dropped       int64   `json:"dropped,omitempty"`         // that the output did not take in time, or that came when there was none
	Drops         int64   `json:"drops,omitempty"`           // how often dropping began
	kind          pipeline.Kind
	bytes         int64         // sent
	capture       time.Duration // running time of the first frame that was to be encoded
	first         time.Duration
}

// manifest reads all outputs back. It runs after the pipeline has stopped and
// before it is closed.
func (r *runner) manifest() *Manifest {
	m := &Manifest{
		Version: ManifestVersion, Graph: r.plan.Name, File: r.plan.File,
		Reason: r.reason, Started: r.started, Elapsed: time.Since(r.started).Seconds(), Sources: r.reports(), Stages: r.stageReports(),
		Outputs: make([]OutputResult, len(r.outputs)),
	}
	for _, rep := range m.Sources {
		if rep.ProducerDied && m.Reason == "end of stream" {
			m.Reason = "producer died"
		}
	}
	if r.err != nil {
		m.Error = r.err.Error()
		if m.Reason == "" {
			m.Reason = "error"
		}
	}
	var wg sync.WaitGroup
	for i, o := range r.outputs {
		wg.Add(1)
		go func() { defer wg.Done(); m.Outputs[i] = r.verdict(o) }()
	}
	wg.Wait()
	m.Complete = r.err == nil
	for _, o := range m.Outputs {
		m.Complete = m.Complete && (o.Complete || !o.Required)
		if r.err == nil && !o.Complete && o.Required {
			r.err = &pipeline.Error{Class: pipeline.Environment, Stage: o.Stage, Msg: "the output is not complete: " + o.Error,
				Remedy: "the manifest has the counts: frames_in, frames_sent, frames"}
			m.Error, m.Reason = r.err.Error(), "error"
		}
	}
	return m
}

func (r *runner) verdict(o *output) OutputResult {
	sink := o.traffic(o.sink, "sink")
	res := OutputResult{Stage: o.Stage, Path: o.File, Container: o.Container, Bytes: sink.Bytes, Required: !o.Optional}
	o.report(&res)
	for i, in := range o.ins {
		t := o.traffic(in.node, in.pad)
		lane := o.gate.Stats(in.lane)
		s := StreamResult{From: o.Streams[i].From, Kind: o.Streams[i].Kind.String(), kind: o.Streams[i].Kind, bytes: t.Bytes, Sent: t.Frames, Frames: t.Frames, KeyFrames: t.Keys,
			FirstPTS: max(0, t.FirstPTS).Seconds(), LastEnd: t.LastEnd.Seconds(), Dropped: lane.Dropped, Drops: lane.Drops}
		taken := r.captured(in, &s)
		if s.isVideo() && o.err == nil && lane.Frames < taken {
			s.LostInEncoder = taken - lane.Frames
			r.log.Warn("the encoder gave out fewer frames than it took", "stage", s.From, "lost", s.LostInEncoder)
		}
		res.Streams = append(res.Streams, s)
		res.Duration = max(res.Duration, t.LastEnd.Seconds())
	}
	if r.playing.IsZero() {
		removeEmpty(o.File)
		res.Error = "nothing was recorded"
		return res
	}
	ctx, cancel := context.WithTimeout(context.Background(), readBackLimit)
	defer cancel()
	o.check(ctx, &res)
	return res
}

// captured fills in what a stream is made of, and gives how many frames its
// encoder took; 0 without one.
func (r *runner) captured(in measured, s *StreamResult) (taken int64) {
	s.capture = -1
	for _, id := range in.sources {
		t := r.feeds[id].feed.Traffic()
		s.Captured += t.Frames
		if s.capture < 0 || t.FirstPTS >= 0 && t.FirstPTS < s.capture {
			s.capture = t.FirstPTS
		}
	}
	if in.encoder.node == "" {
		return 0
	}
	// Stages before the encoder may begin earlier or later than the source.
	t := r.gst.Traffic(in.encoder.node, in.encoder.pad)
	s.capture = t.FirstPTS
	return t.Frames
}

// report adds what the output says of itself.
func (o *output) report(res *OutputResult) {
	if rep, ok := o.stage.Element.(pipeline.OutputReporter); ok {
		res.OutputReport = rep.ReportOutput()
	}
	if res.Where == "" {
		res.Where = o.Where
	}
	if o.attempts > 1 && o.Segment == nil {
		res.Connects = o.attempts
	}
	if _, last := o.now(); res.LastError == "" && last != nil && !errors.Is(last, o.err) {
		res.LastError = brief(last)
	}
}

// check looks at the output itself: the file, what can be fetched back, or what
// the other side says. What cannot be asked counts as given.
func (o *output) check(ctx context.Context, res *OutputResult) {
	var problem error
	if !o.ended() {
		problem = errors.New("it hangs, and was left behind unfinished")
	} else if o.err != nil {
		problem = o.err
	} else if lost := dropped(res.Streams); lost > 0 {
		problem = fmt.Errorf("%d frames were left out: the output did not take them in time", lost)
	}
	file, remove, err := o.local(ctx)
	defer remove()
	switch {
	case o.Segment != nil:
		problem = errors.Join(o.checkParts(ctx, res), problem)
	case err != nil:
		problem = errors.Join(problem, err)
	case file != "":
		problem = errors.Join(o.readBack(ctx, file, res), problem)
	default:
		if v, ok := o.stage.Element.(pipeline.Verifier); ok && o.err == nil {
			res.Checked = true
			problem = errors.Join(problem, v.Verify(ctx, pipeline.Delivery{Bytes: o.traffic(o.sink, "sink").Bytes, Connects: o.attempts}))
		}
	}
	res.Complete = problem == nil
	if problem != nil {
		res.Error = problem.Error()
	}
}

// local gives the file to read back, "" when there is none.
func (o *output) local(ctx context.Context) (path string, remove func(), err error) {
	remove = func() {}
	if f, ok := o.stage.Element.(pipeline.Fetcher); ok {
		if o.err != nil {
			return "", remove, nil // what is there is no one file
		}
		return f.Fetch(ctx)
	}
	if o.File == "" {
		return "", remove, nil
	}
	st, err := os.Stat(o.File)
	switch {
	case err != nil:
		return "", remove, fmt.Errorf("the file is gone: %v", err)
	case !st.Mode().IsRegular():
		return "", remove, nil
	}
	return o.File, remove, nil
}

// dropped counts the frames that streams lost at the gate.
func dropped(streams []StreamResult) (n int64) {
	for _, s := range streams {
		n += s.Dropped
	}
	return n
}

// readBack compares the file with what was sent into it.
func (o *output) readBack(ctx context.Context, file string, res *OutputResult) error {
	if removeEmpty(file) || !sent(res.Streams) {
		return errors.New("nothing was recorded: no frame came")
	}
	rep, err := gstbin.ReadFile(ctx, file, o.Container)
	res.Checked = true
	if st, serr := os.Stat(file); serr == nil {
		res.Bytes = st.Size()
	}
	if err != nil {
		return err
	}
	res.Playable, res.Seekable = true, rep.Seekable
	if rep.Duration > 0 {
		res.Duration = rep.Duration.Seconds()
	}
	err = match(res, rep.Streams)
	if keepsTime(res.Container) {
		res.SkewMS = skew(res.Streams)
	}
	return err
}

// shortTrack is how many packets a track may have for GStreamer's demuxer to
// leave it out of what it reads.
const shortTrack = 2

// sent tells that anything went into the output.
func sent(streams []StreamResult) bool {
	return slices.ContainsFunc(streams, func(s StreamResult) bool { return s.Sent > 0 })
}

// keepsTime tells that what a demuxer says of a container's stamps is what stands
// in it. MPEG-TS has a clock of its own, and the stamps that come out of a file
// follow the demuxer's guess of it: there the stamps as sent are given.
func keepsTime(container string) bool { return container != "ts" }

// match ties each stream that was sent to one of the file, in order within its
// kind, and compares the number of frames.
func match(res *OutputResult, file []gstbin.FileStream) error {
	used := make([]bool, len(file))
	var errs []error
	for i := range res.Streams {
		s := &res.Streams[i]
		found := false
		for j, f := range file {
			if used[j] || !slices.Contains(f.Kinds, s.kind.OfCaps()) {
				continue
			}
			used[j], found = true, true
			if s.kind.Samples() && f.Bytes == s.bytes { // no file keeps the buffers apart
				f.Frames = s.Sent
			}
			s.Frames = f.Frames
			if keepsTime(res.Container) && f.Frames > 0 {
				s.FirstPTS, s.LastEnd, s.first = f.FirstPTS.Seconds(), f.LastEnd.Seconds(), f.FirstPTS
			}
			if f.Frames != s.Sent {
				errs = append(errs, fmt.Errorf("%s of %s: %d frames sent, %d in the file", s.Kind, s.From, s.Sent, f.Frames))
			}
			break
		}
		if !found && s.Sent > shortTrack {
			s.Frames = 0
			errs = append(errs, fmt.Errorf("%s of %s is not in the file", s.Kind, s.From))
		}
	}
	return errors.Join(errs...)
}

// skew compares the distance of the first audio and video in the file with
// their distance when they were captured.
func skew(streams []StreamResult) *float64 {
	var v, a *StreamResult
	for i := range streams {
		s := &streams[i]
		switch {
		case s.Frames == 0:
		case v == nil && s.isVideo():
			v = s
		case a == nil && !s.isVideo():
			a = s
		}
	}
	if v == nil || a == nil {
		return nil
	}
	ms := ((a.first - v.first) - (a.capture - v.capture)).Seconds() * 1000
	return &ms
}

func (s *StreamResult) isVideo() bool { return s.kind.Media == pipeline.Video }

// removeEmpty takes back a name that was claimed and never written to.
func removeEmpty(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Size() == 0 && os.Remove(path) == nil
}
