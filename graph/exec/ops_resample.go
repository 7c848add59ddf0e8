package exec

import (
	"fmt"
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(resizeLike)
	_ = on(sizeMask)
	_ = on(sineGrid)
	_ = on(patchMask)
	_ = on(fractionalPositions)
	_ = on(regionAlign)
)

func resizeLike(c *call, op graph.ResizeLike) (func(), error) {
	filter, ok := filters[op.Mode]
	if !ok {
		return nil, fmt.Errorf("resize: mode %q is not known", op.Mode)
	}
	s, out := c.in[0].Shape, c.out.Shape
	r := &kernels.Resize{Batch: s[0], Height: s[1], Width: s[2], Channels: s[3], OutHeight: out[1], OutWidth: out[2], Filter: filter, Antialias: op.Antialias}
	dst, x := c.out.Data, c.in[0].Data
	return func() { r.Run(dst, x) }, nil
}

// sizeOf returns the rows and columns of sample i of sizes [B, 2], at most tokens of them in all.
func sizeOf(sizes []float32, i, tokens int) (rows, columns int) {
	clamp := func(v float32) int {
		if !(v > 0) {
			return 0
		}
		return int(min(v, float32(tokens)))
	}
	rows, columns = clamp(sizes[2*i]), clamp(sizes[2*i+1])
	if columns > 0 && rows > tokens/columns {
		rows = tokens / columns
	}
	return rows, columns
}

func sizeMask(c *call, _ graph.SizeMask) (func(), error) {
	sizes, dst, n := c.in[0].Data, c.out.Data, c.out.Shape[1]
	return func() {
		clear(dst)
		for i := range c.out.Shape[0] {
			rows, columns := sizeOf(sizes, i, n)
			fill(dst[i*n:][:rows*columns], 1)
		}
	}, nil
}

func sineGrid(c *call, op graph.SineGrid) (func(), error) {
	sizes, dst, n := c.in[0].Data, c.out.Data, c.out.Shape[1]
	quarter := op.Dim / 4
	omega := make([]float32, quarter)
	for i := range omega {
		exponent := float32(i) / float32(quarter)
		omega[i] = 1 / float32(math.Pow(10000, float64(exponent)))
	}
	waves := func(out []float32, place int) {
		for i, w := range omega {
			sin, cos := math.Sincos(float64(float32(place) * w))
			out[i], out[quarter+i] = float32(sin), float32(cos)
		}
	}
	return overRows(c.pool(), c.out.Shape.Rows(), 40*op.Dim, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			rows, columns := sizeOf(sizes, r/n, n)
			row := dst[r*op.Dim : (r+1)*op.Dim]
			if t := r % n; t < rows*columns {
				waves(row[:2*quarter], t%columns)
				waves(row[2*quarter:], t/columns)
			} else {
				clear(row)
			}
		}
	}), nil
}

func patchMask(c *call, op graph.PatchMask) (func(), error) {
	in, out := c.in[0], c.out
	height, width := in.Shape[1], in.Shape[2]
	rows, columns := out.Shape[1], out.Shape[2]
	return overRows(c.pool(), out.Shape[0]*rows, width*op.Size, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			row := out.Data[r*columns : (r+1)*columns]
			clear(row)
			for y := range op.Size {
				line := in.Data[(r/rows*height+r%rows*op.Size+y)*width:][:columns*op.Size]
				for x, v := range line {
					if v != 0 {
						row[x/op.Size] = 1
					}
				}
			}
		}
	}), nil
}

func fractionalPositions(c *call, op graph.FractionalPositions) (func(), error) {
	mask, dst := c.in[0], c.out.Data
	height, width := mask.Shape[1], mask.Shape[2]
	// The originals' arithmetic, in float64 rounded to float32: it decides where a fraction meets a boundary.
	step := 1 / float64(op.Side)
	boundaries := make([]float32, 0, op.Side)
	for k := range int(math.Ceil((1 - step) / step)) {
		boundaries = append(boundaries, float32(step+float64(k)*step))
	}
	bucket := func(i, n int) int {
		at := min(float32(i)*(1/float32(n)), 1-1e-6)
		b := 0
		for b < len(boundaries) && boundaries[b] <= at {
			b++
		}
		return min(b, op.Side-1)
	}
	return func() {
		for b := range mask.Shape[0] {
			m, out := mask.Data[b*height*width:][:height*width], dst[b*height*width:][:height*width]
			clear(out)
			rows, columns := 0, 0
			if len(c.in) == 2 {
				rows, columns = sizeOf(c.in[1].Data, b, height*width)
			} else {
				for y := range height {
					rows += int(m[y*width])
				}
				for x := range width {
					columns += int(m[x])
				}
			}
			// The picture's patches, in their order, have the places that the mask shows.
			next := 0
			for i, v := range m {
				if v == 0 || columns == 0 {
					continue
				}
				out[i] = float32(bucket(next/columns, rows)*op.Side + bucket(next%columns, columns))
				next++
			}
		}
	}, nil
}

func regionAlign(c *call, op graph.RegionAlign) (func(), error) {
	s, side := c.in[0].Shape, op.Side
	height, width, channels := s[1], s[2], s[3]
	rows, columns := op.Places(height, width)
	x, dst := c.in[0].Data, c.out.Data
	// The original computes the regions' sides in float64 and rounds them.
	tall := math.Sqrt(float64(height*width) / float64(side*side) / (float64(width) / float64(height)))
	along := func(i, n, size int, extent float64) axisSamples {
		from := float32(float64(i) * extent)
		return sampleAxis(from, float32(float64(i)*extent+extent)-from, n, size)
	}
	var down, across []axisSamples
	for i := range side {
		down = append(down, along(i, rows, height, tall))
		across = append(across, along(i, columns, width, tall*(float64(width)/float64(height))))
	}
	return overRows(c.pool(), s[0]*side*side, rows*columns*channels*16, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			picture := x[r/(side*side)*height*width*channels:]
			v, h := down[r/side%side], across[r%side]
			for place := range rows * columns {
				out := dst[(r*rows*columns+place)*channels:][:channels]
				clear(out)
				ys, xs := v.bins[place/columns], h.bins[place%columns]
				scale := 1 / float32(len(ys)*len(xs))
				for _, y := range ys {
					for _, x := range xs {
						for _, p := range y {
							for _, q := range x {
								if w := p.weight * q.weight * scale; w != 0 {
									kernels.AddScaled(out, picture[(p.at*width+q.at)*channels:], w)
								}
							}
						}
					}
				}
			}
		}
	}), nil
}

// axisSamples are the places of one axis that the bins of a region are read at, each between two cells.
type axisSamples struct {
	bins [][][2]sample
}

type sample struct {
	at     int
	weight float32
}

// sampleAxis divides a region into n bins and each bin into as many samples as it is long, rounded up.
func sampleAxis(from, length float32, n, size int) axisSamples {
	length = max(length, 1)
	bin := length / float32(n)
	count := int(math.Ceil(float64(length / float32(n))))
	var a axisSamples
	for i := range n {
		var places [][2]sample
		for k := range count {
			at := from + float32(i)*bin + (float32(k)+0.5)*bin/float32(count)
			if at < -1 || at > float32(size) {
				places = append(places, [2]sample{})
				continue
			}
			at = max(at, 0)
			low := int(at)
			if low >= size-1 {
				places = append(places, [2]sample{{size - 1, 1}})
				continue
			}
			f := at - float32(low)
			places = append(places, [2]sample{{low, 1 - f}, {low + 1, f}})
		}
		a.bins = append(a.bins, places)
	}
	return a
}
