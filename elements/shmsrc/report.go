package shmsrc

import (
	"sync/atomic"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// counters of one pad, over all attachments.
type counters struct {
	frames, bytes, late, filled atomic.Int64
}

func (c *counters) add(f ring.Frame) {
	c.frames.Add(1)
	c.bytes.Add(int64(len(f.Data)))
}

// totals is what attachments that are gone have counted.
type totals struct {
	streams map[string]ring.StreamStats
}

// retire adds the counters of an attachment that has ended to the totals.
func (s *source) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.past.streams == nil {
		s.past.streams = map[string]ring.StreamStats{}
	}
	for _, st := range s.reader.Stats().Streams {
		s.past.streams[st.Name] = addStats(s.past.streams[st.Name], st)
	}
	s.retired = true
	s.reader.Close()
}

func addStats(a, b ring.StreamStats) ring.StreamStats {
	b.Copied += a.Copied
	b.CopiedBytes += a.CopiedBytes
	b.DroppedFull += a.DroppedFull
	b.DroppedPolicy += a.DroppedPolicy
	b.Abandoned += a.Abandoned
	b.Blocked += a.Blocked
	return b
}

// Report sums up the ring and the pads.
func (s *source) Report() pipeline.SourceReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final != nil {
		return *s.final
	}
	rep := pipeline.SourceReport{CopyLimit: s.copyLimit, Pads: map[string]pipeline.PadReport{}}
	if s.reader == nil {
		return rep
	}
	rep.Producer, rep.ProducerDied = s.reader.Producer().String(), s.died
	stats := s.reader.Stats()
	rep.CopiesAlive = stats.CopiesAlive
	for _, c := range stats.Classes {
		rep.Capacity += c.Capacity
		rep.Used += c.Used
		rep.HeldFrames += c.HeldFrames
		rep.HeldMost += c.HeldMost
		rep.HeldBytes += c.HeldBytes
	}
	for _, pad := range s.order {
		var st ring.StreamStats
		if pad.stream != nil {
			st = s.past.streams[pad.stream.Name]
		}
		for _, have := range stats.Streams {
			if pad.stream != nil && have.Name == pad.stream.Name && !s.retired {
				st = addStats(st, have)
			}
		}
		rep.Pads[pad.name] = pipeline.PadReport{
			Frames:      pad.count.frames.Load(),
			Bytes:       pad.count.bytes.Load(),
			Late:        pad.count.late.Load(),
			Filled:      pad.count.filled.Load(),
			Copied:      st.Copied,
			CopiedBytes: st.CopiedBytes,
			DroppedFull: st.DroppedFull,
			Dropped:     st.DroppedPolicy,
			Lost:        st.Abandoned,
			Blocked:     st.Blocked,
		}
	}
	return rep
}
