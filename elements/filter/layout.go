package filter

// box is a place on a canvas, in pixels.
type box struct{ x, y, width, height int }

// shape is the shape that pictures are thought to have when a layout is chosen.
const shape = 16.0 / 9

// grid gives n boxes of one size in rows, the last row in the middle, in as many
// columns as show the largest pictures.
func grid(width, height, gap, n int) []box {
	columns, best := 1, 0.0
	for c := 1; c <= n; c++ {
		w, h := cell(width, gap, c), cell(height, gap, rowsOf(n, c))
		if shown := min(float64(w), float64(h)*shape); shown >= best { // of two alike the one with more columns
			columns, best = c, shown
		}
	}
	w, h := cell(width, gap, columns), cell(height, gap, rowsOf(n, columns))
	top := centred(height, rowsOf(n, columns), h, gap)
	var out []box
	for i := range n {
		row := i / columns
		left := centred(width, min(columns, n-row*columns), w, gap)
		out = append(out, box{left + i%columns*(w+gap), top + row*(h+gap), w, h})
	}
	return out
}

func rowsOf(n, columns int) int { return (n + columns - 1) / columns }

// cell is the even size of each of n in a row, with gaps between and around.
func cell(size, gap, n int) int { return (size - gap*(n+1)) / n &^ 1 }

// centred is where the first of n begins so that they are in the middle.
func centred(size, n, each, gap int) int { return (size - n*each - (n-1)*gap) / 2 &^ 1 }

// spotlight gives the one with the given index most of the canvas and the others a
// column at the right.
func spotlight(width, height, gap, n, index int) []box {
	if n == 1 {
		return grid(width, height, gap, 1)
	}
	small := cell(width, gap, 5)
	h := min(cell(height, gap, n-1), int(float64(small)/shape)&^1)
	top := centred(height, n-1, h, gap)
	var out []box
	for i := range n {
		if i == index {
			out = append(out, box{gap, gap, width - small - 3*gap, cell(height, gap, 1)})
			continue
		}
		out = append(out, box{width - small - gap, top, small, h})
		top += h + gap
	}
	return out
}
