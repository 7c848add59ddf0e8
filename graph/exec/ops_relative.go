package exec

import "github.com/mmconv/mmconv/graph"

var _ = on(relativePositions, strided(0, 1))

func relativePositions(c *call, op graph.RelativePositions) (func(), error) {
	dst, n := c.out.Data, c.out.Shape[1]
	rows := make([]float32, c.out.Shape[0]+n) // by distance, counted from the farthest behind
	for i := range rows {
		rows[i] = float32(op.Row(i - c.out.Shape[0] + 1))
	}
	return func() {
		for i := range c.out.Shape[0] {
			copy(dst[i*n:(i+1)*n], rows[c.out.Shape[0]-1-i:])
		}
	}, nil
}
