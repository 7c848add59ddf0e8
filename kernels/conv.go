package kernels

// Conv2D is the geometry of a two-dimensional convolution over channels-last data: input [Batch, Height, Width, Channels],
// weights [OutChannels, KernelH, KernelW, Channels/Groups], output [Batch, OutHeight, OutWidth, OutChannels]. A
// one-dimensional convolution has Height and KernelH 1. Strides, dilations and Groups of 0 mean 1.
//
// It is computed as a matrix product over gathered patches (see [Patches]), one product for each group, or directly if it
// is depthwise (see [Depthwise]).
type Conv2D struct {
	Batch, Height, Width, Channels         int
	OutChannels, KernelH, KernelW          int
	StrideH, StrideW, DilationH, DilationW int
	PadTop, PadBottom, PadLeft, PadRight   int
	Groups                                 int
}

// OutHeight returns the output's height, 0 if the kernel does not fit.
func (c *Conv2D) OutHeight() int {
	return outSize(c.Height+c.PadTop+c.PadBottom, c.KernelH, c.StrideH, c.DilationH)
}

// OutWidth returns the output's width, 0 if the kernel does not fit.
func (c *Conv2D) OutWidth() int {
	return outSize(c.Width+c.PadLeft+c.PadRight, c.KernelW, c.StrideW, c.DilationW)
}

// Positions returns the number of output positions of the batch: M of the matrix product.
func (c *Conv2D) Positions() int { return c.Batch * c.OutHeight() * c.OutWidth() }

// Depth returns how many numbers make one output of one channel: K of the matrix product.
func (c *Conv2D) Depth() int { return c.KernelH * c.KernelW * (c.Channels / max(c.Groups, 1)) }

func outSize(padded, kernel, stride, dilation int) int {
	span := (kernel-1)*max(dilation, 1) + 1
	if padded < span {
		return 0
	}
	return (padded-span)/max(stride, 1) + 1
}

// Patches gives the rows of the matrix whose product with a group's weights is the convolution: one row for each output
// position, its numbers in the order kernel row, kernel column, channel of the group. Padding reads as zero.
type Patches struct {
	Conv2D
	// X is the input, [Batch, Height, Width, Channels].
	X []float32
	// Group selects the slice of input channels.
	Group int
}

// Gather writes the rows m0 to m1-1 to dst, the first number of row m at (m-m0)*ldd.
func (p *Patches) Gather(dst []float32, ldd, m0, m1 int) {
	width := p.Channels / max(p.Groups, 1)
	channel := p.Group * width
	outW := p.OutWidth()
	outH := p.OutHeight()
	strideH, strideW := max(p.StrideH, 1), max(p.StrideW, 1)
	dilationH, dilationW := max(p.DilationH, 1), max(p.DilationW, 1)
	line := p.KernelW * width
	// A kernel row is one run of memory if its columns and the channels of all are neighbours.
	dense := dilationW == 1 && width == p.Channels
	for m := m0; m < m1; m++ {
		x0 := m%outW*strideW - p.PadLeft
		y0 := m/outW%outH*strideH - p.PadTop
		image := p.X[m/(outW*outH)*p.Height*p.Width*p.Channels:][:p.Height*p.Width*p.Channels]
		row := dst[(m-m0)*ldd:][:p.KernelH*line]
		for ky := range p.KernelH {
			y := y0 + ky*dilationH
			out := row[ky*line:][:line]
			if y < 0 || y >= p.Height {
				clear(out)
				continue
			}
			in := image[y*p.Width*p.Channels:][:p.Width*p.Channels]
			if dense {
				before := min(max(-x0, 0), p.KernelW)
				after := min(max(x0+p.KernelW-p.Width, 0), p.KernelW-before)
				clear(out[:before*width])
				if n := (p.KernelW - before - after) * width; n > 0 {
					copy(out[before*width:][:n], in[(x0+before)*width:][:n])
				}
				clear(out[(p.KernelW-after)*width:])
				continue
			}
			for kx := range p.KernelW {
				x := x0 + kx*dilationW
				cell := out[kx*width:][:width]
				if x < 0 || x >= p.Width {
					clear(cell)
					continue
				}
				copy(cell, in[x*p.Channels+channel:][:width])
			}
		}
	}
}

// Depthwise is a convolution whose every output channel sees only the input channel of the same number: Groups, Channels
// and OutChannels are equal. It is computed directly, many channels at a time.
type Depthwise struct {
	Conv2D
	weights []float32 // [KernelH, KernelW, Channels]
	bias    []float32
	act     Activation
}

// NewDepthwise prepares weights [Channels, KernelH, KernelW] (a group has one input channel) and bias, which may be nil.
func NewDepthwise(c Conv2D, weights, bias []float32, act Activation) *Depthwise {
	d := &Depthwise{Conv2D: c, weights: make([]float32, c.KernelH*c.KernelW*c.Channels), bias: make([]float32, c.Channels), act: act}
	taps := c.KernelH * c.KernelW
	for ch := range c.Channels {
		for t := range taps {
			d.weights[t*c.Channels+ch] = weights[ch*taps+t]
		}
	}
	copy(d.bias, bias)
	return d
}

// Rows computes the output rows r0 to r1-1, counted through the batch (there are Batch*OutHeight of them), of the
// convolution of x. Geometry other than the kernel and the channels may be changed between calls.
func (d *Depthwise) Rows(dst, x []float32, r0, r1 int) {
	strideH, strideW := max(d.StrideH, 1), max(d.StrideW, 1)
	dilationH, dilationW := max(d.DilationH, 1), max(d.DilationW, 1)
	outH, outW, ch := d.OutHeight(), d.OutWidth(), d.Channels
	for r := r0; r < r1; r++ {
		image := x[r/outH*d.Height*d.Width*ch:][:d.Height*d.Width*ch]
		y0 := r%outH*strideH - d.PadTop
		ky0, ky1 := inside(y0, d.Height, d.KernelH, dilationH)
		for ox := range outW {
			x0 := ox*strideW - d.PadLeft
			kx0, kx1 := inside(x0, d.Width, d.KernelW, dilationW)
			out := dst[(r*outW+ox)*ch:][:ch]
			if ky0 >= ky1 || kx0 >= kx1 {
				copy(out, d.bias)
				continue
			}
			depthwise(out, d.bias,
				image[((y0+ky0*dilationH)*d.Width+x0+kx0*dilationW)*ch:], dilationH*d.Width*ch, dilationW*ch,
				d.weights[(ky0*d.KernelW+kx0)*ch:], d.KernelW*ch, ch, ky1-ky0, kx1-kx0)
		}
		line := dst[r*outW*ch:][:outW*ch]
		if d.act != ActNone {
			Activate(d.act, line, line)
		}
	}
}

// inside returns the range of kernel taps k for which start+k*dilation is in [0, size).
func inside(start, size, kernel, dilation int) (k0, k1 int) {
	if start < 0 {
		k0 = (-start + dilation - 1) / dilation
	}
	k1 = kernel
	if start+(kernel-1)*dilation >= size {
		k1 = max(0, (size-start+dilation-1)/dilation)
	}
	return k0, k1
}

// depthwise adds to bias the products of h x w taps for one output position. Strides are those of a step down and a step
// to the right, in x and in the weights.
func depthwise(out, bias, x []float32, xDown, xRight int, weights []float32, wDown, wRight, h, w int) {
	if len(out) == 0 {
		return
	}
	// The last number that is read must lie inside: assembly does not look.
	_ = x[(h-1)*xDown+(w-1)*xRight+len(out)-1]
	_ = weights[(h-1)*wDown+(w-1)*wRight+len(out)-1]
	if depthwiseVector(out, bias[:len(out)], x, xDown, xRight, weights, wDown, wRight, h, w) {
		return
	}
	copy(out, bias)
	for i := range h {
		for j := range w {
			multiplyAdd(out, out, x[i*xDown+j*xRight:][:len(out)], weights[i*wDown+j*wRight:][:len(out)])
		}
	}
}
