package exec

import (
	"math"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(gridMask)
	_ = on(sinePositions)
	_ = on(gridPositions)
	_ = on(shownFirst)
	_ = on(embeddingMean)
	_ = on(selectEach)
	_ = on(joinRows, aliasing(func(_ *graph.Node, in view, out graph.Shape) (int, int, bool) { return 0, out.Last(), in.dense() }))
)

func gridMask(c *call, op graph.GridMask) (func(), error) {
	mask, dst := c.in[0], c.out.Data
	h, w := mask.Shape[1], mask.Shape[2]
	rows, cols := c.out.Shape[1], c.out.Shape[2]
	width := w
	if op.Square {
		width = h
	}
	return func() {
		for i := range dst {
			b, y, x := i/(rows*cols), i/cols%rows*h/rows, i%cols*width/cols
			dst[i] = 0
			if x < w {
				dst[i] = mask.Data[(b*h+y)*w+x]
			}
		}
	}, nil
}

func sinePositions(c *call, op graph.SinePositions) (func(), error) {
	mask, dst := c.in[0].Data, c.out.Data
	h, w, half := c.out.Shape[1], c.out.Shape[2], op.Dim/2
	wavelength := make([]float64, half)
	for i := range wavelength {
		wavelength[i] = math.Pow(10000, 2*float64(i/2)/float64(half))
	}
	encode := func(out []float32, count, last float64) {
		angle := count / (last + op.Eps) * 2 * math.Pi
		for i, l := range wavelength {
			if i%2 == 0 {
				out[i] = float32(math.Sin(angle / l))
			} else {
				out[i] = float32(math.Cos(angle / l))
			}
		}
	}
	return overRows(c.pool(), c.out.Shape[0], h*w*op.Dim, func(b0, b1 int) {
		across, down := make([]float64, h), make([]float64, w) // the last counts of each row and column
		for b := b0; b < b1; b++ {
			m := mask[b*h*w:][:h*w]
			clear(across)
			clear(down)
			for i, v := range m {
				across[i/w] += float64(v)
				down[i%w] += float64(v)
			}
			above := make([]float64, w)
			for y := range h {
				before := 0.0
				for x := range w {
					v := float64(m[y*w+x])
					above[x] += v
					before += v
					out := dst[((b*h+y)*w+x)*op.Dim:][:op.Dim]
					encode(out[:half], above[x], down[x])
					encode(out[half:], before, across[y])
				}
			}
		}
	}), nil
}

func gridPositions(c *call, op graph.GridPositions) (func(), error) {
	table, mask, dst := c.in[0].Data, c.in[1], c.out.Data
	h, w, d := mask.Shape[1], mask.Shape[2], c.out.Shape[2]
	return overRows(c.pool(), mask.Shape[0], h*w*d, func(b0, b1 int) {
		for b := b0; b < b1; b++ {
			m := mask.Data[b*h*w:][:h*w]
			r := kernels.Resize{Batch: 1, Height: op.Rows, Width: op.Columns, Channels: d, Filter: kernels.Bilinear, AlignCorners: true}
			for y := range h {
				if m[y*w] != 0 {
					r.OutHeight++
				}
			}
			for x := range w {
				if m[x] != 0 {
					r.OutWidth++
				}
			}
			out := dst[b*h*w*d:][:h*w*d]
			clear(out)
			if r.OutHeight == op.Rows && r.OutWidth == op.Columns && w == r.OutWidth {
				copy(out, table)
				continue
			}
			small := make([]float32, r.OutHeight*r.OutWidth*d)
			r.Run(small, table)
			for y := range r.OutHeight {
				copy(out[y*w*d:], small[y*r.OutWidth*d:][:r.OutWidth*d])
			}
		}
	}), nil
}

func shownFirst(c *call, _ graph.ShownFirst) (func(), error) {
	src, mask, dst := c.in[0].Data, c.in[1].Data, c.out.Data
	batch, tokens, kept := c.out.Shape[0], c.in[0].Shape[1], c.out.Shape[1]
	size := c.out.Shape[2:].Len()
	return overRows(c.pool(), batch, tokens*size, func(b0, b1 int) {
		for b := b0; b < b1; b++ {
			to := dst[b*kept*size:][:kept*size]
			for _, shown := range []bool{true, false} {
				for s := 0; s < tokens && len(to) > 0; s++ {
					if (mask[b*tokens+s] != 0) == shown {
						copy(to[:size], src[(b*tokens+s)*size:])
						to = to[size:]
					}
				}
			}
		}
	}), nil
}

func embeddingMean(c *call, _ graph.EmbeddingMean) (func(), error) {
	table, err := c.floats(0)
	if err != nil {
		return nil, err
	}
	ids, dst := c.in[0].Data, c.out.Data
	d, n := c.out.Shape.Last(), c.in[0].Shape.Last()
	vocabulary := len(table) / max(d, 1)
	return overRows(c.pool(), c.out.Shape.Rows(), n*d, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			out := dst[r*d:][:d]
			clear(out)
			count := 0
			for _, id := range ids[r*n:][:n] {
				if id >= 0 {
					kernels.AddScaled(out, table[min(int(id), vocabulary-1)*d:], 1)
					count++
				}
			}
			kernels.Scale(out, out, 1/float32(max(count, 1)))
		}
	}), nil
}

func selectEach(c *call, _ graph.SelectEach) (func(), error) {
	src, index, dst := c.in[0].Data, c.in[1].Data, c.out.Data
	tokens, each, d := c.in[0].Shape[1], c.out.Shape[1], c.out.Shape[2]
	return func() {
		for i, at := range index {
			copy(dst[i*d:][:d], src[(i/each*tokens+min(max(int(at), 0), tokens-1))*d:])
		}
	}, nil
}

func joinRows(c *call, _ graph.JoinRows) (func(), error) {
	dst, src := c.out.Data, c.in[0].Data
	return func() { copy(dst, src) }, nil
}
