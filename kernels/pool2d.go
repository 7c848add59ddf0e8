package kernels

// Pool2D is the geometry of a pooling over channels-last data, [Batch, Height, Width, Channels] to
// [Batch, OutHeight, OutWidth, Channels], with the meaning of torch.nn.MaxPool2d and AvgPool2d. Strides of 0 are the
// kernel's size, dilations (of max pooling only) of 0 are 1.
type Pool2D struct {
	Batch, Height, Width, Channels         int
	KernelH, KernelW                       int
	StrideH, StrideW, DilationH, DilationW int
	PadTop, PadBottom, PadLeft, PadRight   int
	// Ceil keeps a last window that starts inside the input or its leading padding, though it ends outside.
	Ceil bool
	// CountPadding makes average pooling divide by the window's size with the padding; otherwise it divides by the number
	// of input positions seen.
	CountPadding bool
}

// OutHeight returns the output's height.
func (p *Pool2D) OutHeight() int {
	return p.outSize(p.Height, p.PadTop, p.PadBottom, p.KernelH, p.strideH(), p.DilationH)
}

// OutWidth returns the output's width.
func (p *Pool2D) OutWidth() int {
	return p.outSize(p.Width, p.PadLeft, p.PadRight, p.KernelW, p.strideW(), p.DilationW)
}

func (p *Pool2D) strideH() int {
	if p.StrideH == 0 {
		return p.KernelH
	}
	return p.StrideH
}

func (p *Pool2D) strideW() int {
	if p.StrideW == 0 {
		return p.KernelW
	}
	return p.StrideW
}

func (p *Pool2D) outSize(size, before, after, kernel, stride, dilation int) int {
	rest := size + before + after - (kernel-1)*max(dilation, 1) - 1
	if rest < 0 {
		return 0
	}
	if !p.Ceil {
		return rest/stride + 1
	}
	n := (rest+stride-1)/stride + 1
	if (n-1)*stride >= size+before {
		n--
	}
	return n
}

// MaxRows computes the output rows r0 to r1-1, counted through the batch (Batch*OutHeight of them), of max pooling.
func (p *Pool2D) MaxRows(dst, x []float32, r0, r1 int) {
	outH, outW, ch := p.OutHeight(), p.OutWidth(), p.Channels
	dilationH, dilationW := max(p.DilationH, 1), max(p.DilationW, 1)
	for r := r0; r < r1; r++ {
		image := x[r/outH*p.Height*p.Width*ch:]
		y0 := r%outH*p.strideH() - p.PadTop
		ky0, ky1 := inside(y0, p.Height, p.KernelH, dilationH)
		for ox := range outW {
			x0 := ox*p.strideW() - p.PadLeft
			kx0, kx1 := inside(x0, p.Width, p.KernelW, dilationW)
			out := dst[(r*outW+ox)*ch:][:ch]
			for i := range out {
				out[i] = negInf
			}
			for ky := ky0; ky < ky1; ky++ {
				for kx := kx0; kx < kx1; kx++ {
					combine(OpMax, out, out, image[((y0+ky*dilationH)*p.Width+x0+kx*dilationW)*ch:][:ch])
				}
			}
		}
	}
}

// AverageRows computes the output rows r0 to r1-1, counted through the batch (Batch*OutHeight of them), of average pooling.
func (p *Pool2D) AverageRows(dst, x []float32, r0, r1 int) {
	outH, outW, ch := p.OutHeight(), p.OutWidth(), p.Channels
	for r := r0; r < r1; r++ {
		image := x[r/outH*p.Height*p.Width*ch:]
		y0 := r%outH*p.strideH() - p.PadTop
		y1 := min(y0+p.KernelH, p.Height+p.PadBottom)
		for ox := range outW {
			x0 := ox*p.strideW() - p.PadLeft
			x1 := min(x0+p.KernelW, p.Width+p.PadRight)
			count := (y1 - y0) * (x1 - x0)
			ya, yb, xa, xb := max(y0, 0), min(y1, p.Height), max(x0, 0), min(x1, p.Width)
			if !p.CountPadding {
				count = (yb - ya) * (xb - xa)
			}
			averageBlock(dst[(r*outW+ox)*ch:][:ch], image, p.Width, ya, yb, xa, xb, count)
		}
	}
}

// MaxPool2D is [Pool2D.MaxRows] of all rows.
func MaxPool2D(dst, x []float32, p *Pool2D) { p.MaxRows(dst, x, 0, p.Batch*p.OutHeight()) }

// AveragePool2D is [Pool2D.AverageRows] of all rows.
func AveragePool2D(dst, x []float32, p *Pool2D) { p.AverageRows(dst, x, 0, p.Batch*p.OutHeight()) }

// AdaptiveAveragePool2D averages x, [batch, height, width, channels], to [batch, outH, outW, channels]; the window of output
// i is from floor(i*size/out) to ceil((i+1)*size/out), as in torch.nn.AdaptiveAvgPool2d.
func AdaptiveAveragePool2D(dst, x []float32, batch, height, width, channels, outH, outW int) {
	for b := range batch {
		image := x[b*height*width*channels:]
		for oy := range outH {
			ya, yb := oy*height/outH, ((oy+1)*height+outH-1)/outH
			for ox := range outW {
				xa, xb := ox*width/outW, ((ox+1)*width+outW-1)/outW
				averageBlock(dst[((b*outH+oy)*outW+ox)*channels:][:channels], image, width, ya, yb, xa, xb, (yb-ya)*(xb-xa))
			}
		}
	}
}

// MeanPositions averages x, [batch, positions, channels], over the positions: global average pooling.
func MeanPositions(dst, x []float32, batch, positions, channels int) {
	AdaptiveAveragePool2D(dst, x, batch, 1, positions, channels, 1, 1)
}

// averageBlock writes to out the sum over rows ya to yb-1 and columns xa to xb-1 of an image, divided by count. Columns
// are added up in short runs first, so that rounding errors grow with the logarithm of their number rather than with it.
func averageBlock(out, image []float32, width, ya, yb, xa, xb, count int) {
	const run, block = 16, 64
	ch := len(out)
	var partial [block]float32
	for c0 := 0; c0 < ch; c0 += block {
		o := out[c0:min(c0+block, ch)]
		s := partial[:len(o)]
		clear(o)
		for y := ya; y < yb; y++ {
			for x := xa; x < xb; x += run {
				copy(s, image[(y*width+x)*ch+c0:])
				for i := x + 1; i < min(x+run, xb); i++ {
					combine(OpAdd, s, s, image[(y*width+i)*ch+c0:][:len(o)])
				}
				combine(OpAdd, o, o, s)
			}
		}
		Scale(o, o, 1/float32(count))
	}
}
