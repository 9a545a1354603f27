package pattern

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// ClickLength is how long the burst at each white square sounds.
const ClickLength = 5 * time.Millisecond

// Levels relative to full scale. The click stands far above the chord, so that
// its first sample is found even after a lossy codec.
const (
	toneLevel   = 0.04
	clickLevel  = 0.8
	clickPitch  = 1000 // Hz
	clickNotice = 9830 // sample value that Clicks takes for the beginning of one: 0.3
)

// tones are the chord's pitches in Hz, channel by channel; whole numbers, so
// that one second repeats without a seam.
var tones = [...]int{330, 440, 220, 550, 165, 275, 385, 495}

// Audio plays the sound of one stream as interleaved signed 16-bit little-endian
// samples. It belongs to one goroutine.
type Audio struct {
	rate, channels int
	video          Rate
	second         []byte // one second of the chord
	click          []int16
}

// NewAudio prepares sound of rate sample frames per second. The clicks come with
// the white squares of a video of the given frame rate.
func NewAudio(rate, channels int, video Rate) (*Audio, error) {
	if rate < 8000 || rate > 192000 || channels < 1 || channels > len(tones) {
		return nil, fmt.Errorf("the test tone cannot have %d channels at %d Hz; allowed are 1 to %d channels at 8000 to 192000 Hz",
			channels, rate, len(tones))
	}
	if video.Num <= 0 || video.Den <= 0 {
		return nil, fmt.Errorf("a frame rate of %d/%d is not positive", video.Num, video.Den)
	}
	a := &Audio{rate: rate, channels: channels, video: video}
	for i := range rate {
		for c := range channels {
			s := toneLevel * math.Sin(2*math.Pi*float64(tones[c])*float64(i)/float64(rate))
			a.second = binary.LittleEndian.AppendUint16(a.second, uint16(int16(s*math.MaxInt16)))
		}
	}
	a.click = make([]int16, int(int64(rate)*int64(ClickLength)/int64(time.Second)))
	for i := range a.click {
		// A cosine begins at its peak: the onset is the first sample.
		s := clickLevel * math.Cos(2*math.Pi*clickPitch*float64(i)/float64(rate))
		a.click[i] = int16(s * math.MaxInt16)
	}
	return a, nil
}

// FrameSize is the bytes of one sample of all channels.
func (a *Audio) FrameSize() int { return 2 * a.channels }

// Play writes the samples from number at on into dst, whose length is a multiple
// of FrameSize.
func (a *Audio) Play(dst []byte, at int64) {
	size := a.FrameSize()
	for done := 0; done < len(dst); {
		done += copy(dst[done:], a.second[int((at+int64(done/size))%int64(a.rate))*size:])
	}
	end := at + int64(len(dst)/size)
	// A second's click comes up to one video frame after the second.
	first := (at-int64(len(a.click)))/int64(a.rate) - 1 - int64(a.video.Den/a.video.Num)
	for s := max(first, 0); s <= end/int64(a.rate); s++ {
		a.mixClick(dst, at, end, a.clickAt(uint32(s)))
	}
}

// clickAt gives the sample at which the click of whole second s begins.
func (a *Audio) clickAt(s uint32) int64 {
	t := a.video.At(a.video.flashFrame(s))
	return (int64(t/time.Second) * int64(a.rate)) + (int64(t%time.Second)*int64(a.rate)+int64(time.Second)/2)/int64(time.Second)
}

func (a *Audio) mixClick(dst []byte, at, end, click int64) {
	size := a.FrameSize()
	for i := max(click, at); i < min(click+int64(len(a.click)), end); i++ {
		for c := range a.channels {
			binary.LittleEndian.PutUint16(dst[int(i-at)*size+2*c:], uint16(a.click[i-click]))
		}
	}
}

// ClickFinder finds the beginnings of clicks in sound that comes in pieces.
type ClickFinder struct {
	rate, channels int
	at             int64 // sample frames seen
	quietFrom      int64 // the sample after the last loud one
}

// NewClickFinder makes one for interleaved signed 16-bit little-endian sound.
func NewClickFinder(rate, channels int) *ClickFinder {
	return &ClickFinder{rate: rate, channels: channels, quietFrom: math.MinInt32}
}

// Heard is the number of sample frames given to Add so far.
func (f *ClickFinder) Heard() int64 { return f.at }

// Add looks at the next piece, a whole number of sample frames, and returns the
// sample numbers, from the first piece's first on, at which clicks begin.
func (f *ClickFinder) Add(pcm []byte) []int64 {
	var onsets []int64
	// A new click is not another swing of the one before.
	apart := int64(f.rate) / 10
	for ; len(pcm) >= 2*f.channels; pcm, f.at = pcm[2*f.channels:], f.at+1 {
		s := int(int16(binary.LittleEndian.Uint16(pcm)))
		if s < clickNotice && s > -clickNotice {
			continue
		}
		if f.at-f.quietFrom > apart {
			onsets = append(onsets, f.at)
		}
		f.quietFrom = f.at + 1
	}
	return onsets
}

// Clicks finds the sample frames at which clicks begin in interleaved signed
// 16-bit little-endian sound; it listens to the first channel.
func Clicks(pcm []byte, rate, channels int) []int64 {
	return NewClickFinder(rate, channels).Add(pcm)
}
