package imageproc

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// cut returns the tiles of a picture, and the grid that the tiles which are parts of it form.
func cut(m *RGB, t *pipeline.Tiling) (tiles []*RGB, rows, columns int, err error) {
	switch t.Kind {
	case pipeline.TileAnyRes:
		return cutAnyRes(m, t)
	case pipeline.TileDynamic, pipeline.TileCover:
		return cutDynamic(m, t)
	case pipeline.TilePanScan:
		return cutPanScan(m, t)
	case pipeline.TileSlices:
		return cutSlices(m, t)
	case pipeline.TileSplit:
		return cutSplit(m, t)
	case pipeline.TileCanvas:
		return cutCanvas(m, t)
	case pipeline.TileQuarters:
		w, h := m.Width/2, m.Height/2
		if w == 0 || h == 0 {
			return nil, 0, 0, fmt.Errorf("a picture of %d x %d pixels cannot be cut into quarters", m.Width, m.Height)
		}
		tiles = []*RGB{
			m.crop(0, 0, w, h, nil), m.crop(w, 0, m.Width-w, h, nil),
			m.crop(0, h, w, m.Height-h, nil), m.crop(w, h, m.Width-w, m.Height-h, nil), m,
		}
		return tiles, 2, 2, nil
	}
	panic("imageproc: unknown tiling: " + string(t.Kind)) // Process has called Check
}

// cutAnyRes is process_anyres_image of haotian-liu/LLaVA, which transformers' LlavaNextImageProcessor repeats.
func cutAnyRes(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	height, width := BestResolution(t.Pinpoints, m.Height, m.Width)
	h, w := InnerSize(m.Height, m.Width, height, width)
	if h < 1 || w < 1 {
		return nil, 0, 0, fmt.Errorf("a picture of %d x %d pixels does not fit into %d x %d", m.Width, m.Height, width, height)
	}
	inner := m.Resize(w, h, t.Filter).crop(-((width - w) / 2), -((height - h) / 2), width, height, nil)
	tiles := append([]*RGB{m.Resize(t.BaseWidth, t.BaseHeight, t.Filter)}, grid(inner, t.Size)...)
	return tiles, height / t.Size, width / t.Size, nil
}

// TileGrid returns the grid of tiles that a picture of that size is cut into, 0 x 0 where p does not cut pictures by their
// size alone.
func TileGrid(p *pipeline.Image, height, width int) (rows, columns int) {
	if p == nil || p.Tiling == nil || p.Check() != nil || min(height, width) < 1 {
		return 0, 0
	}
	t := p.Tiling
	switch t.Kind {
	case pipeline.TileAnyRes:
		h, w := BestResolution(t.Pinpoints, height, width)
		return h / t.Size, w / t.Size
	case pipeline.TileDynamic, pipeline.TileCover:
		return dynamicGrid(t, height, width)
	}
	return 0, 0
}

// BestResolution is LLaVA-NeXT's select_best_resolution: of the resolutions (height, width), the one in which most of the
// picture's pixels survive, and among those the one that wastes least. Where none keeps a pixel, the first one is taken.
func BestResolution(resolutions [][2]int, height, width int) (h, w int) {
	best := resolutions[0]
	most, least := 0, math.MaxInt
	for _, r := range resolutions {
		scale := min(float64(r[1])/float64(width), float64(r[0])/float64(height))
		kept := min(int(float64(float64(width)*scale))*int(float64(float64(height)*scale)), width*height)
		wasted := r[0]*r[1] - kept
		if kept > most || kept == most && wasted < least {
			most, least, best = kept, wasted, r
		}
	}
	return best[0], best[1]
}

// InnerSize is the size that a picture takes inside of the resolution chosen for it: the ratio kept, the short side rounded
// up (resize_and_pad_image of LLaVA, get_patch_output_size of transformers).
func InnerSize(height, width, intoHeight, intoWidth int) (h, w int) {
	sw, sh := float64(intoWidth)/float64(width), float64(intoHeight)/float64(height)
	if sw < sh {
		return min(int(math.Ceil(float64(float64(height)*sw))), intoHeight), intoWidth
	}
	return intoHeight, min(int(math.Ceil(float64(float64(width)*sh))), intoWidth)
}

// cutDynamic is dynamic_preprocess of InternVL 1.5.
func cutDynamic(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	rows, columns := dynamicGrid(t, m.Height, m.Width)
	tiles := grid(m.Resize(columns*t.Size, rows*t.Size, t.Filter), t.Size)
	if t.Thumbnail && len(tiles) > 1 {
		tiles = append(tiles, m.Resize(t.Size, t.Size, t.Filter))
	}
	return tiles, rows, columns, nil
}

// dynamicGrid chooses among all grids of MinTiles to MaxTiles tiles, smaller ones first, the one whose ratio is nearest to
// the picture's; of equally near ones a larger one only if the picture fills more than half of it.
func dynamicGrid(t *pipeline.Tiling, height, width int) (rows, columns int) {
	if t.Kind == pipeline.TileCover {
		return coverGrid(t, height, width)
	}
	ratio, area := float64(width)/float64(height), float64(width*height)
	rows, columns = 1, 1
	nearest := math.Inf(1)
	for n := t.MinTiles; n <= t.MaxTiles; n++ {
		for c := 1; c <= n; c++ {
			if n%c != 0 {
				continue
			}
			r := n / c
			d := math.Abs(ratio - float64(c)/float64(r))
			if d < nearest || d == nearest && area > 0.5*float64(t.Size*t.Size*n) {
				nearest, rows, columns = d, r, c
			}
		}
	}
	return rows, columns
}

// cutSlices is slice_image of MiniCPM-V (modeling_minicpmv.py), which is LLaVA-UHD's. Without slices the grid is 0 x 0.
func cutSlices(m *RGB, t *pipeline.Tiling) ([]*RGB, int, int, error) {
	w, h := float64(m.Width), float64(m.Height)
	wanted := min(int(math.Ceil(min(w*h/float64(t.Size*t.Size), 1<<20))), t.MaxTiles)
	whole, wholeHeight := sliceSize(t, w, h, wanted <= 1)
	if err := checkSize(whole, wholeHeight, DefaultMaxPixels); err != nil {
		return nil, 0, 0, err
	}
	tiles := []*RGB{m.Resize(whole, wholeHeight, t.Filter)}
	if wanted <= 1 {
		return tiles, 0, 0, nil
	}
	columns, rows := 1, 1
	nearest := math.Inf(1)
	for n := wanted - 1; n <= wanted+1; n++ {
		if n == 1 || n > t.MaxTiles {
			continue
		}
		for c := 1; c <= n; c++ {
			if n%c != 0 {
				continue
			}
			if d := math.Abs(math.Log(w/h) - math.Log(float64(c)/float64(n/c))); d < nearest {
				nearest, columns, rows = d, c, n/c
			}
		}
	}
	sw, sh := sliceSize(t, float64(roundTo(w, columns))/float64(columns), float64(roundTo(h, rows))/float64(rows), true)
	if err := checkSize(sw*columns, sh*rows, DefaultMaxPixels); err != nil {
		return nil, 0, 0, err
	}
	inner := m.Resize(sw*columns, sh*rows, t.Filter)
	for y := range rows {
		for x := range columns {
			tiles = append(tiles, inner.crop(x*sw, y*sh, sw, sh, nil))
		}
	}
	return tiles, rows, columns, nil
}

// sliceSize is find_best_resize: Size x Size pixels in all with the ratio of w x h, which smaller pictures have only with
// enlarge, and both sides multiples of Patch.
func sliceSize(t *pipeline.Tiling, w, h float64, enlarge bool) (width, height int) {
	if size := float64(t.Size); w*h > size*size || enlarge {
		ratio := w / h
		h = math.Trunc(size / math.Sqrt(ratio))
		w = math.Trunc(h * ratio)
	}
	return roundTo(w, t.Patch), roundTo(h, t.Patch)
}

// roundTo rounds to the nearest multiple of n, at least n.
func roundTo(x float64, n int) int {
	return max(int(math.RoundToEven(x/float64(n)))*n, n)
}

// grid cuts a picture whose sides are multiples of size into squares, row by row.
func grid(m *RGB, size int) (tiles []*RGB) {
	for y := 0; y < m.Height; y += size {
		for x := 0; x < m.Width; x += size {
			tiles = append(tiles, m.crop(x, y, size, size, nil))
		}
	}
	return tiles
}
