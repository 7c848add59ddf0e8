package kernels

import (
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

func TestPool2D(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 3e-7}
		for _, p := range []Pool2D{
			{Batch: 2, Height: 7, Width: 5, KernelH: 2, KernelW: 2},
			{Batch: 1, Height: 7, Width: 5, KernelH: 2, KernelW: 2, Ceil: true},
			{Batch: 1, Height: 8, Width: 9, KernelH: 3, KernelW: 3, StrideH: 2, StrideW: 2, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
			{Batch: 1, Height: 8, Width: 9, KernelH: 3, KernelW: 3, StrideH: 2, StrideW: 2, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, CountPadding: true},
			{Batch: 1, Height: 6, Width: 6, KernelH: 3, KernelW: 2, StrideH: 3, StrideW: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, CountPadding: true, Ceil: true},
			{Batch: 1, Height: 9, Width: 9, KernelH: 2, KernelW: 3, StrideH: 2, StrideW: 1, DilationH: 3, DilationW: 2},
		} {
			for _, p.Channels = range []int{1, 19, 64, 130} {
				x := copyOf(t, randomFloats(r, p.Batch*p.Height*p.Width*p.Channels))
				outH, outW := p.OutHeight(), p.OutWidth()
				largest, average := guarded(t, p.Batch*outH*outW*p.Channels), guarded(t, p.Batch*outH*outW*p.Channels)
				MaxPool2D(largest, x, &p)
				dilated := p.DilationH > 1 // there is no dilated average pooling
				if !dilated {
					AveragePool2D(average, x, &p)
				}
				wantMax, wantAverage := make([]float64, len(largest)), make([]float64, len(largest))
				for i := range largest {
					ch, ox, oy, b := i%p.Channels, i/p.Channels%outW, i/p.Channels/outW%outH, i/p.Channels/outW/outH
					y0, x0 := oy*p.strideH()-p.PadTop, ox*p.strideW()-p.PadLeft
					dh, dw := max(p.DilationH, 1), max(p.DilationW, 1)
					win := ref.Window{Y0: y0, Y1: y0 + (p.KernelH-1)*dh + 1, X0: x0, X1: x0 + (p.KernelW-1)*dw + 1, StepY: dh, StepX: dw}
					m, s, inside := ref.Pool(func(y, xx int) float64 {
						return float64(x[((b*p.Height+y)*p.Width+xx)*p.Channels+ch])
					}, p.Height, p.Width, win)
					count := inside
					if p.CountPadding {
						count = (min(win.Y1, p.Height+p.PadBottom) - y0) * (min(win.X1, p.Width+p.PadRight) - x0)
					}
					wantMax[i], wantAverage[i] = m, s/float64(count)
				}
				w.see(relativeError(largest, wantMax), "max %+v", p)
				if !dilated {
					w.see(relativeError(average, wantAverage), "average %+v", p)
				}
			}
		}
		w.report()
	})
}

// Output sizes from torch.nn.MaxPool2d's formula, where ceil mode drops a window that starts in the trailing padding.
func TestPoolSizes(t *testing.T) {
	for _, c := range []struct {
		p    Pool2D
		want int
	}{
		{Pool2D{Height: 7, KernelH: 2}, 3}, {Pool2D{Height: 7, KernelH: 2, Ceil: true}, 4},
		{Pool2D{Height: 5, KernelH: 2, PadTop: 1, PadBottom: 1, StrideH: 3, Ceil: true}, 2},
		{Pool2D{Height: 6, KernelH: 2, PadTop: 1, PadBottom: 1, StrideH: 7, Ceil: true}, 1},
		{Pool2D{Height: 1, KernelH: 2}, 0},
	} {
		if got := c.p.OutHeight(); got != c.want {
			t.Errorf("%+v: height %d, want %d", c.p, got, c.want)
		}
	}
}

func TestAdaptiveAverage(t *testing.T) {
	r := rand.New(rand.NewPCG(29, 30))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 6e-7 /* of averages that nearly cancel */}
		for _, c := range []struct{ batch, h, w, ch, oh, ow int }{{2, 7, 5, 3, 3, 2}, {1, 24, 24, 70, 12, 12}, {1, 5, 5, 64, 7, 9}, {1, 1, 577, 33, 1, 1}, {1, 300, 1, 5, 1, 1}} {
			x := copyOf(t, randomFloats(r, c.batch*c.h*c.w*c.ch))
			got := guarded(t, c.batch*c.oh*c.ow*c.ch)
			AdaptiveAveragePool2D(got, x, c.batch, c.h, c.w, c.ch, c.oh, c.ow)
			want := make([]float64, len(got))
			for i := range want {
				ch, ox, oy, b := i%c.ch, i/c.ch%c.ow, i/c.ch/c.ow%c.oh, i/c.ch/c.ow/c.oh
				_, s, n := ref.Pool(func(y, xx int) float64 { return float64(x[((b*c.h+y)*c.w+xx)*c.ch+ch]) }, c.h, c.w,
					ref.Window{Y0: oy * c.h / c.oh, Y1: ceilDiv((oy+1)*c.h, c.oh), X0: ox * c.w / c.ow, X1: ceilDiv((ox+1)*c.w, c.ow), StepY: 1, StepX: 1})
				want[i] = s / float64(n)
			}
			w.see(relativeError(got, want), "%+v", c)
		}
		w.report()
	})
}
