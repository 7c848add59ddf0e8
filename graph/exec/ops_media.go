package exec

import (
	"math"

	"github.com/mmconv/mmconv/graph"
)

var (
	_ = on(equals, inPlace)
	_ = on(mediaBias)
	_ = on(mediaSeen)
)

func equals(c *call, op graph.Equals) (func(), error) {
	return c.elements(func(dst, x []float32) {
		for i, v := range x {
			dst[i] = 0
			if v == op.Value {
				dst[i] = 1
			}
		}
	})
}

// mediaTimes calls f with the number of pictures that each token of a text stands behind.
func mediaTimes(marks []float32, length, texts, tokens int, cached bool, f func(row, pictures int)) {
	for b := range texts {
		line := marks[b*length : (b+1)*length]
		seen := 0
		if cached {
			for _, m := range line {
				seen += mark(m)
			}
		}
		for t := range tokens {
			if !cached {
				seen += mark(line[t])
			}
			f(b*tokens+t, seen)
		}
	}
}

func mark(m float32) int {
	if m != 0 {
		return 1
	}
	return 0
}

func mediaBias(c *call, op graph.MediaBias) (func(), error) {
	marks, media, dst := c.in[0], c.in[2].Shape, c.out.Data
	texts, tokens, each := c.out.Shape[0], c.out.Shape[2], media[2]
	return func() {
		mediaTimes(marks.Data, marks.Shape[1], texts, tokens, op.Cached, func(row, pictures int) {
			to := dst[row*media[1]*each:][:media[1]*each]
			fill(to, -math.MaxFloat32)
			last := min(pictures, media[1])
			first := last - 1
			if op.Previous {
				first = 0
			} else if pictures > media[1] {
				return // its picture is not there
			}
			if last > 0 {
				fill(to[first*each:last*each], 0)
			}
		})
	}, nil
}

func mediaSeen(c *call, op graph.MediaSeen) (func(), error) {
	marks, dst := c.in[0], c.out.Data
	return func() {
		mediaTimes(marks.Data, marks.Shape[1], c.out.Shape[0], c.out.Shape[1], op.Cached, func(row, pictures int) {
			dst[row] = float32(min(pictures, 1))
		})
	}, nil
}
