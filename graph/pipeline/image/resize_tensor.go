package imageproc

import (
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// filterTaps are the taps of n outputs from the output from on.
func filterTaps(in, out, from, n int, filter pipeline.Filter) taps {
	if filter == pipeline.BicubicTensor {
		k := kernels[pipeline.Bicubic]
		return roundedTaps(in, out, from, from+n, k, shortBits(makeTaps(in, out, 0, out, k)))
	}
	return makeTaps(in, out, from, from+n, kernels[filter])
}

// shortBits is how many bits behind the point weights of 16 bits have: as many as the largest of all outputs' leaves.
func shortBits(t taps) int {
	most := int32(0)
	for _, weights := range t.weights {
		for _, w := range weights {
			most = max(most, w)
		}
	}
	bits := 0
	for bits < precisionBits && (int64(most)<<(bits+1)+1<<(precisionBits-1))>>precisionBits < 1<<15 {
		bits++
	}
	return bits
}

// floatTaps are taps of the bilinear filter in float32.
type floatTaps struct {
	start   []int
	weights [][]float32
}

func makeFloatTaps(in, out, from, n int) floatTaps {
	scale := float32(in) / float32(out)
	stretch := max(scale, 1)
	inverse := float32(1)
	if scale >= 1 {
		inverse = 1 / scale
	}
	t := floatTaps{make([]int, n), make([][]float32, n)}
	for i := range n {
		center := scale * (float32(from+i) + 0.5)
		lo := max(int(center-stretch+0.5), 0)
		hi := max(min(int(center+stretch+0.5), in), lo+1)
		w := make([]float32, hi-lo)
		total := float32(0)
		for j := range w {
			w[j] = max(0, 1-float32(math.Abs(float64((float32(j+lo)-center+0.5)*inverse))))
			total += w[j]
		}
		for j := range w {
			if total != 0 {
				w[j] /= total
			}
		}
		t.start[i], t.weights[i] = lo, w
	}
	return t
}

// resampleFloat resizes by the bilinear filter in float32: along the rows, then along the columns, and one rounding.
func (s source) resampleFloat(width, height int, part window) []uint8 {
	columns, rows := makeFloatTaps(s.width, width, part.x, part.width), makeFloatTaps(s.height, height, part.y, part.height)
	if part.width == 0 || part.height == 0 {
		return nil
	}
	n := s.channels * part.width
	first := rows.start[0]
	last := rows.start[part.height-1] + len(rows.weights[part.height-1])
	lines := make([]float32, n*(last-first))
	line := make([]uint8, s.channels*s.width)
	for y := first; y < last; y++ {
		for x := range s.width {
			copy(line[x*s.channels:(x+1)*s.channels], s.fill[:])
		}
		if y >= s.y && y < s.y+s.h {
			copy(line[s.x*s.channels:], s.pix[(y-s.y)*s.w*s.channels:][:s.w*s.channels])
		}
		to := lines[(y-first)*n:][:n]
		for x, weights := range columns.weights {
			for i, w := range weights {
				for c := range s.channels {
					to[x*s.channels+c] += float32(line[(columns.start[x]+i)*s.channels+c]) * w
				}
			}
		}
	}
	out := make([]uint8, n*part.height)
	sums := make([]float32, n)
	for y, weights := range rows.weights {
		clear(sums)
		for j, w := range weights {
			for i, v := range lines[(rows.start[y]+j-first)*n:][:n] {
				sums[i] += v * w
			}
		}
		for i, v := range sums {
			out[y*n+i] = uint8(min(max(math.RoundToEven(float64(v)), 0), 255))
		}
	}
	return out
}
