package snapshot

// component is where one component of a pixel lies: the sample of pixel (x, y) is
// at (y>>yShift)*stride + (x>>xShift)*step + at in its plane.
type component struct {
	plane, at, step int
	xShift, yShift  int
}

// layout says what the components are. The order is Y, U, V or R, G, B, then
// alpha; GRAY has the first alone.
type layout struct {
	parts []component
	rgb   bool
	bits  int // of a sample: 8, or up to 16 in two bytes, little-endian
	shift int // by which a sample of two bytes is moved up
}

// layouts describes GStreamer's raw formats: video-format.c, 1.22.
var layouts = map[string]layout{
	"I420":      planar(8, 1, 1),
	"YV12":      swapped(planar(8, 1, 1)),
	"Y42B":      planar(8, 1, 0),
	"Y444":      planar(8, 0, 0),
	"I420_10LE": planar(10, 1, 1),
	"NV12":      semi(8, 1, 1),
	"NV21":      swapped(semi(8, 1, 1)),
	"NV16":      semi(8, 1, 0),
	"P010_10LE": shifted(semi(10, 1, 1), 6),
	"YUY2":      packed422(0, 1, 3),
	"YVYU":      packed422(0, 3, 1),
	"UYVY":      packed422(1, 0, 2),
	"GRAY8":     {parts: []component{{step: 1}}, bits: 8},
	"GRAY16_LE": {parts: []component{{step: 2}}, bits: 16},
	"RGB":       rgb(3, 0, 1, 2),
	"BGR":       rgb(3, 2, 1, 0),
	"RGBx":      rgb(4, 0, 1, 2),
	"BGRx":      rgb(4, 2, 1, 0),
	"xRGB":      rgb(4, 1, 2, 3),
	"xBGR":      rgb(4, 3, 2, 1),
	"RGBA":      rgb(4, 0, 1, 2, 3),
	"BGRA":      rgb(4, 2, 1, 0, 3),
	"ARGB":      rgb(4, 1, 2, 3, 0),
	"ABGR":      rgb(4, 3, 2, 1, 0),
}

func planar(bits, xs, ys int) layout {
	n := (bits + 7) / 8
	return layout{bits: bits, parts: []component{{0, 0, n, 0, 0}, {1, 0, n, xs, ys}, {2, 0, n, xs, ys}}}
}

func semi(bits, xs, ys int) layout {
	n := (bits + 7) / 8
	return layout{bits: bits, parts: []component{{0, 0, n, 0, 0}, {1, 0, 2 * n, xs, ys}, {1, n, 2 * n, xs, ys}}}
}

func packed422(y, u, v int) layout {
	return layout{bits: 8, parts: []component{{0, y, 2, 0, 0}, {0, u, 4, 1, 0}, {0, v, 4, 1, 0}}}
}

func rgb(step int, at ...int) layout {
	l := layout{bits: 8, rgb: true}
	for _, a := range at {
		l.parts = append(l.parts, component{at: a, step: step})
	}
	return l
}

// swapped has U and V change places.
func swapped(l layout) layout {
	l.parts[1], l.parts[2] = l.parts[2], l.parts[1]
	return l
}

func shifted(l layout, by int) layout {
	l.shift = by
	return l
}
