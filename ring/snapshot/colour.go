package snapshot

import (
	"strconv"
	"strings"

	"github.com/mpipe/mpipe/ring"
)

// weights are a matrix's shares of red and blue in luma.
type weights struct{ red, blue float64 }

// matrices by GStreamer's numbers, GstVideoColorMatrix; 0 is unknown, 1 is RGB.
var matrices = map[int]weights{
	2: {0.30, 0.11},     // FCC
	3: {0.2126, 0.0722}, // ITU-R BT.709
	4: {0.299, 0.114},   // ITU-R BT.601
	5: {0.212, 0.087},   // SMPTE 240M
	6: {0.2627, 0.0593}, // ITU-R BT.2020
}

// named are GStreamer's names for colorimetries, as range and matrix.
var named = map[string][2]int{
	"bt601": {limited, 4}, "bt709": {limited, 3}, "smpte240m": {limited, 5}, "sRGB": {full, 1},
	"bt2020": {limited, 6}, "bt2020-10": {limited, 6}, "bt2100-pq": {limited, 6}, "bt2100-hlg": {limited, 6},
}

// GstVideoColorRange.
const (
	full    = 1 // 0 to 255
	limited = 2 // 16 to 235, chroma to 240
)

// colours gives range and matrix of a picture. What the format does not say is
// GStreamer's default: by height, as video-info.c has it in 1.22.
func colours(f ring.VideoFormat, l layout) (limitedRange bool, w weights) {
	r, m := limited, 4
	switch {
	case l.rgb, len(l.parts) == 1:
		r = full
	case f.Height >= 2160:
		m = 6
	case f.Height > 576:
		m = 3
	}
	if c, ok := named[f.Colorimetry]; ok {
		r, m = c[0], either(c[1], m)
	} else if parts := strings.Split(f.Colorimetry, ":"); len(parts) == 4 {
		r, m = either(number(parts[0]), r), either(number(parts[1]), m)
	}
	return r == limited, matrices[m]
}

// either gives a known range or matrix of YUV, or else the default.
func either(n, def int) int {
	if _, ok := matrices[n]; ok || n == full {
		return n
	}
	return def
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
