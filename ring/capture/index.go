package capture

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Index is what a capture holds, without the frames themselves.
type Index struct {
	Header      Header        `json:"header"`
	Attachments []*Attached   `json:"attachments"`
	Length      time.Duration `json:"length_ns"` // from the first record to the last
	Frames      int64         `json:"frames"`
	Bytes       int64         `json:"bytes"`         // of payload
	Cut         bool          `json:"cut"`           // its writer did not come to its end
	End         string        `json:"end,omitempty"` // why it ended
}

// Attached is one attachment.
type Attached struct {
	Number     uint32 `json:"number"` // from 1
	Attachment        // who, with which streams

	From   int64        `json:"from_ns"` // ns of CLOCK_MONOTONIC: of its first record
	To     int64        `json:"to_ns"`   // of its last
	Totals []StreamInfo `json:"totals"`  // by stream
	Losses *Losses      `json:"losses,omitempty"`
	Detach *Detach      `json:"detach,omitempty"` // nil when the capture was cut before

	formats map[uint32]*FormatRecord
	offset  int64 // of its first record
	end     int64 // behind its last
}

// StreamInfo is what there is of a stream.
type StreamInfo struct {
	Frames   int64 `json:"frames"`
	Bytes    int64 `json:"bytes"`
	Formats  int   `json:"formats"`
	FirstPTS int64 `json:"first_pts_ns"`
	LastPTS  int64 `json:"last_pts_ns"`
	Ended    bool  `json:"ended"` // the producer ended it
}

// Scan reads a capture from the beginning to its end, or to where it was cut, and
// checks all of it but the payload of its frames.
func Scan(f *File) (*Index, error) {
	x := &Index{Header: f.Header, Attachments: []*Attached{}}
	var first, last int64
	for c := f.Records(0); ; {
		r, err := c.Next()
		switch {
		case errors.Is(err, io.EOF):
			x.Cut = x.End == ""
			x.Length = time.Duration(last - first)
			return x, nil
		case errors.Is(err, ErrCut):
			x.Cut = true
			x.Length = time.Duration(last - first)
			return x, nil
		case err != nil:
			return nil, err
		}
		if first == 0 {
			first = r.At
		}
		last = max(last, r.At)
		if err := x.add(r); err != nil {
			return nil, &DamagedError{r.offset, err}
		}
	}
}

func (x *Index) add(r *Record) error {
	if r.Type == TypeEnd {
		x.End = "unknown"
		if r.End.Reason != "" {
			x.End = r.End.Reason
		}
		return nil
	}
	if r.Type == TypeAttach {
		return x.attach(r)
	}
	if r.Attachment == 0 || int(r.Attachment) > len(x.Attachments) {
		return fmt.Errorf("a record of attachment %d; %d began before it", r.Attachment, len(x.Attachments))
	}
	a := x.Attachments[r.Attachment-1]
	if a.Detach != nil {
		return fmt.Errorf("a record of attachment %d after its end", r.Attachment)
	}
	a.To, a.end = r.At, r.next
	switch r.Type {
	case TypeFormat:
		return a.addFormat(r.Format)
	case TypeFrame:
		if err := a.checkFrame(r); err != nil {
			return err
		}
		if r.Frame.Flags&ring.FlagEOS == 0 {
			x.Frames++
			x.Bytes += int64(r.Length)
		}
	case TypeLosses:
		a.Losses = r.Losses
	case TypeDetach:
		a.Detach = r.Detach
	}
	return nil
}

func (x *Index) attach(r *Record) error {
	if int(r.Attachment) != len(x.Attachments)+1 || len(x.Attachments) >= attachmentsMost {
		return fmt.Errorf("attachment %d after %d", r.Attachment, len(x.Attachments))
	}
	n := len(r.Attach.Streams)
	if n < 1 || n > streamsMost {
		return fmt.Errorf("an attachment of %d streams; one has 1 to %d", n, streamsMost)
	}
	for i, s := range r.Attach.Streams {
		if _, err := s.spec(); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
	}
	x.Attachments = append(x.Attachments, &Attached{
		Number: r.Attachment, Attachment: *r.Attach, From: r.At, To: r.At, offset: r.offset, end: r.next,
		Totals: make([]StreamInfo, n), formats: map[uint32]*FormatRecord{},
	})
	return nil
}

// spec is the stream as a producer declares it.
func (s Stream) spec() (ring.StreamSpec, error) {
	out := ring.StreamSpec{Name: s.Name, MaxFrame: int(s.MaxFrame)}
	switch s.Kind {
	case ring.KindVideo.String():
		out.Kind = ring.KindVideo
	case ring.KindAudio.String():
		out.Kind = ring.KindAudio
	default:
		return out, fmt.Errorf("it is of kind %q", s.Kind)
	}
	if s.MaxFrame < 1 || s.MaxFrame > frameMost {
		return out, fmt.Errorf("it declares frames of up to %d bytes", s.MaxFrame)
	}
	return out, nil
}

func (a *Attached) addFormat(f *FormatRecord) error {
	if f.Stream < 0 || f.Stream >= len(a.Streams) || f.ID == 0 || f.ID > formatsMost || a.formats[f.ID] != nil {
		return fmt.Errorf("format %d of stream %d", f.ID, f.Stream)
	}
	kind, size := ring.KindAudio.String(), 0
	if f.Video != nil {
		kind, size = ring.KindVideo.String(), f.Ring().Video.Size()
	}
	if kind != a.Streams[f.Stream].Kind || f.Video != nil && f.Audio != nil {
		return fmt.Errorf("format %d does not fit stream %d", f.ID, f.Stream)
	}
	if err := f.Ring().Fits(size); err != nil {
		return err
	}
	a.formats[f.ID] = f
	a.Totals[f.Stream].Formats++
	return nil
}

const flagsKnown = ring.FlagKey | ring.FlagDiscont | ring.FlagCorrupt | ring.FlagEOS

func (a *Attached) checkFrame(r *Record) error {
	f := r.Frame
	switch {
	case int(f.Stream) >= len(a.Streams) || f.Kind.String() != a.Streams[f.Stream].Kind:
		return fmt.Errorf("a frame of stream %d, %v", f.Stream, f.Kind)
	case f.PTS < 0 || f.PTS > timeMost || f.Duration < 0 || f.Duration > timeMost || f.Flags&^flagsKnown != 0:
		return fmt.Errorf("a frame with stamp %d ns, duration %d ns and flags %#x", f.PTS, f.Duration, uint32(f.Flags))
	case f.Flags&ring.FlagEOS != 0 && r.Length != 0:
		return fmt.Errorf("an end of stream with %d bytes", r.Length)
	case int64(r.Length) > a.Streams[f.Stream].MaxFrame:
		return fmt.Errorf("a frame of %d bytes in a stream of up to %d", r.Length, a.Streams[f.Stream].MaxFrame)
	}
	t := &a.Totals[f.Stream]
	if f.Flags&ring.FlagEOS != 0 {
		t.Ended = true
		return nil
	}
	format := a.formats[f.FormatID]
	if format == nil || format.Stream != int(f.Stream) || r.Length == 0 {
		return fmt.Errorf("a frame of %d bytes in the format %d, which stream %d has not", r.Length, f.FormatID, f.Stream)
	}
	if err := format.Ring().Fits(r.Length); err != nil {
		return err
	}
	if t.Frames == 0 {
		t.FirstPTS = f.PTS
	}
	t.Frames, t.Bytes, t.LastPTS = t.Frames+1, t.Bytes+int64(r.Length), f.PTS
	return nil
}

// Formats lists the formats of an attachment by their ids.
func (a *Attached) Formats() []FormatRecord {
	var out []FormatRecord
	for _, f := range a.formats {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b FormatRecord) int { return int(a.ID) - int(b.ID) })
	return out
}

// Verify reads all payload and checks it.
func Verify(f *File) error {
	for c := f.Records(0); ; {
		r, err := c.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrCut) {
			return nil
		}
		if err == nil {
			err = f.Check(r)
		}
		if err != nil {
			return err
		}
	}
}
