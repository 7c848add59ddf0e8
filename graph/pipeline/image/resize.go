package imageproc

import (
	"math"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// Resizing is Pillow's (libImaging/Resample.c): a filter whose support grows with the reduction, one pass along the rows,
// rounded to 8 bits, and one along the columns; weights are fixed-point numbers with precisionBits of fraction. Products
// are wrapped in float64() so that no architecture fuses them with a sum and rounds differently.

const precisionBits = 32 - 8 - 2

type kernel struct {
	support float64
	weight  func(x float64) float64
}

var kernels = map[pipeline.Filter]kernel{
	pipeline.Box: {0.5, func(x float64) float64 {
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	}},
	pipeline.Bilinear: {1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }},
	pipeline.Hamming: {1, func(x float64) float64 {
		x = math.Abs(x)
		switch {
		case x == 0:
			return 1
		case x >= 1:
			return 0
		}
		x *= math.Pi
		return float64(math.Sin(x)/x) * (float64(float32(0.54)) + float64(float64(float32(0.46))*math.Cos(x)))
	}},
	pipeline.Bicubic: {2, func(x float64) float64 {
		const a = -0.5
		x = math.Abs(x)
		switch {
		case x < 1:
			t := float64((a+2)*x) - (a + 3)
			return float64(float64(t*x)*x) + 1
		case x < 2:
			t := float64((x-5)*x) + 8
			return (float64(t*x) - 4) * a
		}
		return 0
	}},
	pipeline.Lanczos: {3, func(x float64) float64 {
		if x >= -3 && x < 3 {
			return sinc(x) * sinc(x/3)
		}
		return 0
	}},
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// taps are the weights of one direction: output i is the sum of weights[i] times the inputs from start[i] on.
type taps struct {
	start   []int
	weights [][]int32
}

// makeTaps returns the taps of outputs from to to-1 of out.
func makeTaps(in, out, from, to int, k kernel) taps {
	return roundedTaps(in, out, from, to, k, precisionBits)
}

// roundedTaps is makeTaps with that many bits behind the point that are not zero.
func roundedTaps(in, out, from, to int, k kernel, bits int) taps {
	scale := float64(float32(in)) / float64(out) // Pillow keeps the box in float32
	stretch := max(scale, 1)
	support := k.support * stretch
	inverse := 1 / stretch
	t := taps{make([]int, to-from), make([][]int32, to-from)}
	size := int(math.Ceil(support))*2 + 1
	all := make([]int32, (to-from)*min(size, in))
	buf := make([]float64, size)
	for i := range t.start {
		center := float64((float64(from+i) + 0.5) * scale)
		lo := max(0, int(center-support+0.5))
		hi := min(in, int(center+support+0.5))
		w := buf[:max(0, hi-lo)]
		sum := 0.0
		for x := range w {
			w[x] = k.weight(float64((float64(x+lo) - center + 0.5) * inverse))
			sum += w[x]
		}
		fixed := all[:len(w):len(w)]
		all = all[len(w):]
		for x, v := range w {
			if sum != 0 {
				v /= sum
			}
			v = float64(v * float64(int(1)<<bits))
			fixed[x] = int32(v+math.Copysign(0.5, v)) << (precisionBits - bits)
		}
		t.start[i], t.weights[i] = lo, fixed
	}
	return t
}

// window is the part of a resized picture that is wanted.
type window struct{ x, y, width, height int }

// source is what a resize reads: a picture, perhaps on a larger canvas of one colour. The canvas is never built, so a long,
// thin picture may be padded to a square of any size before it is made small.
type source struct {
	pix           []uint8 // the picture, channels bytes a pixel
	w, h          int
	channels      int
	x, y          int // where it stands on the canvas
	width, height int // of the canvas
	fill          [4]uint8
}

func (m *RGB) source() source {
	return source{pix: m.Pix, w: m.Width, h: m.Height, channels: 3, width: m.Width, height: m.Height}
}

// onSquare is the picture in the centre of a square.
func (m *RGB) onSquare(fill []uint8) source {
	s := m.source()
	n := max(m.Width, m.Height)
	s.x, s.y, s.width, s.height = (n-m.Width)/2, (n-m.Height)/2, n, n
	copy(s.fill[:], fill)
	return s
}

// Resize returns the picture at width x height pixels, equal to Pillow's Image.resize of an RGB picture. Filter must be one
// of pipeline's.
func (m *RGB) Resize(width, height int, filter pipeline.Filter) *RGB {
	return m.source().resize(width, height, filter, window{0, 0, width, height})
}

// resize computes a part of the resized picture, which has three channels.
func (s source) resize(width, height int, filter pipeline.Filter, part window) *RGB {
	return &RGB{Width: part.width, Height: part.height, Pix: s.resample(width, height, filter, part)}
}

// resizeNative is resize of a picture in the mode of its file, converted to RGB after it.
func (m *RGB) resizeNative(width, height int, filter pipeline.Filter, part window) *RGB {
	if m.Indexed {
		filter = pipeline.Nearest
	}
	s := m.source()
	if m.Alpha == nil || filter == pipeline.Nearest || width == m.Width && height == m.Height {
		return s.resize(width, height, filter, part)
	}
	s.channels, s.pix = 4, make([]uint8, 4*len(m.Alpha))
	for i, a := range m.Alpha {
		for c, v := range m.Pix[3*i : 3*i+3] {
			s.pix[4*i+c] = mulDiv255(v, a)
		}
		s.pix[4*i+3] = a
	}
	rgba := s.resample(width, height, filter, part)
	out := New(part.width, part.height)
	for i := range part.width * part.height {
		p := out.Pix[3*i : 3*i+3]
		copy(p, rgba[4*i:])
		unpremultiply(p, rgba[4*i+3])
	}
	return out
}

func (s source) resample(width, height int, filter pipeline.Filter, part window) []uint8 {
	if filter == pipeline.Nearest {
		return s.gather(nearestIndices(s.width, width, part.x, part.width), nearestIndices(s.height, height, part.y, part.height))
	}
	if filter == pipeline.BilinearTensor {
		return s.resampleFloat(width, height, part)
	}
	columns, rows := identity(part.x, part.width), identity(part.y, part.height)
	if width != s.width {
		columns = filterTaps(s.width, width, part.x, part.width, filter)
	}
	if height != s.height {
		rows = filterTaps(s.height, height, part.y, part.height, filter)
	}
	// Rows that the second pass does not read are not computed.
	first := rows.start[0]
	last := rows.start[part.height-1] + len(rows.weights[part.height-1])
	pix := s.horizontal(columns, first, last)
	for i := range rows.start {
		rows.start[i] -= first
	}
	return vertical(pix, part.width*s.channels, rows)
}

// identity are taps that copy. (Weights of one whole leave a byte as it is, so that a pass that Pillow leaves out may as
// well be run; it is when only a part is wanted.)
func identity(from, n int) taps {
	t := taps{make([]int, n), make([][]int32, n)}
	for i := range n {
		t.start[i], t.weights[i] = from+i, []int32{1 << precisionBits}
	}
	return t
}

// horizontal is the pass along rows first to last-1 of the canvas.
func (s source) horizontal(t taps, first, last int) []uint8 {
	n, width := s.channels*len(t.start), s.channels*s.w
	out := make([]uint8, n*(last-first))
	// Outputs before from and from to on see nothing but the canvas, and those rows that do not meet the picture are all
	// alike: they are computed once.
	from, to := 0, len(t.start)
	for from < to && t.start[from]+len(t.weights[from]) <= s.x {
		from++
	}
	for to > from && t.start[to-1] >= s.x+s.w {
		to--
	}
	var empty []uint8
	if s.w != s.width || s.h != s.height {
		empty = make([]uint8, n)
		for x, weights := range t.weights {
			sum := int32(0)
			for _, k := range weights {
				sum += k
			}
			for c := range s.channels {
				empty[x*s.channels+c] = clip8((int32(s.fill[c])*sum + 1<<(precisionBits-1)) >> precisionBits)
			}
		}
	}
	var line []uint8 // a row of the canvas
	if s.w != s.width {
		line = make([]uint8, 0, s.channels*s.width)
		for range s.width {
			line = append(line, s.fill[:s.channels]...)
		}
	}
	live := taps{t.start[from:to], t.weights[from:to]}
	for y := first; y < last; y++ {
		dst := out[(y-first)*n:][:n]
		copy(dst, empty)
		if y < s.y || y >= s.y+s.h {
			continue
		}
		src := s.pix[(y-s.y)*width:][:width]
		if line != nil {
			copy(line[s.x*s.channels:], src)
			src = line
		}
		if s.channels == 3 {
			horizontal3(dst[3*from:3*to], src, live)
		} else {
			horizontalN(dst[s.channels*from:s.channels*to], src, s.channels, live)
		}
	}
	return out
}

func horizontalN(dst, src []uint8, channels int, t taps) {
	for x, weights := range t.weights {
		for c := range channels {
			sum := int32(1 << (precisionBits - 1))
			for i, k := range weights {
				sum += int32(src[(t.start[x]+i)*channels+c]) * k
			}
			dst[x*channels+c] = clip8(sum >> precisionBits)
		}
	}
}

func horizontal3(dst, src []uint8, t taps) {
	for x, weights := range t.weights {
		s := src[3*t.start[x]:][:3*len(weights)]
		a, b, c := int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1))
		for _, k := range weights {
			p := s[:3:3]
			a += int32(p[0]) * k
			b += int32(p[1]) * k
			c += int32(p[2]) * k
			s = s[3:]
		}
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0], d[1], d[2] = clip8(a>>precisionBits), clip8(b>>precisionBits), clip8(c>>precisionBits)
	}
}

// vertical sums whole rows of n bytes.
func vertical(pix []uint8, n int, t taps) []uint8 {
	out := make([]uint8, n*len(t.start))
	sums := make([]int32, n)
	for y, weights := range t.weights {
		for i := range sums {
			sums[i] = 1 << (precisionBits - 1)
		}
		for j, k := range weights {
			row := pix[(t.start[y]+j)*n:][:len(sums)]
			for i, v := range row {
				sums[i] += int32(v) * k
			}
		}
		dst := out[y*n:][:len(sums)]
		for i, v := range sums {
			dst[i] = clip8(v >> precisionBits)
		}
	}
	return out
}

// gather picks pixels of the canvas.
func (s source) gather(columns, rows []int) []uint8 {
	out := make([]uint8, 0, len(columns)*len(rows)*s.channels)
	for _, y := range rows {
		for _, x := range columns {
			if x < s.x || x >= s.x+s.w || y < s.y || y >= s.y+s.h {
				out = append(out, s.fill[:s.channels]...)
				continue
			}
			i := ((y-s.y)*s.w + x - s.x) * s.channels
			out = append(out, s.pix[i:i+s.channels]...)
		}
	}
	return out
}

// nearestIndices are those of ImagingScaleAffine in Pillow's Geometry.c, which adds the step up, output by output.
func nearestIndices(in, out, from, n int) []int {
	step := float64(float32(in)) / float64(out)
	at := step * 0.5
	index := make([]int, 0, n)
	for i := range from + n {
		if i >= from {
			index = append(index, min(int(at), in-1))
		}
		at += step
	}
	return index
}
