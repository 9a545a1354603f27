package pattern

// The frame number as blocks: counterRows rows of counterCols at the bottom of
// the picture, most significant bit first, white for 1: 32 bits of the number
// and 8 of its checksum. 20 columns make a block 8 pixels wide at a width of
// 160, the size of a transform block: it survives an encoder at low rates.
const (
	counterRows = 2
	counterCols = 20
	counterBand = 14 // a row's height is 1/14 of the picture's
)

// counterBlock is the place of bit i in a picture of w x h.
func counterBlock(i, w, h int) rect {
	row, col := i/counterCols, i%counterCols
	up := counterRows - row
	return rect{
		x0: col * w / counterCols, x1: (col + 1) * w / counterCols,
		y0: h - up*h/counterBand, y1: h - (up-1)*h/counterBand,
	}
}

func (v *Video) drawCounter(dst []byte, n uint32) {
	w, h := v.layout.Width, v.layout.Height
	word := uint64(n)<<8 | uint64(crc8(n))
	for i := range counterRows * counterCols {
		luma := byte(black)
		if word>>(counterRows*counterCols-1-i)&1 == 1 {
			luma = white
		}
		v.fill(dst, counterBlock(i, w, h), luma)
	}
	v.grey(dst, rect{0, counterBlock(0, w, h).y0, w, h})
}

// Read finds the frame number in the luma plane of a picture of w x h pixels.
// ok is false when a block is neither clearly black nor clearly white or the
// checksum is wrong: the picture is not the pattern, or is damaged.
func Read(luma []byte, stride, w, h int) (n uint32, ok bool) {
	if !sane(luma, stride, w, h) {
		return 0, false
	}
	// A third of the way from black to white on either side is not clear.
	const low, high = black + (white-black)/3, white - (white-black)/3
	var word uint64
	for i := range counterRows * counterCols {
		m := mean(luma, stride, counterBlock(i, w, h).core())
		if m > low && m < high {
			return 0, false
		}
		word <<= 1
		if m >= high {
			word |= 1
		}
	}
	n = uint32(word >> 8)
	return n, crc8(n) == byte(word)
}

// core is the inner half of r in each direction: what lies at its edge may have
// mixed with the neighbours when the picture was scaled or encoded.
func (r rect) core() rect {
	dx, dy := (r.x1-r.x0)/4, (r.y1-r.y0)/4
	return rect{r.x0 + dx, r.y0 + dy, r.x1 - dx, r.y1 - dy}
}

func mean(luma []byte, stride int, r rect) int {
	sum := 0
	for y := r.y0; y < r.y1; y++ {
		for _, b := range luma[y*stride+r.x0 : y*stride+r.x1] {
			sum += int(b)
		}
	}
	return sum / max(1, (r.x1-r.x0)*(r.y1-r.y0))
}

// sane tells whether the plane is as large as it says and large enough for
// every block to have a pixel.
func sane(luma []byte, stride, w, h int) bool {
	return w >= counterCols && h >= 2*counterBand && stride >= w && len(luma) >= (h-1)*stride+w
}

// crc8 is CRC-8/AUTOSAR of the number's four bytes, most significant first
// (polynomial 0x2F, initial value and final inversion 0xFF). An all-black and
// an all-white row of blocks are both wrong under it.
func crc8(n uint32) byte {
	crc := byte(0xFF)
	for shift := 24; shift >= 0; shift -= 8 {
		crc ^= byte(n >> shift)
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x2F
			} else {
				crc <<= 1
			}
		}
	}
	return crc ^ 0xFF
}

// flashSquare is the place of the square that is white once a second: in the
// top right corner, away from the text.
func flashSquare(w, h int) rect {
	side := min(w, h) / 6
	return rect{w - side - w/32, h / 24, w - w/32, h/24 + side}
}

func (v *Video) drawFlash(dst []byte, on bool) {
	r := flashSquare(v.layout.Width, v.layout.Height)
	luma := byte(black)
	if on {
		luma = white
	}
	v.fill(dst, r, luma)
	v.grey(dst, r)
}

// Flash tells whether the luma plane of a picture of w x h pixels is one with
// the white square.
func Flash(luma []byte, stride, w, h int) bool {
	return sane(luma, stride, w, h) && mean(luma, stride, flashSquare(w, h).core()) > (black+white)/2
}
