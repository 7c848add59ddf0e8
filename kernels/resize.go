package kernels

import "math"

// Interpolation names the filter of [Resize].
type Interpolation uint8

// Filters as torch.nn.functional.interpolate names them. Bicubic is Keys' kernel with a = -0.75, and -0.5 with antialiasing.
const (
	Nearest Interpolation = iota
	Bilinear
	Bicubic
)

// Resize is torch.nn.functional.interpolate of channels-last feature maps [Batch, Height, Width, Channels] to
// [Batch, OutHeight, OutWidth, Channels]. Weights are computed in float64: maps differ from torch's by about 1e-6 of their
// largest value.
type Resize struct {
	Batch, Height, Width, Channels, OutHeight, OutWidth int

	Filter Interpolation
	// AlignCorners maps the centres of the corner pixels onto each other; else the corners of the images.
	AlignCorners bool
	// Antialias widens the filter when the map gets smaller.
	Antialias bool
	// ScaleH and ScaleW, if not 0, replace the ratio of output to input size, as interpolate's scale_factor does when it is
	// not recomputed.
	ScaleH, ScaleW float64
}

// tap is a run of weights for one output position.
type tap struct {
	start   int
	weights []float64
}

// Run resizes x into dst. It allocates the tables of weights and one intermediate map.
func (r *Resize) Run(dst, x []float32) {
	if len(dst) == 0 || r.Height == 0 || r.Width == 0 {
		return
	}
	rows := r.taps(r.Height, r.OutHeight, r.ScaleH)
	cols := r.taps(r.Width, r.OutWidth, r.ScaleW)
	line := r.OutWidth * r.Channels
	wide := make([]float32, r.Height*line)
	for b := range r.Batch {
		for y := range r.Height {
			in := x[(b*r.Height+y)*r.Width*r.Channels:][:r.Width*r.Channels]
			for ox, t := range cols {
				weigh(wide[y*line+ox*r.Channels:][:r.Channels], in[t.start*r.Channels:], r.Channels, t.weights)
			}
		}
		for oy, t := range rows {
			weigh(dst[(b*r.OutHeight+oy)*line:][:line], wide[t.start*line:], line, t.weights)
		}
	}
}

// weigh writes the weighted sum of vectors that lie stride apart.
func weigh(dst, x []float32, stride int, weights []float64) {
	Scale(dst, x[:len(dst)], float32(weights[0]))
	for i, w := range weights[1:] {
		AddScaled(dst, x[(i+1)*stride:][:len(dst)], float32(w))
	}
}

// taps returns the weights of each output position along one axis. Positions outside are clamped to the edge.
func (r *Resize) taps(in, out int, given float64) []tap {
	scale := float64(in) / float64(out)
	if given != 0 {
		scale = 1 / given
	}
	if r.AlignCorners {
		scale = 0
		if out > 1 {
			scale = float64(in-1) / float64(out-1)
		}
	}
	taps := make([]tap, out)
	for o := range taps {
		switch {
		case r.Filter == Nearest:
			// The product is rounded to float32 in torch, which decides ties.
			taps[o] = tap{min(int(math.Floor(float64(float32(o)*float32(scale)))), in-1), []float64{1}}
		case r.Antialias:
			taps[o] = r.wideTap(o, in, scale)
		default:
			taps[o] = r.plainTap(o, in, scale)
		}
	}
	return taps
}

func (r *Resize) plainTap(o, in int, scale float64) tap {
	at := scale * float64(o)
	if !r.AlignCorners {
		at = scale*(float64(o)+0.5) - 0.5
	}
	if r.Filter == Bilinear {
		at = max(at, 0)
		i := min(int(at), in-1)
		f := at - float64(i)
		if i == in-1 {
			return tap{i, []float64{1}}
		}
		return tap{i, []float64{1 - f, f}}
	}
	i := int(math.Floor(at))
	first, last := min(max(i-1, 0), in-1), min(max(i+2, 0), in-1)
	w := make([]float64, last-first+1)
	for j := i - 1; j <= i+2; j++ {
		w[min(max(j, 0), in-1)-first] += cubic(math.Abs(at-float64(j)), -0.75)
	}
	return tap{first, w}
}

// wideTap follows Pillow's filters, as torch's antialiased kernels do: the window is cut at the edge and renormalised.
func (r *Resize) wideTap(o, in int, scale float64) tap {
	stretch := max(scale, 1)
	support := stretch
	if r.Filter == Bicubic {
		support = 2 * stretch
	}
	centre := scale * (float64(o) + 0.5)
	first := max(int(centre-support+0.5), 0)
	last := min(int(centre+support+0.5), in)
	first = min(first, in-1)
	w := make([]float64, max(last-first, 1))
	var s float64
	for j := range w {
		d := math.Abs((float64(first+j) - centre + 0.5) / stretch)
		if r.Filter == Bicubic {
			w[j] = cubic(d, -0.5)
		} else {
			w[j] = max(1-d, 0)
		}
		s += w[j]
	}
	for j := range w {
		w[j] /= s
	}
	return tap{first, w}
}

// cubic is Keys' convolution kernel (IEEE ASSP 29, 1981) at distance d >= 0.
func cubic(d, a float64) float64 {
	switch {
	case d < 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

// GridSample is torch.nn.functional.grid_sample, bilinear with zeros outside, of x [batch, height, width, channels] at grid
// [batch, points, 2] of (x, y) in [-1, 1]: dst is [batch, points, channels].
func GridSample(dst, x, grid []float32, batch, height, width, channels, points int, alignCorners bool) {
	pixel := func(g float32, size int) float64 {
		if alignCorners {
			return (float64(g) + 1) / 2 * float64(size-1)
		}
		return ((float64(g)+1)*float64(size) - 1) / 2
	}
	for p := range batch * points {
		image := x[p/points*height*width*channels:][:height*width*channels]
		out := dst[p*channels:][:channels]
		clear(out)
		px, py := pixel(grid[2*p], width), pixel(grid[2*p+1], height)
		// Far outside, and for NaN, nothing is read; this also keeps the conversion to int in range.
		if !(px > -1 && px < float64(width) && py > -1 && py < float64(height)) {
			continue
		}
		x0, y0 := int(math.Floor(px)), int(math.Floor(py))
		fx, fy := float32(px-float64(x0)), float32(py-float64(y0))
		for dy, wy := range [2]float32{1 - fy, fy} {
			for dx, wx := range [2]float32{1 - fx, fx} {
				if ix, iy := x0+dx, y0+dy; ix >= 0 && ix < width && iy >= 0 && iy < height {
					AddScaled(out, image[(iy*width+ix)*channels:][:channels], wx*wy)
				}
			}
		}
	}
}
