package ref

// Conv holds the sizes of a two-dimensional convolution of channels-last data.
type Conv struct {
	Batch, Height, Width, Channels, OutHeight, OutWidth, OutChannels    int
	KernelH, KernelW, StrideH, StrideW, DilationH, DilationW, Top, Left int
	Groups                                                              int
}

// Conv2D returns [Batch, OutHeight, OutWidth, OutChannels]; weights are [OutChannels, KernelH, KernelW, Channels/Groups].
func (c Conv) Conv2D(x, weights []float32) []float64 {
	out := make([]float64, c.Batch*c.OutHeight*c.OutWidth*c.OutChannels)
	in := c.Channels / c.Groups
	for i := range out {
		o := i % c.OutChannels
		ox := i / c.OutChannels % c.OutWidth
		oy := i / c.OutChannels / c.OutWidth % c.OutHeight
		b := i / c.OutChannels / c.OutWidth / c.OutHeight
		for ky := range c.KernelH {
			for kx := range c.KernelW {
				y, xx := oy*c.StrideH-c.Top+ky*c.DilationH, ox*c.StrideW-c.Left+kx*c.DilationW
				if y < 0 || y >= c.Height || xx < 0 || xx >= c.Width {
					continue
				}
				for ch := range in {
					out[i] += float64(weights[((o*c.KernelH+ky)*c.KernelW+kx)*in+ch]) *
						float64(x[((b*c.Height+y)*c.Width+xx)*c.Channels+o/(c.OutChannels/c.Groups)*in+ch])
				}
			}
		}
	}
	return out
}
