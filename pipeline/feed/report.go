package feed

import (
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Report is the account of a feed, so far or at its end.
type Report struct {
	Ring    string         `json:"ring"`
	Reason  string         `json:"reason"`    // why it ended; "" while it runs
	Elapsed float64        `json:"elapsed_s"` // since the first frame came
	Streams []StreamReport `json:"streams"`
	// SkewMS is how far the end of the first audio lies behind the end of the
	// first video, by their stamps; nil unless there are both.
	SkewMS *float64 `json:"av_skew_ms,omitempty"`
	Lost   int64    `json:"lost"`   // frames that a consumer that went away did not use up, or that found none
	Epochs int64    `json:"epochs"` // consumers, or rings, so far
	// Waiting is set while no consumer takes the ring.
	Waiting bool   `json:"waiting,omitempty"`
	Error   string `json:"error,omitempty"`
}

// StreamReport is one stream of a feed.
type StreamReport struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"` // "video" or "audio"
	Frames   int64         `json:"frames"`
	Bytes    int64         `json:"bytes"`
	Dropped  int64         `json:"dropped"`      // left out, the ring was full
	Skipped  int64         `json:"skipped"`      // left out by the consumer's advice
	Blocked  time.Duration `json:"blocked_ns"`   // spent waiting for room
	LateMost time.Duration `json:"late_most_ns"` // the longest a frame was written after its stamp's time, by clock pace
	Media    float64       `json:"media_s"`      // end of the last frame, from the start
	Used     int64         `json:"ring_used_bytes"`
	Capacity int64         `json:"ring_capacity_bytes"` // of the stream's class, which it may share
}

func (f *feeding) report(reason string, err error) Report {
	r := Report{Ring: f.o.Ring, Reason: reason, Streams: []StreamReport{}}
	if began := f.began.Load(); began > 0 {
		r.Elapsed = time.Duration(ring.Now() - began).Seconds()
	}
	if err != nil {
		r.Error = err.Error()
	}
	if f.producer != nil {
		r.Lost, r.Epochs = f.producer.Lost(), f.producer.Epochs()
	}
	var video, audio *StreamReport
	for _, p := range f.pumps {
		s := StreamReport{
			Name: p.spec.Name, Kind: p.spec.Kind.String(), Frames: p.frames.Load(), Bytes: p.bytes.Load(), Dropped: p.dropped.Load(), Skipped: p.skipped.Load(),
			Blocked: time.Duration(p.blocked.Load()), LateMost: time.Duration(p.late.Load()),
			Media: time.Duration(p.media.Load()).Seconds(),
		}
		if !f.abandoned.Load() { // a pump left inside the ring may hold its lock
			s.Used, s.Capacity, _ = f.producer.Fill(p.spec.Kind)
		}
		switch {
		case s.Frames == 0:
		case p.spec.Kind == ring.KindVideo && video == nil:
			video = &s
		case p.spec.Kind == ring.KindAudio && audio == nil:
			audio = &s
		}
		r.Streams = append(r.Streams, s)
	}
	if video != nil && audio != nil {
		ms := (audio.Media - video.Media) * 1000
		r.SkewMS = &ms
	}
	return r
}
