package exec

import (
	"math"

	"github.com/mmconv/mmconv/graph"
)

var (
	_ = on(frameMask, strided(1))
	_ = on(windows)
	_ = on(reflectPad)
	_ = on(decibel, inPlace)
	_ = on(tokenPositions)
)

func frameMask(c *call, op graph.FrameMask) (func(), error) {
	mask, dst := c.in[0], c.out.Data
	samples, frames := mask.Shape[1], c.out.Shape[1]
	return func() {
		for b := range mask.Shape[0] {
			count := 0
			for _, v := range mask.Data[b*samples : (b+1)*samples] {
				if v != 0 {
					count++
				}
			}
			valid := op.Frames(count)
			for t := range frames {
				dst[b*frames+t] = 0
				if t < valid {
					dst[b*frames+t] = 1
				}
			}
		}
	}, nil
}

// windows copies runs of tokens: a row of a window lies in one piece of the map's row, or in two where the shift has
// wrapped it around.
func windows(c *call, op graph.Windows) (func(), error) {
	src, dst := c.in[0].Data, c.out.Data
	channels := c.out.Shape.Last()
	across, size := op.W/op.Size, op.Size*channels
	rows := c.out.Shape[0] * c.out.Shape[1] / op.Size
	if op.Join {
		rows = c.in[0].Shape[0] * c.in[0].Shape[1] / op.Size
	}
	return overRows(c.pool(), rows, size, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			// Row r of the windows: row y of window (i, j) of sample b.
			y, window := r%op.Size, r/op.Size
			j, i, b := window%across, window/across%(op.H/op.Size), window/op.Count()
			mapRow := (i*op.Size + y + op.Shift) % op.H
			first := (j*op.Size + op.Shift) % op.W
			before := min(op.Size, op.W-first) * channels // what lies before the wrap
			base := (b*op.H + mapRow) * op.W * channels
			at := r * size
			if op.Join {
				copy(dst[base+first*channels:][:before], src[at:])
				copy(dst[base:][:size-before], src[at+before:])
			} else {
				copy(dst[at:][:before], src[base+first*channels:])
				copy(dst[at+before:][:size-before], src[base:])
			}
		}
	}), nil
}

func reflectPad(c *call, op graph.ReflectPad) (func(), error) {
	n, wide := c.in[0].Shape.Last(), c.out.Shape.Last()
	src, dst := c.in[0].Data, c.out.Data
	return overRows(c.pool(), c.out.Shape.Rows(), wide, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			from, to := src[r*n:(r+1)*n], dst[r*wide:(r+1)*wide]
			copy(to[op.Before:], from)
			for i := range op.Before {
				to[op.Before-1-i] = from[i+1]
			}
			for i := range op.After {
				to[op.Before+n+i] = from[n-2-i]
			}
		}
	}), nil
}

func decibel(c *call, op graph.Decibel) (func(), error) {
	return c.elements(func(dst, x []float32) {
		for i, v := range x {
			if !(v >= op.Floor) && v == v {
				v = op.Floor
			}
			dst[i] = float32(10 * math.Log10(float64(v)))
		}
	})
}

func tokenPositions(c *call, op graph.TokenPositions) (func(), error) {
	src, dst := c.in[0].Data, c.out.Data
	n := c.out.Shape.Last()
	pad := float32(op.Pad)
	return func() {
		for r := 0; r+n <= len(src) && n > 0; r += n {
			next := pad
			for i, id := range src[r : r+n] {
				dst[r+i] = pad
				if id != pad {
					next++
					dst[r+i] = next
				}
			}
		}
	}, nil
}
