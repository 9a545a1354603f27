package snapshot

import (
	"fmt"
	"image"
	"image/color"

	"github.com/mpipe/mpipe/ring"
)

// Picture converts one frame, with 16 bits a sample when it has more than 8.
// Alpha is taken as not premultiplied.
func Picture(f ring.VideoFormat, data []byte) (image.Image, error) {
	if err := (ring.Format{Video: &f}).Fits(len(data)); err != nil {
		return nil, err
	}
	l, ok := layouts[f.FourCC]
	if !ok {
		return nil, fmt.Errorf("no conversion for pictures of %s", f.FourCC)
	}
	p := newPainter(f, l, data)
	where := image.Rect(0, 0, f.Width, f.Height)
	if l.bits > 8 {
		img := image.NewNRGBA64(where)
		for y := range f.Height {
			for x := range f.Width {
				r, g, b, a := p.at(x, y)
				img.SetNRGBA64(x, y, color.NRGBA64{scaled(r, 65535), scaled(g, 65535), scaled(b, 65535), scaled(a, 65535)})
			}
		}
		return img, nil
	}
	img := image.NewNRGBA(where)
	for y := range f.Height {
		for x := range f.Width {
			r, g, b, a := p.at(x, y)
			img.SetNRGBA(x, y, color.NRGBA{uint8(scaled(r, 255)), uint8(scaled(g, 255)), uint8(scaled(b, 255)), uint8(scaled(a, 255))})
		}
	}
	return img, nil
}

// scaled turns 0 to 1 into 0 to most.
func scaled(v float64, most float64) uint16 { return uint16(min(max(v, 0), 1)*most + 0.5) }

// painter computes pixels of one frame.
type painter struct {
	f    ring.VideoFormat
	l    layout
	data []byte
	w    weights

	// A sample s stands for (s-black)*gain; chroma for (s-middle)*chromaGain, from
	// -0.5 to 0.5.
	black, gain, middle, chromaGain float64
	most                            float64 // largest sample
}

func newPainter(f ring.VideoFormat, l layout, data []byte) *painter {
	limitedRange, w := colours(f, l)
	unit := float64(int(1) << (l.bits - 8)) // of the figures for 8 bits
	most := float64(int(1)<<l.bits - 1)
	p := &painter{f: f, l: l, data: data, w: w, most: most, gain: 1 / most, middle: 128 * unit, chromaGain: 1 / most}
	if limitedRange {
		p.black, p.gain, p.chromaGain = 16*unit, 1/(219*unit), 1/(224*unit)
	}
	return p
}

// sample gives a component of the pixel as a number of l.bits bits.
func (p *painter) sample(c component, x, y int) float64 {
	i := p.f.Offsets[c.plane] + (y>>c.yShift)*p.f.Strides[c.plane] + (x>>c.xShift)*c.step + c.at
	if p.l.bits == 8 {
		return float64(p.data[i])
	}
	return float64((int(p.data[i]) | int(p.data[i+1])<<8) >> p.l.shift)
}

// at gives red, green, blue and alpha, 0 to 1 but for what lies beyond the range.
func (p *painter) at(x, y int) (r, g, b, a float64) {
	parts := p.l.parts
	first := (p.sample(parts[0], x, y) - p.black) * p.gain
	switch {
	case len(parts) == 1:
		return first, first, first, 1
	case p.l.rgb:
		g, b, a = (p.sample(parts[1], x, y)-p.black)*p.gain, (p.sample(parts[2], x, y)-p.black)*p.gain, 1
		if len(parts) == 4 {
			a = p.sample(parts[3], x, y) / p.most
		}
		return first, g, b, a
	}
	u := (p.sample(parts[1], x, y) - p.middle) * p.chromaGain
	v := (p.sample(parts[2], x, y) - p.middle) * p.chromaGain
	r = first + 2*(1-p.w.red)*v
	b = first + 2*(1-p.w.blue)*u
	g = (first - p.w.red*r - p.w.blue*b) / (1 - p.w.red - p.w.blue)
	return r, g, b, 1
}
