package exec

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(squareGrid, aliasing(squareGridAlias))
	_ = on(gather, strided(0))
)

func squareGridAlias(_ *graph.Node, in view, out graph.Shape) (int, int, bool) {
	return 0, out.Last(), in.dense()
}

func squareGrid(c *call, _ graph.SquareGrid) (func(), error) {
	dst, src := c.out.Data, c.in[0].Data
	return func() { copy(dst, src) }, nil
}

func gather(c *call, _ graph.Gather) (func(), error) {
	rows, index, weight := c.in[0], c.in[1].Data, c.in[2].Data
	n, width, terms := rows.Shape.Rows(), rows.Shape.Last(), c.in[1].Shape[1]
	dst := c.out.Data
	return overRows(c.pool(), c.out.Shape[0], terms*width, func(t0, t1 int) {
		for t := t0; t < t1; t++ {
			out := dst[t*width:][:width]
			clear(out)
			for k := t * terms; k < (t+1)*terms; k++ {
				if weight[k] != 0 {
					at := min(max(int(index[k]), 0), n-1)
					kernels.AddScaled(out, rows.Data[at*rows.LD:], weight[k])
				}
			}
		}
	}), nil
}
