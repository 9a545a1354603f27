package run

import (
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// Status is a run at one moment.
type Status struct {
	State   string                           `json:"state"`
	Elapsed time.Duration                    `json:"elapsed_ns"` // since the first frame could flow
	Media   time.Duration                    `json:"media_ns"`   // length recorded so far
	FPS     float64                          `json:"fps"`        // video frames encoded a second, lately
	Speed   float64                          `json:"speed"`      // media time by real time, lately
	Sources map[string]pipeline.SourceReport `json:"sources"`
	Outputs []OutputStatus                   `json:"outputs"`
}

// OutputStatus is what one output has taken so far.
type OutputStatus struct {
	Stage  string        `json:"stage"`
	Path   string        `json:"path,omitempty"`
	Bytes  int64         `json:"bytes"`
	Frames int64         `json:"frames"` // of its first video stream, or of its first stream
	Media  time.Duration `json:"media_ns"`
	Ended  bool          `json:"ended"`

	Phase   Phase         `json:"phase"`
	Waiting time.Duration `json:"waiting_ns"`        // in the queue in front of it
	Dropped int64         `json:"dropped,omitempty"` // frames that it did not take in time
	pipeline.OutputReport
}

// gauge turns totals into rates over the last interval.
type gauge struct {
	at     time.Time
	frames int64
	media  time.Duration
}

func (g *gauge) rates(now time.Time, frames int64, media time.Duration) (fps, speed float64) {
	if dt := now.Sub(g.at).Seconds(); !g.at.IsZero() && dt > 0 {
		fps, speed = float64(frames-g.frames)/dt, (media-g.media).Seconds()/dt
	}
	g.at, g.frames, g.media = now, frames, media
	return fps, speed
}

func (r *runner) progress() {
	if r.opts.Progress != nil {
		r.opts.Progress(r.status())
	}
}

// progressUntil reports while something else waits.
func (r *runner) progressUntil(done <-chan struct{}) {
	t := time.NewTicker(r.opts.Every)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			r.progress()
		}
	}
}

func (r *runner) status() Status {
	st := Status{State: r.state.get().String(), Sources: r.reports()}
	if !r.playing.IsZero() {
		st.Elapsed = time.Since(r.playing)
	}
	var video int64
	for _, o := range r.outputs {
		os := r.outputStatus(o)
		st.Media = max(st.Media, os.Media)
		video = max(video, os.Frames)
		st.Outputs = append(st.Outputs, os)
	}
	st.FPS, st.Speed = r.gauge.rates(time.Now(), video, st.Media)
	return st
}

func (r *runner) outputStatus(o *output) OutputStatus {
	os := OutputStatus{Stage: o.Stage, Path: o.File, Bytes: o.traffic(o.sink, "sink").Bytes, Ended: o.ended()}
	if rep, ok := o.stage.Element.(pipeline.OutputReporter); ok {
		os.OutputReport = rep.ReportOutput()
	}
	var last error
	if os.Phase, last = o.now(); os.LastError == "" && last != nil {
		os.LastError = brief(last)
	}
	for i, in := range o.ins {
		t, lane := o.traffic(in.node, in.pad), o.gate.Stats(in.lane)
		os.Waiting, os.Dropped = max(os.Waiting, lane.Time), os.Dropped+lane.Dropped
		os.Media = max(os.Media, t.LastEnd)
		if i == 0 || o.Streams[i].Kind.Media == pipeline.Video && o.Streams[0].Kind.Media != pipeline.Video {
			os.Frames = t.Frames
		}
	}
	return os
}

func (r *runner) reports() map[string]pipeline.SourceReport {
	out := map[string]pipeline.SourceReport{}
	for _, s := range r.sources {
		if rep, ok := s.src.(pipeline.Reporter); ok {
			out[s.stage.ID] = rep.Report()
		}
	}
	return out
}
