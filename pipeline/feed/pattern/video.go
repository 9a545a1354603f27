package pattern

import (
	"fmt"
	"math"
	"time"
)

// Rate is a frame rate as a fraction: 30/1, 30000/1001.
type Rate struct{ Num, Den int }

// At gives the capture time of frame n, n/rate, rounded down to nanoseconds.
func (r Rate) At(n uint32) time.Duration {
	den, num := uint64(r.Den), uint64(r.Num)
	sec, rest := uint64(n)*den/num, uint64(n)*den%num
	return time.Duration(sec)*time.Second + time.Duration(rest*uint64(time.Second)/num)
}

// flashFrame gives the first frame at or after whole second s.
func (r Rate) flashFrame(s uint32) uint32 {
	return uint32((uint64(s)*uint64(r.Num) + uint64(r.Den) - 1) / uint64(r.Den))
}

// Flashes tells whether frame n is the first at or after a whole second: the
// one with the white square and the click.
func (r Rate) Flashes(n uint32) bool {
	s := uint32(uint64(n) * uint64(r.Den) / uint64(r.Num))
	return r.flashFrame(s) == n
}

// Layout is where the planes of an I420 picture lie in memory: strides and
// offsets in bytes for Y, U and V. Chroma planes are half the size, rounded up.
type Layout struct {
	Width, Height int
	Strides       [3]int
	Offsets       [3]int
}

// Sizes that make sense for the pattern: below, the blocks would be too small to
// survive an encoder; above, no encoder takes the picture.
const (
	MinWidth, MinHeight = 64, 36
	MaxSide             = 16384
)

// Video draws the pictures of one stream. It belongs to one goroutine.
type Video struct {
	layout Layout
	rate   Rate
	planes [3]wave
	speed  int // luma pixels the background moves in a frame
}

// NewVideo prepares the drawing of pictures of one layout.
func NewVideo(l Layout, r Rate) (*Video, error) {
	if l.Width < MinWidth || l.Height < MinHeight || l.Width > MaxSide || l.Height > MaxSide {
		return nil, fmt.Errorf("the test pattern cannot be %dx%d; allowed are %dx%d to %dx%d",
			l.Width, l.Height, MinWidth, MinHeight, MaxSide, MaxSide)
	}
	if r.Num <= 0 || r.Den <= 0 {
		return nil, fmt.Errorf("a frame rate of %d/%d is not positive", r.Num, r.Den)
	}
	cw, ch := (l.Width+1)/2, (l.Height+1)/2
	return &Video{
		layout: l,
		rate:   r,
		planes: [3]wave{
			newWave(l.Width/2, l.Strides[0], l.Height, 86, 34, 1),
			newWave(cw, l.Strides[1], ch, 132, 26, 2),
			newWave(cw*2/3, l.Strides[2], ch, 122, 20, 3),
		},
		speed: max(1, l.Width/320),
	}, nil
}

// wave is a plane's background: every row is a piece of the same sine, shifted
// by a curve over the height and by time. So a row is one copy from memory that
// stays in the processor's cache, and a frame costs little more than writing it.
type wave struct {
	period int
	row    []byte // stride+period samples
	shift  []int  // per row, below period
}

func newWave(period, stride, rows int, mid, amp float64, curl float64) wave {
	w := wave{period: max(period, 2), row: make([]byte, stride+max(period, 2)), shift: make([]int, rows)}
	for i := range w.row {
		w.row[i] = byte(mid + amp*math.Sin(2*math.Pi*float64(i)/float64(w.period)))
	}
	for y := range w.shift {
		s := 0.25 * (1 + math.Sin(2*math.Pi*curl*float64(y)/float64(rows)))
		w.shift[y] = int(s*float64(w.period)) % w.period
	}
	return w
}

func (w wave) draw(dst []byte, stride, move int) {
	move %= w.period
	for y, s := range w.shift {
		at := (s + move) % w.period
		copy(dst[y*stride:(y+1)*stride], w.row[at:])
	}
}

// Size is the bytes of one picture.
func (v *Video) Size() int {
	l := v.layout
	return l.Offsets[2] + l.Strides[2]*((l.Height+1)/2)
}

// Draw writes frame n into dst, which must hold Size bytes. All bytes are
// written, the padding of rows included.
func (v *Video) Draw(dst []byte, n uint32) {
	l := v.layout
	for i := range v.planes {
		end := len(dst)
		if i < 2 {
			end = l.Offsets[i+1]
		}
		move := int(n%1_000_000) * v.speed
		if i > 0 {
			move /= 2
		}
		v.planes[i].draw(dst[l.Offsets[i]:end], l.Strides[i], move)
	}
	v.drawText(dst, n)
	v.drawFlash(dst, v.rate.Flashes(n))
	v.drawCounter(dst, n)
}

// Luma of black and white in video range (ITU-R BT.601 and BT.709).
const (
	black, white = 16, 235
	neutral      = 128 // chroma without colour
)

// rect is a part of a picture in luma pixels, [x0,x1) x [y0,y1).
type rect struct{ x0, y0, x1, y1 int }

func (v *Video) fill(dst []byte, r rect, luma byte) {
	l := v.layout
	fillRows(dst[l.Offsets[0]:], l.Strides[0], r, luma)
}

// grey takes the colour out of a part of the picture.
func (v *Video) grey(dst []byte, r rect) {
	l := v.layout
	half := rect{r.x0 / 2, r.y0 / 2, (r.x1 + 1) / 2, (r.y1 + 1) / 2}
	for p := 1; p < 3; p++ {
		fillRows(dst[l.Offsets[p]:], l.Strides[p], half, neutral)
	}
}

// fillRows sets the first row and copies it to the others: copying is many times
// faster than setting bytes one by one.
func fillRows(plane []byte, stride int, r rect, b byte) {
	if r.x1 <= r.x0 || r.y1 <= r.y0 {
		return
	}
	first := plane[r.y0*stride+r.x0:][:r.x1-r.x0]
	for i := range first {
		first[i] = b
	}
	for y := r.y0 + 1; y < r.y1; y++ {
		copy(plane[y*stride+r.x0:], first)
	}
}
