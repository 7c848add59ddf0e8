package imageproc

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// cutSplit is preprocess of transformers' Idefics3ImageProcessor (models/idefics3/image_processing_idefics3.py), which SmolVLM's
// repeats. Where there is one tile, the grid is 0 x 0.
func cutSplit(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	resize := func(width, height int) error {
		if err := checkSize(width, height, DefaultMaxPixels); err != nil {
			return fmt.Errorf("a picture of %d x %d pixels: %w", m.Width, m.Height, err)
		}
		m = m.Resize(width, height, t.Filter)
		return nil
	}
	if t.Longest > 0 {
		if err := resize(longestSize(m.Width, m.Height, t.Longest)); err != nil {
			return nil, 0, 0, err
		}
	}
	if t.MaxTiles != 1 {
		if err := resize(multipleSize(m.Width, m.Height, t.Size)); err != nil {
			return nil, 0, 0, err
		}
	}
	whole := m
	if m.Width != t.Size || m.Height != t.Size {
		whole = m.Resize(t.Size, t.Size, t.Filter)
	}
	rows, columns := m.Height/t.Size, m.Width/t.Size
	if t.MaxTiles == 1 || rows*columns == 1 {
		return []*RGB{whole}, 0, 0, nil
	}
	return append(grid(m, t.Size), whole), rows, columns, nil
}

// longestSize brings the long side to so many pixels; the short one is cut to an integer, and an odd one made even. No side is
// longer than 4096 pixels.
func longestSize(width, height, longest int) (w, h int) {
	const most = 4096
	ratio := float64(width) / float64(height)
	even := func(n int) int { return n + n%2 }
	if width >= height {
		w, h = longest, max(even(int(float64(longest)/ratio)), 1)
	} else {
		w, h = max(even(int(float64(longest)*ratio)), 1), longest
	}
	switch ratio := float64(w) / float64(h); {
	case w >= h && w > most:
		w, h = most, max(int(most/ratio), 1)
	case h > w && h > most:
		w, h = max(int(most*ratio), 1), most
	}
	return w, h
}

// multipleSize makes both sides multiples of so many pixels, the long one first.
func multipleSize(width, height, size int) (w, h int) {
	ratio := float64(width) / float64(height)
	up := func(n int) int { return int(math.Ceil(float64(n)/float64(size))) * size }
	if width >= height {
		w = up(width)
		return w, up(int(float64(w) / ratio))
	}
	h = up(height)
	return up(int(float64(h) * ratio)), h
}
