package imageproc

import (
	"fmt"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// Tensor is a float array in row-major order. Its layout is the pipeline's (see pipeline.ImageLayout).
type Tensor struct {
	Shape []int
	Data  []float32
	// Mask is 1 where a pixel belongs to a picture and 0 where it is padding, with the shape MaskShape; nil for layouts
	// without a mask.
	Mask      []int64
	MaskShape []int
}

// PixelValues returns the normalised tensor, equal to the original processor's.
func (b *Batch) PixelValues() (*Tensor, error) {
	n := b.Pipeline.Normalize
	return b.tensor(normalizer(n), func(c int, x float32) float32 { return normalized(n, c, float64(x)) }, [3]float32{})
}

// Pixels returns the bytes as floats 0 to 255, for graphs that normalise themselves. Padding has the values that
// normalisation takes to zero.
func (b *Batch) Pixels() (*Tensor, error) {
	var table [3][256]float32
	var pad [3]float32
	n := b.Pipeline.Normalize
	for c := range 3 {
		for v := range 256 {
			table[c][v] = float32(v)
		}
		if n.Mean != nil {
			pad[c] = float32(n.Mean[c] / n.Scale())
		}
	}
	return b.tensor(&table, func(_ int, x float32) float32 { return x }, pad)
}

// normalizer tabulates what becomes of each byte, in the original's order of operations: transformers multiplies in float64
// and goes on in float32, torchvision divides in float32.
func normalizer(n pipeline.Normalize) *[3][256]float32 {
	var table [3][256]float32
	for c := range 3 {
		for v := range 256 {
			table[c][v] = normalized(n, c, float64(v))
		}
	}
	return &table
}

// normalized is what becomes of a value v of channel c.
func normalized(n pipeline.Normalize, c int, v float64) float32 {
	x := float32(v)
	switch {
	case n.ToTensor:
		x /= 255
	case n.Factor != 0:
		x = float32(v * n.Factor)
	}
	if n.Mean != nil {
		x = (x - float32(n.Mean[c])) / float32(n.Std[c])
	}
	return x
}

// maxFloats bounds a tensor: 4 GB.
const maxFloats = 1 << 30

// tensor lays the tiles out as slots of height x width pixels: slot i holds tile order[i], or padding where it is nil.
// table holds what becomes of bytes, of is that for values that are not rounded to bytes.
func (b *Batch) tensor(table *[3][256]float32, of func(c int, x float32) float32, pad [3]float32) (*Tensor, error) {
	order, outer, masked := b.slots()
	height, width := 0, 0
	var first *RGB
	for _, m := range order {
		if m == nil {
			continue
		}
		if first == nil {
			first = m
		}
		if !masked && (m.Height != first.Height || m.Width != first.Width) {
			return nil, fmt.Errorf("pictures of %d x %d and %d x %d pixels cannot be put into one tensor: run them one by one",
				first.Width, first.Height, m.Width, m.Height)
		}
		height, width = max(height, m.Height), max(width, m.Width)
	}
	size := height * width
	if size != 0 && len(order) > maxFloats/3/size {
		return nil, fmt.Errorf("%w: %d tiles of %d x %d pixels make a tensor of more than 4 GB", ErrTooLarge, len(order), width, height)
	}
	t := &Tensor{Shape: append(outer, 3, height, width), Data: make([]float32, 3*size*len(order))}
	if masked {
		t.Mask, t.MaskShape = make([]int64, size*len(order)), append(append([]int(nil), outer...), height, width)
	}
	for i, m := range order {
		dst := t.Data[3*size*i:][:3*size]
		if pad != [3]float32{} && (m == nil || m.Height < height || m.Width < width) {
			for c, v := range pad {
				plane := dst[c*size:][:size]
				for j := range plane {
					plane[j] = v
				}
			}
		}
		if m == nil {
			continue
		}
		for y := range m.Height {
			row := m.Pix[3*y*m.Width:][:3*m.Width]
			for c := range 3 {
				values, out := &table[c], dst[c*size+y*width:][:m.Width]
				if m.Unrounded != nil {
					exact := m.Unrounded[3*y*m.Width:][:3*m.Width]
					for x := range out {
						out[x] = of(c, exact[3*x+c])
					}
					continue
				}
				for x := range out {
					out[x] = values[row[3*x+c]]
				}
			}
			if masked {
				mask := t.Mask[size*i+y*width:][:m.Width]
				for x := range mask {
					mask[x] = 1
				}
			}
		}
	}
	return t, nil
}

// slots returns the tiles in the order of the layout, its outer dimensions, and whether it has a mask.
func (b *Batch) slots() (order []*RGB, outer []int, masked bool) {
	var groups [][]*RGB // one for each row of the first dimension
	switch b.Pipeline.Layout {
	case pipeline.LayoutImageTiles:
		for _, m := range b.Images {
			groups = append(groups, m.Tiles)
		}
	case pipeline.LayoutSampleImages:
		masked = true
		at := 0
		for _, n := range b.Samples {
			var tiles []*RGB
			for _, m := range b.Images[at : at+n] {
				tiles = append(tiles, m.Tiles...)
			}
			groups = append(groups, tiles)
			at += n
		}
	default:
		for _, m := range b.Images {
			order = append(order, m.Tiles...)
		}
		return order, []int{len(order)}, b.Pipeline.Layout == pipeline.LayoutMasked || b.Pipeline.Layout == pipeline.LayoutSized
	}
	most := 0
	for _, g := range groups {
		most = max(most, len(g))
	}
	for _, g := range groups {
		order = append(order, g...)
		order = append(order, make([]*RGB, most-len(g))...)
	}
	return order, []int{len(groups), most}, masked
}
