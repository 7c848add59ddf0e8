package imageproc

import (
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// cutPanScan is Gemma 3's pan and scan: the whole picture, then as many crops of its long side as its ratio says.
func cutPanScan(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	tiles := []*RGB{m}
	long, short := m.Width, m.Height
	wide := long >= short
	if !wide {
		long, short = short, long
	}
	if float64(long)/float64(short) < t.MinRatio {
		return tiles, 0, 0, nil
	}
	n := min(int(float64(long)/float64(short)+0.5), long/t.Size)
	n = min(max(n, 2), t.MaxTiles)
	step := (long + n - 1) / n
	if min(step, short) < t.Size {
		return tiles, 0, 0, nil
	}
	for i := range n {
		at := i * step
		length := min(step, long-at)
		if length < 1 {
			break
		}
		if wide {
			tiles = append(tiles, m.crop(at, 0, length, m.Height, nil))
		} else {
			tiles = append(tiles, m.crop(0, at, m.Width, length, nil))
		}
	}
	if wide {
		return tiles, 1, n, nil
	}
	return tiles, n, 1, nil
}

// coverGrid is get_optimal_tiled_canvas of Cohere 2 Vision: of all grids of at most MaxTiles tiles the one that enlarges the picture
// least; where all make it smaller, the one that does so least.
func coverGrid(t *pipeline.Tiling, height, width int) (rows, columns int) {
	rows, columns = 1, 1
	least, most := math.Inf(1), 0.0
	grown := false
	for n := 1; n <= t.MaxTiles; n++ {
		for c := 1; c <= n; c++ {
			if n%c != 0 {
				continue
			}
			r := n / c
			scale := min(float64(c*t.Size)/float64(width), float64(r*t.Size)/float64(height))
			switch {
			case scale >= 1 && scale < least:
				least, grown, rows, columns = scale, true, r, c
			case scale < 1 && !grown && scale > most:
				most, rows, columns = scale, r, c
			}
		}
	}
	return rows, columns
}
