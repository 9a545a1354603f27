package feed

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
)

// VideoSpec is "1280x720@30": size in pixels and frames a second.
type VideoSpec struct {
	Width, Height int
	Rate          pattern.Rate
}

// AudioSpec is "48000x2": samples a second and channels.
type AudioSpec struct{ Rate, Channels int }

var (
	videoSpec = regexp.MustCompile(`^(\d{1,5})x(\d{1,5})(?:@(\d{1,6})(?:/(\d{1,6})|\.(\d{1,3}))?)?$`)
	audioSpec = regexp.MustCompile(`^(\d{1,6})x(\d{1,2})$`)
)

// ParseVideo reads WIDTHxHEIGHT[@FPS]; FPS is 30, 29.97 or 30000/1001, and 30
// when left out. The usual decimals (23.976, 29.97, 59.94) stand for the exact
// NTSC rates.
func ParseVideo(s string) (VideoSpec, error) {
	m := videoSpec.FindStringSubmatch(s)
	if m == nil {
		return VideoSpec{}, fmt.Errorf("%q: want WIDTHxHEIGHT@FPS, such as 1280x720@30 or 1920x1080@30000/1001", s)
	}
	num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // digits only, few
	v := VideoSpec{Width: num(1), Height: num(2), Rate: pattern.Rate{Num: 30, Den: 1}}
	switch {
	case m[3] == "":
	case m[4] != "":
		v.Rate = pattern.Rate{Num: num(3), Den: num(4)}
	case m[5] != "":
		v.Rate = decimalRate(m[3], m[5])
	default:
		v.Rate.Num = num(3)
	}
	if v.Width < 1 || v.Height < 1 || v.Width > pattern.MaxSide || v.Height > pattern.MaxSide {
		return VideoSpec{}, fmt.Errorf("%q: width and height must be 1 to %d", s, pattern.MaxSide)
	}
	if v.Rate.Num < 1 || v.Rate.Den < 1 || v.Rate.Num > 1000*v.Rate.Den {
		return VideoSpec{}, fmt.Errorf("%q: the frame rate must be above 0 and at most 1000", s)
	}
	return v, nil
}

func decimalRate(whole, part string) pattern.Rate {
	switch whole + "." + part {
	case "23.976", "23.98":
		return pattern.Rate{Num: 24000, Den: 1001}
	case "29.97":
		return pattern.Rate{Num: 30000, Den: 1001}
	case "59.94":
		return pattern.Rate{Num: 60000, Den: 1001}
	}
	den := 1
	for range part {
		den *= 10
	}
	n, _ := strconv.Atoi(whole + part)
	return pattern.Rate{Num: n, Den: den}
}

// ParseAudio reads RATExCHANNELS.
func ParseAudio(s string) (AudioSpec, error) {
	m := audioSpec.FindStringSubmatch(s)
	if m == nil {
		return AudioSpec{}, fmt.Errorf("%q: want RATExCHANNELS, such as 48000x2", s)
	}
	rate, _ := strconv.Atoi(m[1])
	channels, _ := strconv.Atoi(m[2])
	if rate < 1000 || rate > 768000 || channels < 1 || channels > 64 {
		return AudioSpec{}, fmt.Errorf("%q: the rate must be 1000 to 768000, the channels 1 to 64", s)
	}
	return AudioSpec{rate, channels}, nil
}
