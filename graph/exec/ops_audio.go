package exec

import "github.com/mmconv/mmconv/graph"

var _ = on(frameMask, strided(1))

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
