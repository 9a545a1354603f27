package filter

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// Debian's names of the packages that hold GStreamer's plugins.
const (
	pkgCore  = "libgstreamer1.0-0"
	pkgBase  = "gstreamer1.0-plugins-base"
	pkgGood  = "gstreamer1.0-plugins-good"
	pkgPango = "gstreamer1.0-x"
)

// maxSide bounds a picture's width and height in pixels: more than any encoder
// here takes, and small enough that nothing overflows.
const maxSide = 16384

// filter is the fragment of a filter with one input that gives what it takes.
func filter(kind pipeline.Kind, nodes ...pipeline.Node) pipeline.Fragment {
	return pipeline.Fragment{
		Nodes:  nodes,
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{kind}, Max: 1}},
		Output: kind,
	}
}

// set makes a list of settings from names and values in turn.
func set(pairs ...any) []pipeline.Setting {
	var out []pipeline.Setting
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, pipeline.Setting{Name: pairs[i].(string), Value: fmt.Sprint(pairs[i+1])})
	}
	return out
}

// even refuses odd numbers of pixels: in the layouts that encoders take, two by
// two pixels share their colour.
func even(prop string, n int) error {
	if n%2 != 0 {
		return pipeline.At(prop, "%d is odd, and two pixels share their colour; write %d", n, n+1)
	}
	return nil
}

// rate reads a frame rate as ffmpeg writes it: "30", "29.97", "30000/1001".
func rate(text string) (num, den int64, err error) {
	r, ok := new(big.Rat).SetString(text)
	if !ok || strings.ContainsAny(text, "eExXpPbBoO_") {
		return 0, 0, fmt.Errorf(`%q is no frame rate; write for example "30" or "30000/1001"`, text)
	}
	if r.Sign() <= 0 || r.Cmp(big.NewRat(1000, 1)) > 0 || !r.Num().IsInt64() || r.Denom().Cmp(big.NewInt(1e6)) > 0 {
		return 0, 0, fmt.Errorf("%s frames a second cannot be; allowed are more than 0 and up to 1000, in steps of a millionth", text)
	}
	return r.Num().Int64(), r.Denom().Int64(), nil
}

func validRate(text string) error {
	_, _, err := rate(text)
	return err
}

// rateCaps are the caps of a frame rate that [rate] takes.
func rateCaps(text string) string {
	num, den, _ := rate(text)
	return fmt.Sprintf("framerate=(fraction)%d/%d", num, den)
}

// maxGain is the most that GStreamer's volumes take, 20 dB.
const maxGain = 10

// gain reads a volume as ffmpeg writes it: a factor, "0.5", or decibels, "-6dB".
func gain(text string) (float64, error) {
	number, isDB := strings.CutSuffix(text, "dB")
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || x != x {
		return 0, fmt.Errorf(`%q is no volume; write a factor, "0.5", or decibels, "-6dB"`, text)
	}
	if isDB {
		x = decibels(x)
	}
	if x < 0 || x > maxGain {
		return 0, fmt.Errorf("%s is out of range; allowed are 0 to %d, or up to 20dB", text, maxGain)
	}
	return x, nil
}

func validGain(text string) error {
	_, err := gain(text)
	return err
}

// gainSetting writes a volume that [gain] takes for GStreamer.
func gainSetting(text string) string {
	x, _ := gain(text)
	return strconv.FormatFloat(x, 'g', -1, 64)
}
