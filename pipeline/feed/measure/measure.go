// Package measure reads a recording of the test pattern and tells what the
// recorder made of it: which frames are there, which are missing, repeated or
// out of order, and how far sound and picture are apart. It believes nothing but
// what it decodes.
package measure

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// Report is what a recording holds. Times are from the beginning of the file.
type Report struct {
	File string `json:"file"`
	// Pictures.
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Frames     int64   `json:"frames"`
	Unreadable int64   `json:"unreadable"`   // frames whose number could not be read
	First      int64   `json:"first"`        // the first number; -1 without any
	Last       int64   `json:"last"`         // the last number; -1 without any
	Missing    int64   `json:"missing"`      // numbers left out between frames
	Repeated   int64   `json:"repeated"`     // frames with the number of the one before
	Backwards  int64   `json:"out_of_order"` // frames with a lower number than the one before
	VideoStart float64 `json:"video_start_s"`
	VideoEnd   float64 `json:"video_end_s"`
	// Sound.
	Samples    int64   `json:"samples"`
	SampleRate int     `json:"sample_rate"`
	AudioStart float64 `json:"audio_start_s"`
	AudioEnd   float64 `json:"audio_end_s"`
	// Clicks against white squares. Skew is positive where the sound is late.
	Flashes  int      `json:"flashes"`
	Clicks   int      `json:"clicks"`
	Pairs    int      `json:"pairs"` // a flash and a click less than half a second apart
	SkewMS   *float64 `json:"av_skew_ms,omitempty"`
	SkewMost *float64 `json:"av_skew_most_ms,omitempty"` // the one furthest from zero
}

// Perfect tells whether every frame from the first to the last is there once and
// in order.
func (r *Report) Perfect() bool {
	return r.Frames > 0 && r.Unreadable+r.Missing+r.Repeated+r.Backwards == 0
}

// File decodes the file to its end. It fails when the file cannot be decoded; a
// recording of something else gives a report with unreadable frames.
func File(ctx context.Context, path string) (*Report, error) {
	d, err := gstbin.OpenDecoder(ctx, path, true, true, "I420")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &Report{File: path, First: -1, Last: -1}
	var flashes, clicks []time.Duration
	heard := make(chan error, 1)
	go func() {
		var err error
		clicks, err = r.listen(ctx, d.Audio())
		if err != nil {
			cancel()
		}
		heard <- err
	}()
	flashes, err = r.look(ctx, d.Video())
	if err != nil {
		cancel()
	}
	if herr := <-heard; herr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = herr
	}
	if err != nil {
		return nil, err
	}
	r.compare(flashes, clicks)
	return r, nil
}

// look reads the pictures and gives the times of the white squares.
func (r *Report) look(ctx context.Context, s *gstbin.Decoding) (flashes []time.Duration, err error) {
	if s == nil {
		return nil, nil
	}
	var buf []byte
	var stride int
	for {
		f, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return flashes, nil
		}
		if err != nil {
			return nil, err
		}
		if f.Format != nil {
			v := f.Format.Video
			r.Width, r.Height, stride = v.Width, v.Height, v.Strides[0]
		}
		if len(buf) != f.Size {
			buf = make([]byte, f.Size)
		}
		if err := s.Copy(buf, 0); err != nil {
			return nil, err
		}
		if r.Frames == 0 {
			r.VideoStart = f.PTS.Seconds()
		}
		r.Frames++
		r.VideoEnd = max(r.VideoEnd, (f.PTS + f.Duration).Seconds())
		n, ok := pattern.Read(buf, stride, r.Width, r.Height)
		r.number(n, ok)
		if ok && pattern.Flash(buf, stride, r.Width, r.Height) {
			flashes = append(flashes, f.PTS)
		}
	}
}

// number takes the next frame's number into account.
func (r *Report) number(n uint32, ok bool) {
	switch {
	case !ok:
		r.Unreadable++
		return
	case r.First < 0:
		r.First = int64(n)
	case int64(n) == r.Last:
		r.Repeated++
	case int64(n) < r.Last:
		r.Backwards++
	default:
		r.Missing += int64(n) - r.Last - 1
	}
	r.Last = int64(n)
}

// listen reads the sound and gives the times of the clicks.
func (r *Report) listen(ctx context.Context, s *gstbin.Decoding) (clicks []time.Duration, err error) {
	if s == nil {
		return nil, nil
	}
	var finder *pattern.ClickFinder
	var buf []byte
	var unit int
	begun := false
	for {
		f, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return clicks, nil
		}
		if err != nil {
			return nil, err
		}
		if f.Format != nil {
			a := f.Format.Audio
			r.SampleRate, unit = a.Rate, 2*a.Channels
			finder = pattern.NewClickFinder(a.Rate, a.Channels)
		}
		if cap(buf) < f.Size {
			buf = make([]byte, f.Size)
		}
		if err := s.Copy(buf[:f.Size], 0); err != nil {
			return nil, err
		}
		if !begun {
			begun, r.AudioStart = true, f.PTS.Seconds()
		}
		// A click's place within its packet counts from the packet's own stamp, so
		// that gaps in the sound do not shift it.
		from := finder.Heard()
		for _, at := range finder.Add(buf[:f.Size]) {
			clicks = append(clicks, f.PTS+time.Duration(at-from)*time.Second/time.Duration(r.SampleRate))
		}
		r.Samples += int64(f.Size / unit)
		end := f.PTS + time.Duration(f.Size/unit)*time.Second/time.Duration(r.SampleRate)
		r.AudioEnd = max(r.AudioEnd, end.Seconds())
	}
}

// compare pairs each white square with the nearest click.
func (r *Report) compare(flashes, clicks []time.Duration) {
	r.Flashes, r.Clicks = len(flashes), len(clicks)
	var skews []float64
	for _, f := range flashes {
		best := time.Duration(math.MaxInt64)
		for _, c := range clicks {
			if d := c - f; d.Abs() < best.Abs() {
				best = d
			}
		}
		if best.Abs() < time.Second/2 {
			skews = append(skews, best.Seconds()*1000)
		}
	}
	if r.Pairs = len(skews); r.Pairs == 0 {
		return
	}
	slices.Sort(skews)
	median := skews[len(skews)/2]
	most := skews[0]
	if last := skews[len(skews)-1]; math.Abs(last) > math.Abs(most) {
		most = last
	}
	r.SkewMS, r.SkewMost = &median, &most
}
