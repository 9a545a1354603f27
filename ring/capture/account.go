package capture

import (
	"reflect"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Report is how a recording or a replay goes, or how it went.
type Report struct {
	Elapsed     float64        `json:"elapsed_s"`
	Attachments int            `json:"attachments"` // so far
	Attached    int            `json:"attached"`    // now
	Streams     []StreamReport `json:"streams"`     // of the latest attachment
	Frames      int64          `json:"frames"`      // of all
	Bytes       int64          `json:"bytes"`       // of their payload
	Missed      int64          `json:"missed"`      // claims that a tap came too late for
	Reason      string         `json:"reason,omitempty"`
}

// StreamReport is one stream's part.
type StreamReport struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Frames  int64   `json:"frames"`
	Bytes   int64   `json:"bytes"`
	Media   float64 `json:"media_s"`           // from its first stamp to the end of its last frame
	Dropped int64   `json:"dropped"`           // of a recording: by the producer; of a replay: by the replay
	LateMax float64 `json:"late_ms,omitempty"` // of a replay: how late a frame was at most
}

// account writes the records of one attachment. It belongs to one goroutine.
type account struct {
	w       *Writer
	number  uint32
	streams []ring.Stream
	format  func(stream uint16, id uint32) (ring.Format, bool)
	known   map[uint32]bool
	losses  Losses
	told    time.Time // when losses were last looked at
	totals  []StreamInfo
	ends    []int64 // by stream: end of the last frame, by its stamps
}

// begin writes who attached.
func begin(w *Writer, st ring.Stats, streams []ring.Stream, format func(uint16, uint32) (ring.Format, bool)) (*account, error) {
	a := Attachment{Epoch: st.Epoch, Producer: process(st.Producer), Consumer: process(st.Consumer)}
	for _, s := range streams {
		a.Streams = append(a.Streams, Stream{Name: s.Name, Kind: s.Kind.String(), MaxFrame: int64(s.MaxFrame)})
	}
	n, err := w.Attach(a)
	return &account{
		w: w, number: n, streams: streams, format: format, known: map[uint32]bool{},
		totals: make([]StreamInfo, len(streams)), ends: make([]int64, len(streams)),
	}, err
}

func process(p ring.Peer) Process { return Process{Name: p.Name, PID: p.PID, UID: p.UID} }

// frame writes a frame, and its format before the first that has it.
func (a *account) frame(f ring.Frame) error {
	end := f.Flags&ring.FlagEOS != 0
	if !end && !a.known[f.FormatID] {
		format, ok := a.format(f.Stream, f.FormatID)
		if !ok {
			return nil // the ring's reader would have ended the attachment
		}
		a.known[f.FormatID] = true
		if err := a.w.Format(a.number, formatRecord(f.Stream, format)); err != nil {
			return err
		}
	}
	t := &a.totals[f.Stream]
	if end {
		t.Ended = true
	} else {
		if t.Frames == 0 {
			t.FirstPTS = f.PTS
		}
		t.Frames, t.Bytes, t.LastPTS, a.ends[f.Stream] = t.Frames+1, t.Bytes+int64(len(f.Data)), f.PTS, f.PTS+f.Duration
	}
	return a.w.Frame(a.number, f)
}

// lossesEvery is how often losses are looked at while frames come.
const lossesEvery = 100 * time.Millisecond

// lost writes what was lost, if that has changed.
func (a *account) lost(st func() ring.Stats, missed map[string]int64, now bool) error {
	if !now && time.Since(a.told) < lossesEvery {
		return nil
	}
	a.told = time.Now()
	l := Losses{Missed: missed}
	for _, s := range st().Streams {
		l.Streams = append(l.Streams, StreamLosses{s.DroppedFull, s.DroppedPolicy, s.Abandoned, s.Blocked})
	}
	if reflect.DeepEqual(l, a.losses) {
		return nil
	}
	a.losses = l
	return a.w.Losses(a.number, l)
}

// end writes how it ended.
func (a *account) end(state string, err error) error {
	d := Detach{State: state}
	if err != nil {
		d.Reason = err.Error()
	}
	return a.w.Detach(a.number, d)
}

func (a *account) report() (out []StreamReport) {
	for i, t := range a.totals {
		r := StreamReport{Name: a.streams[i].Name, Kind: a.streams[i].Kind.String(), Frames: t.Frames, Bytes: t.Bytes}
		if t.Frames > 0 {
			r.Media = time.Duration(a.ends[i] - t.FirstPTS).Seconds()
		}
		if i < len(a.losses.Streams) {
			r.Dropped = a.losses.Streams[i].DroppedFull + a.losses.Streams[i].DroppedPolicy
		}
		out = append(out, r)
	}
	return out
}
