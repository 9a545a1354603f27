package filter

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// colors are the names of HTML's sixteen colours, and orange, as ffmpeg has them.
var colors = map[string]uint32{
	"black": 0x000000, "silver": 0xc0c0c0, "gray": 0x808080, "white": 0xffffff, "maroon": 0x800000, "red": 0xff0000,
	"purple": 0x800080, "fuchsia": 0xff00ff, "green": 0x008000, "lime": 0x00ff00, "olive": 0x808000, "yellow": 0xffff00,
	"navy": 0x000080, "blue": 0x0000ff, "teal": 0x008080, "aqua": 0x00ffff, "orange": 0xffa500,
}

// color reads a colour as ffmpeg writes it, "red", "#ff0000", "#ff0000c0" or
// "red@0.75", into 0xAARRGGBB.
func color(text string) (uint32, error) {
	name, opacity, faded := strings.Cut(text, "@")
	alpha := uint64(255)
	if faded {
		x, err := strconv.ParseFloat(opacity, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return 0, fmt.Errorf(`%q behind the @ is no opacity; write a number from 0 to 1`, opacity)
		}
		alpha = uint64(x*255 + 0.5)
	}
	if rgb, ok := colors[strings.ToLower(name)]; ok {
		return uint32(alpha)<<24 | rgb, nil
	}
	hex, isHex := strings.CutPrefix(name, "#")
	if !isHex {
		hex, isHex = strings.CutPrefix(name, "0x")
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	switch {
	case isHex && err == nil && len(hex) == 6:
		return uint32(alpha<<24 | n), nil
	case isHex && err == nil && len(hex) == 8 && !faded:
		return uint32(n&0xff<<24 | n>>8), nil
	}
	return 0, fmt.Errorf(`%q is no colour; write "#rrggbb", or a name: %s`, text, strings.Join(colorNames(), ", "))
}

func colorNames() []string {
	var names []string
	for n := range colors {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func validColor(text string) error {
	_, err := color(text)
	return err
}

// argb writes a colour that [color] takes for GStreamer.
func argb(text string) string {
	c, _ := color(text)
	return strconv.FormatUint(uint64(c), 10)
}
