package imageproc

import (
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// cutCanvas is preprocess of transformers' Llama4ImageProcessorFast (models/llama4/image_processing_llama4_fast.py).
func cutCanvas(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	rows, columns := bestCanvas(m.Height, m.Width, t)
	height, width := rows*t.Size, columns*t.Size
	toHeight, toWidth := height, width
	if !t.ToCanvas { // not enlarged beyond one tile
		toHeight, toWidth = min(max(m.Height, t.Size), height), min(max(m.Width, t.Size), width)
	}
	sh, sw := float64(toHeight)/float64(m.Height), float64(toWidth)/float64(m.Width)
	if sw < sh {
		toHeight = min(int(math.Floor(float64(m.Height)*sw)), toHeight)
	} else {
		toWidth = min(int(math.Floor(float64(m.Width)*sh)), toWidth)
	}
	toHeight, toWidth = max(toHeight, 1), max(toWidth, 1)
	if err := checkSize(width, height, DefaultMaxPixels); err != nil {
		return nil, 0, 0, err
	}
	tiles := grid(m.Resize(toWidth, toHeight, t.Filter).crop(0, 0, width, height, nil), t.Size)
	if len(tiles) == 1 {
		return tiles, 0, 0, nil
	}
	return append(tiles, m.Resize(t.Size, t.Size, t.Filter)), rows, columns, nil
}

// bestCanvas is the grid of tiles that a picture is put on: of those that hold it enlarged, the one that enlarges it least (with
// ToCanvas: most), else the one that makes it least small; of several, the one of fewest tiles.
func bestCanvas(height, width int, t *pipeline.Tiling) (rows, columns int) {
	best := 0.0
	better := func(scale float64, tiles int) bool {
		switch {
		case rows == 0:
			return true
		case scale == best:
			return tiles < rows*columns
		case best >= 1 && scale >= 1:
			return scale < best != t.ToCanvas
		}
		return scale > best
	}
	for n := t.MaxTiles; n > 0; n-- {
		for r := 1; r <= n; r++ {
			if n%r != 0 {
				continue
			}
			c := n / r
			scale := math.Min(float64(float32(c*t.Size)/float32(width)), float64(float32(r*t.Size)/float32(height)))
			if better(scale, n) {
				rows, columns, best = r, c, scale
			}
		}
	}
	return rows, columns
}
