package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// lane plays one stream of an attachment. It belongs to one goroutine, except for
// the counters.
type lane struct {
	r      *replay
	a      *Attached
	p      *ring.Producer
	w      *ring.Writer
	stream int
	info   Stream
	start  int64             // ns: when the attachment was made again
	ids    map[uint32]uint32 // of formats: the capture's to the ring's

	discont bool // frames before the next were left out

	frames, bytes, dropped, late, media atomic.Int64
}

// run reads through the attachment's part of the capture and plays what is of
// its stream. Frames that belong to others cost the reading of their headers.
func (l *lane) run(ctx context.Context) error {
	for c := l.r.f.Records(l.a.offset); c.at < l.a.end; {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrCut) {
			return nil // Scan has seen the same
		}
		if err != nil {
			return err
		}
		if rec.Type != TypeFrame || rec.Attachment != l.a.Number || int(rec.Frame.Stream) != l.stream {
			continue
		}
		if err := l.r.sleep(ctx, l.due(rec)); err != nil {
			return nil // told to stop
		}
		if err := l.play(rec); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) due(rec *Record) int64 { return l.r.due(l.start, l.a.From, rec.At) }

// play writes one frame into the ring.
func (l *lane) play(rec *Record) error {
	f := rec.Frame
	if f.Flags&ring.FlagEOS != 0 {
		return l.p.End(l.stream)
	}
	id, err := l.format(f.FormatID)
	if err != nil {
		return err
	}
	policy := ring.Block(0)
	if l.r.o.Drop {
		policy = ring.Drop
	}
	slot, err := l.w.Claim(l.stream, id, rec.Length, policy)
	if errors.Is(err, ring.ErrFull) {
		l.dropped.Add(1)
		l.discont = true
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.r.f.Payload(rec, slot.Data); err != nil {
		slot.Abort()
		return err
	}
	flags := f.Flags
	if l.discont {
		flags |= ring.FlagDiscont
	}
	l.discont = false
	slot.Commit(max(0, f.PTS-l.a.From+l.start), f.Duration, flags)
	if late := ring.Now() - l.due(rec); !l.r.o.AsFast && late > l.late.Load() {
		l.late.Store(late)
	}
	l.frames.Add(1)
	l.bytes.Add(int64(rec.Length))
	l.media.Store(f.PTS + f.Duration - l.a.Totals[l.stream].FirstPTS)
	return nil
}

// format publishes a format of the capture when it is first needed.
func (l *lane) format(id uint32) (uint32, error) {
	if have, ok := l.ids[id]; ok {
		return have, nil
	}
	f := l.a.formats[id]
	if f == nil {
		return 0, fmt.Errorf("format %d is not in the capture", id)
	}
	var got uint32
	var err error
	if r := f.Ring(); r.Video != nil {
		got, err = l.p.SetVideo(l.stream, *r.Video)
	} else {
		got, err = l.p.SetAudio(l.stream, *r.Audio)
	}
	l.ids[id] = got
	return got, err
}

func (l *lane) report() StreamReport {
	return StreamReport{
		Name: l.info.Name, Kind: l.info.Kind, Frames: l.frames.Load(), Bytes: l.bytes.Load(), Dropped: l.dropped.Load(),
		Media: time.Duration(l.media.Load()).Seconds(), LateMax: float64(l.late.Load()) / 1e6,
	}
}
