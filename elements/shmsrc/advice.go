package shmsrc

import (
	"time"

	"github.com/mpipe/mpipe/ring"
)

const (
	// adviceEvery is how often the producer's rate is judged: long enough to count
	// frames at 5 fps, short against what a ring and the queues behind it hold.
	adviceEvery = time.Second
	// congested is the part of that time for which writers must have waited for
	// room, if they dropped nothing: a scheduler's hiccup is no congestion.
	congested = 0.1
	// below, above: advice is a little less than what was taken, so that the ring
	// drains, and rises by so much for each calm period behind the first two.
	below, above = 0.95, 1.1
	slowest      = 1.0 // fps: less is not worth drawing, and could not be measured
	fastest      = 240 // fps: there advice ends where a format does not say its rate
)

// adviser works out the frame rate that the graph can take.
type adviser struct {
	since   time.Time // of the period
	taken   map[*pad]int64
	dropped int64
	blocked time.Duration

	rate float64 // what is advised; 0: any
	calm int     // periods without congestion
}

// period is what was seen in one.
type period struct {
	took    time.Duration
	frames  int64 // taken by the graph, of the busiest video pad
	dropped int64 // found no room
	blocked time.Duration
	nominal float64 // fps of that pad's format; 0: unknown
}

// judge gives the rate to advise after a period.
func (a *adviser) judge(p period) float64 {
	taken := float64(p.frames) / p.took.Seconds()
	if p.dropped > 0 || p.blocked.Seconds() > congested*p.took.Seconds() {
		a.calm = 0
		next := max(taken*below, slowest)
		if a.rate == 0 || next < a.rate {
			a.rate = next
		}
		return a.rate
	}
	a.calm++
	if a.rate == 0 || a.calm <= 2 {
		return a.rate
	}
	most := p.nominal
	if most == 0 {
		most = fastest
	}
	if a.rate *= above; a.rate >= most {
		a.rate = 0
	}
	return a.rate
}

// advise tells the producer how many pictures a second the graph takes, and who
// holds the rest up.
func (s *source) advise(r *ring.Reader, now time.Time) {
	a := &s.adviser
	if a.taken != nil && now.Sub(a.since) < adviceEvery {
		return
	}
	p := period{took: now.Sub(a.since)}
	var dropped int64
	var blocked time.Duration
	for _, st := range r.Stats().Streams {
		if st.Kind == ring.KindVideo {
			dropped += st.DroppedFull
			blocked += st.Blocked
		}
	}
	first := a.taken == nil
	if first {
		a.taken = map[*pad]int64{}
	}
	for _, pad := range s.order {
		n := pad.count.frames.Load()
		if got := n - a.taken[pad]; pad.kind == ring.KindVideo && got >= p.frames {
			p.frames, p.nominal = got, s.nominal(r, pad)
		}
		a.taken[pad] = n
	}
	p.dropped, p.blocked = dropped-a.dropped, blocked-a.blocked
	a.since, a.dropped, a.blocked = now, dropped, blocked
	if !first {
		rate := a.judge(p)
		r.Advise(uint32(rate*1000), 1000, s.holder(r))
	}
}

// nominal is the frame rate that a pad's format names.
func (s *source) nominal(r *ring.Reader, p *pad) float64 {
	f, ok := r.Format(p.stream.ID, p.format)
	if !ok || f.Video == nil || f.Video.FPSDen == 0 {
		return 0
	}
	return float64(f.Video.FPSNum) / float64(f.Video.FPSDen)
}

// holder names the edge that has no room for the next frame.
func (s *source) holder(r *ring.Reader) string {
	for _, p := range s.order {
		_, waits := r.Peek(p.kind)
		if (waits || len(p.held) > 0) && !p.ended && !p.out.Room() {
			return s.env.Stage + "." + p.name
		}
	}
	return ""
}
