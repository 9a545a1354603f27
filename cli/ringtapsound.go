package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/snapshot"
)

// gapWorth is how far stamps may jump before the jump counts as missing sound:
// above the jitter of usual producers, below what one hears.
const gapWorth = 30 * time.Millisecond

// sound writes what comes of an audio stream from now on.
func (t *tapping) sound(c *call) (r tapReport, err error) {
	f, err := t.nextSound()
	if err != nil {
		return r, err
	}
	if f.Flags&ring.FlagEOS != 0 {
		return r, fmt.Errorf("stream %s has ended", t.stream.Name)
	}
	format, _ := t.w.Format(f.Stream, f.FormatID)
	r = tapReport{Out: t.o.out, Stream: t.stream.Name, Format: format.String(), PTS: f.PTS, Age: time.Duration(ring.Now() - f.PTS).Seconds()}
	err = t.o.write(c, func(w io.Writer) error {
		wav, err := snapshot.NewWAV(w, *format.Audio)
		if err != nil {
			return err
		}
		if err := t.fill(wav, f, *format.Audio, &r); err != nil {
			return err
		}
		r.Frames, r.Seconds = wav.Frames(), float64(wav.Frames())/float64(format.Audio.Rate)
		return wav.Close()
	})
	r.Missed = t.w.Missed(ring.KindAudio)
	return r, err
}

// nextSound gives the next frame of the stream, or its end.
func (t *tapping) nextSound() (ring.Frame, error) {
	for {
		f, err := t.await(func() (ring.Frame, bool) { return t.w.Next(ring.KindAudio, t.buf) })
		if err != nil || f.Stream == t.stream.ID {
			return f, err
		}
	}
}

// fill appends sound until there is enough of it or no more comes.
func (t *tapping) fill(wav *snapshot.WAV, f ring.Frame, a ring.AudioFormat, r *tapReport) error {
	want := int64(t.o.duration.Seconds() * float64(a.Rate))
	start, id := f.PTS, f.FormatID
	silenced := int64(0)
	for {
		switch {
		case f.Flags&ring.FlagEOS != 0:
			r.Note = "the stream ended"
		case f.FormatID != id:
			r.Note = "the format of the stream changed"
		}
		if r.Note != "" {
			break
		}
		// Where the stamps say that this begins, in samples from the first.
		at := int64(time.Duration(f.PTS-start).Seconds()*float64(a.Rate) + 0.5)
		if gap := at - wav.Frames(); gap > int64(gapWorth.Seconds()*float64(a.Rate)) {
			gap = min(gap, want-wav.Frames())
			silenced += gap
			if err := wav.Silence(gap); err != nil {
				return err
			}
		}
		f.Data = f.Data[:min(int64(len(f.Data)), (want-wav.Frames())*int64(wav.FrameBytes()))]
		if _, err := wav.Write(f.Data); err != nil {
			return err
		}
		if wav.Frames() >= want {
			break
		}
		var err error
		if f, err = t.nextSound(); err != nil {
			r.Note = err.Error()
			break
		}
	}
	r.Silenced = float64(silenced) / float64(a.Rate)
	if wav.Frames() == 0 {
		return fmt.Errorf("no sound came: %s", r.Note)
	}
	return nil
}
