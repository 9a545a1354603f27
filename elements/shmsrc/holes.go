package shmsrc

import (
	"fmt"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// A muxer waits for every stream it has. When one says nothing, because the
// screen stands still or nobody speaks, the others pile up behind it until the
// producer finds its ring full. So holes are filled.
const (
	// holeAfter is how far a pad may fall behind the others, in its stamps and by
	// the clock on the wall, before it is filled up; holeSlack is how close to
	// them it is filled. The wall counts because a producer that does not work in
	// real time may write two streams seconds of stamps apart within an instant.
	holeAfter = 2 * time.Second
	holeSlack = time.Second
	// silentStart is how long a pad may give nothing at all, while others do,
	// before silence takes its place.
	silentStart = 5 * time.Second
)

// silent is the format of silence where no sound has come yet; sound that comes
// later in another one is converted, as after any change of format.
var silent = pipeline.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}

// fillHoles looks after pads that give nothing while others do. since is how
// long the producer has been attached.
func (s *source) fillHoles(r *ring.Reader, since time.Duration) error {
	var latest time.Duration
	for _, p := range s.order {
		latest = max(latest, p.lastEnd)
	}
	for _, p := range s.order {
		if p.ended || latest == 0 {
			continue
		}
		if p.lastEnd == 0 && !p.seen && since > silentStart {
			if err := s.startSilent(p, since); err != nil {
				return err
			}
		}
		if p.lastEnd == 0 || latest-p.lastEnd <= holeAfter || time.Since(p.lastSeen) <= holeAfter {
			continue
		}
		if _, waits := r.Peek(p.kind); waits || len(p.held) > 0 {
			continue // it is the graph that is late
		}
		to := latest - holeSlack
		n, err := p.out.Fill(p.lastEnd, to-p.lastEnd)
		if err != nil {
			return err
		}
		if n > 0 {
			p.count.filled.Add(n)
			p.lastEnd, p.filled = to, to
		}
	}
	return nil
}

// startSilent has a pad without a single frame begin: with silence, or, since a
// recording without its picture is none, with an error.
func (s *source) startSilent(p *pad, since time.Duration) error {
	if p.kind == ring.KindVideo {
		if s.attachTimeout > 0 && since > s.attachTimeout {
			return &timeoutError{fmt.Sprintf("stream %s gave no picture within %v of the producer's coming; have it draw, take the stream out of the graph, or raise attach_timeout", p.name, s.attachTimeout)}
		}
		return nil
	}
	s.env.Log.Warn("stream gives nothing; silence is recorded until it does", "stream", p.name, "for", silentStart)
	f := silent
	if err := p.out.SetFormat(pipeline.Format{Audio: &f}); err != nil {
		return err
	}
	p.seen, p.lastEnd = true, s.env.Timeline.Zero()
	return nil
}
