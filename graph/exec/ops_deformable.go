package exec

import (
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var _ = on(deformableAttention, strided(0))

func deformableAttention(c *call, op graph.DeformableAttention) (func(), error) {
	value, reference, offsets, weights := c.in[0], c.in[1].Data, c.in[2].Data, c.in[3].Data
	queries, width := c.out.Shape[1], c.out.Shape[2]/op.Heads
	points := len(op.Levels) * op.Points
	places, shared := value.Shape[1], c.in[1].Shape[0] == 1
	dst := c.out.Data
	// A row is a head of a query.
	row := func(r int) {
		out := dst[r*width:][:width]
		clear(out)
		head, q := r%op.Heads, r/op.Heads
		sample := q / queries
		at := 2 * q
		if shared {
			at = 2 * (q % queries)
		}
		x, y := float64(reference[at]), float64(reference[at+1])
		first := sample * places
		for l, size := range op.Levels {
			for p := range op.Points {
				i := r*points + l*op.Points + p
				px := x*float64(size[1]) + float64(offsets[2*i]) - 0.5
				py := y*float64(size[0]) + float64(offsets[2*i+1]) - 0.5
				// Far outside, and for NaN, nothing is read; this also keeps the conversion to int in range.
				if !(px > -1 && px < float64(size[1]) && py > -1 && py < float64(size[0])) {
					continue
				}
				x0, y0 := int(math.Floor(px)), int(math.Floor(py))
				fx, fy := float32(px-float64(x0)), float32(py-float64(y0))
				for dy, wy := range [2]float32{1 - fy, fy} {
					for dx, wx := range [2]float32{1 - fx, fx} {
						if ix, iy := x0+dx, y0+dy; ix >= 0 && ix < size[1] && iy >= 0 && iy < size[0] {
							kernels.AddScaled(out, value.Data[(first+iy*size[1]+ix)*value.LD+head*width:], wx*wy*weights[i])
						}
					}
				}
			}
			first += size[0] * size[1]
		}
	}
	return overRows(c.pool(), c.out.Shape[0]*queries*op.Heads, 4*points*width, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			row(r)
		}
	}), nil
}
