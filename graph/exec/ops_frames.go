package exec

import "github.com/mmconv/mmconv/graph"

var (
	_ = on(slidingWindows)
	_ = on(splitLike, aliasing(splitLikeAlias))
)

func slidingWindows(c *call, op graph.SlidingWindows) (func(), error) {
	x, dst := c.in[0], c.out.Data
	inner, length := x.Shape[2:].Len(), x.Shape[1]
	windows, width := c.out.Shape[1], op.Size*inner
	return overRows(c.pool(), x.Shape[0]*windows, width, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			start := r % windows * op.Stride
			n := max(min(op.Size, length-start), 0) * inner
			to := dst[r*width : (r+1)*width]
			copy(to[:n], x.Data[(r/windows*length+start)*inner:])
			clear(to[n:])
		}
	}), nil
}

func splitLikeAlias(_ *graph.Node, in view, out graph.Shape) (int, int, bool) {
	return 0, out.Last(), in.dense()
}

func splitLike(c *call, _ graph.SplitLike) (func(), error) {
	dst, src := c.out.Data, c.in[0].Data
	return func() { copy(dst, src) }, nil
}
