package imageproc

import (
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// floatKernels are the filters that tensors have, with half their width at scale 1; as torch computes them, in float32.
var floatKernels = map[pipeline.Filter]kernel{
	pipeline.Bilinear: kernels[pipeline.Bilinear],
	pipeline.Bicubic:  kernels[pipeline.Bicubic],
}

// unrounded resizes a picture as torchvision's antialiased resize of a tensor of floats does, to values that keep their
// fractions: the rows first, then the columns, weights and sums in float32 (torch aten/src/ATen/native/cpu/UpSampleKernel.cpp).
func unrounded(s source, width, height int, filter pipeline.Filter) *RGB {
	whole := window{0, 0, s.width, s.height}
	pix := s.resize(s.width, s.height, filter, whole).Pix // of the same size: the pixels, on their canvas
	in := make([]float32, len(pix))
	for i, v := range pix {
		in[i] = float32(v)
	}
	in = floatPass(in, s.height, s.width, 3, width, floatKernels[filter])
	in = floatPass(in, 1, s.height, 3*width, height, floatKernels[filter])
	out := New(width, height)
	out.Unrounded = in
	for i, v := range in {
		out.Pix[i] = uint8(math.RoundToEven(float64(min(max(v, 0), 255))))
	}
	return out
}

// floatPass resizes the middle axis of [outer, size, inner] to another size.
func floatPass(x []float32, outer, size, inner, to int, k kernel) []float32 {
	if size == to {
		return x
	}
	scale := float32(size) / float32(to)
	support, inverse := float32(k.support), float32(1)
	if scale >= 1 {
		support, inverse = support*scale, 1/scale
	}
	out := make([]float32, outer*to*inner)
	weights := make([]float32, 2*int(math.Ceil(float64(support)))+2)
	for i := range to {
		center := float32(float64(scale) * (float64(i) + 0.5))
		lo := max(0, int(float64(center-support)+0.5))
		hi := min(size, int(float64(center+support)+0.5))
		w := weights[:min(max(0, hi-lo), len(weights))]
		total := float32(0)
		for j := range w {
			w[j] = float32(k.weight(float64(float32((float64(float32(j+lo)-center) + 0.5) * float64(inverse)))))
			total += w[j]
		}
		for j := range w {
			if total != 0 {
				w[j] /= total
			}
		}
		for o := range outer {
			dst := out[(o*to+i)*inner:][:inner]
			for j, f := range w {
				for c, v := range x[(o*size+lo+j)*inner:][:inner] {
					dst[c] += float32(v * f)
				}
			}
		}
	}
	return out
}
