package exec_test

import (
	"testing"

	"github.com/mmconv/mmconv/graph"
)

// Against the definition: every place of every map counts with the product of two triangles about the point.
func TestDeformableAttention(t *testing.T) {
	for _, o := range []graph.DeformableAttention{
		{Heads: 1, Points: 1, Levels: [][2]int{{1, 1}}},
		{Heads: 3, Points: 4, Levels: [][2]int{{5, 5}}},
		{Heads: 2, Points: 3, Levels: [][2]int{{5, 7}, {3, 2}, {1, 4}}},
	} {
		const batch, queries, width = 2, 7, 5
		places := 0
		for _, l := range o.Levels {
			places += l[0] * l[1]
		}
		points := len(o.Levels) * o.Points
		value := random(batch, places, o.Heads*width)
		offsets := random(batch, queries, o.Heads*points*2)
		weights := random(batch, queries, o.Heads, points)
		for _, references := range []int{1, batch} {
			reference := random(references, queries, 2)
			got := run1(t, o, value, reference, offsets, weights)
			triangle := func(at float64, i int) float64 { return max(0, 1-max(at-float64(i), float64(i)-at)) }
			check(t, "deformable attention", got, graph.Shape{batch, queries, o.Heads * width}, func(i []int) float64 {
				b, q, head, c := i[0], i[1], i[2]/width, i[2]
				sum, first := 0.0, 0
				for l, size := range o.Levels {
					for p := range o.Points {
						k := (head*len(o.Levels)+l)*o.Points + p
						x := at(reference, b, q, 0)*float64(size[1]) + at(offsets, b, q, 2*k) - 0.5
						y := at(reference, b, q, 1)*float64(size[0]) + at(offsets, b, q, 2*k+1) - 0.5
						for iy := range size[0] {
							for ix := range size[1] {
								sum += triangle(x, ix) * triangle(y, iy) * at(weights, b, q, head, l*o.Points+p) *
									at(value, b, first+iy*size[1]+ix, c)
							}
						}
					}
					first += size[0] * size[1]
				}
				return sum
			})
		}
	}
}
