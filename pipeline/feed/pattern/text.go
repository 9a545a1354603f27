package pattern

import (
	"fmt"
	"time"
)

// Glyphs are 5 x 7 dots in a cell of 6 x 8.
const (
	glyphW, glyphH = 5, 7
	cellW, cellH   = 6, 8
)

// font holds a row of five dots per text, top to bottom. Only what the pattern
// writes is there.
var font = map[byte][glyphH]string{
	'0': {" ### ", "#   #", "#  ##", "# # #", "##  #", "#   #", " ### "},
	'1': {"  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "},
	'2': {" ### ", "#   #", "    #", "   # ", "  #  ", " #   ", "#####"},
	'3': {"#####", "   # ", "  #  ", "   # ", "    #", "#   #", " ### "},
	'4': {"   # ", "  ## ", " # # ", "#  # ", "#####", "   # ", "   # "},
	'5': {"#####", "#    ", "#### ", "    #", "    #", "#   #", " ### "},
	'6': {"  ## ", " #   ", "#    ", "#### ", "#   #", "#   #", " ### "},
	'7': {"#####", "    #", "   # ", "  #  ", " #   ", " #   ", " #   "},
	'8': {" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "},
	'9': {" ### ", "#   #", "#   #", " ####", "    #", "   # ", " ##  "},
	':': {"     ", "  #  ", "  #  ", "     ", "  #  ", "  #  ", "     "},
	'.': {"     ", "     ", "     ", "     ", "     ", " ##  ", " ##  "},
	'f': {"  ## ", " #  #", " #   ", "###  ", " #   ", " #   ", " #   "},
	'r': {"     ", "     ", "# ## ", "##  #", "#    ", "#    ", "#    "},
	'a': {"     ", "     ", " ### ", "    #", " ####", "#   #", " ####"},
	'm': {"     ", "     ", "## # ", "# # #", "# # #", "#   #", "#   #"},
	'e': {"     ", "     ", " ### ", "#   #", "#####", "#    ", " ### "},
}

// textLines are the two lines of the picture, twelve characters each while the
// programme is shorter than 100 hours and a million frames.
func textLines(n uint32, t time.Duration) [2]string {
	ms := t.Milliseconds()
	return [2]string{
		fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000),
		fmt.Sprintf("frame %06d", n),
	}
}

// drawText writes the lines in white on a black box left of the middle, where it
// touches neither the flash nor the counter.
func (v *Video) drawText(dst []byte, n uint32) {
	const columns = 12
	l := v.layout
	dot := max(1, min(l.Width*6/10/(columns*cellW), l.Height/2/(2*cellH)))
	x0, y0 := l.Width/20, l.Height/4
	box := rect{x0, y0, min(l.Width, x0+dot*(columns*cellW+1)), min(l.Height, y0+dot*(2*cellH+1))}
	v.fill(dst, box, black)
	v.grey(dst, box)
	for i, line := range textLines(n, v.rate.At(n)) {
		v.drawLine(dst, line, x0+dot, y0+dot*(1+i*cellH), dot)
	}
}

func (v *Video) drawLine(dst []byte, line string, x, y, dot int) {
	for i := 0; i < len(line); i++ {
		for row, dots := range font[line[i]] {
			for col := 0; col < len(dots); col++ {
				px, py := x+dot*(i*cellW+col), y+dot*row
				if dots[col] == '#' && px+dot <= v.layout.Width && py+dot <= v.layout.Height {
					v.fill(dst, rect{px, py, px + dot, py + dot}, white)
				}
			}
		}
	}
}
