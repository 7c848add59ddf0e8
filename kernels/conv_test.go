package kernels

import (
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/kernels/ref"
)

var convolutions = []Conv2D{
	{Batch: 1, Height: 1, Width: 1, Channels: 1, OutChannels: 1, KernelH: 1, KernelW: 1},
	{Batch: 2, Height: 8, Width: 6, Channels: 3, OutChannels: 5, KernelH: 2, KernelW: 2, StrideH: 2, StrideW: 2},
	{Batch: 1, Height: 5, Width: 7, Channels: 4, OutChannels: 6, KernelH: 3, KernelW: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Groups: 2},
	{Batch: 2, Height: 6, Width: 5, Channels: 3, OutChannels: 2, KernelH: 3, KernelW: 3, StrideH: 2, StrideW: 3, PadTop: 0, PadBottom: 1, PadLeft: 2, PadRight: 3},
	{Batch: 1, Height: 9, Width: 11, Channels: 2, OutChannels: 3, KernelH: 3, KernelW: 2, DilationH: 2, DilationW: 3, PadTop: 2, PadLeft: 4, PadRight: 4},
	{Batch: 2, Height: 1, Width: 30, Channels: 6, OutChannels: 4, KernelH: 1, KernelW: 10, StrideW: 5, PadLeft: 7, PadRight: 1, Groups: 2},
	{Batch: 1, Height: 2, Width: 2, Channels: 2, OutChannels: 2, KernelH: 5, KernelW: 7, PadTop: 3, PadBottom: 3, PadLeft: 9, PadRight: 9},
	{Batch: 1, Height: 2, Width: 2, Channels: 2, OutChannels: 2, KernelH: 5, KernelW: 5}, // the kernel does not fit
}

func reference(c *Conv2D) ref.Conv {
	return ref.Conv{Batch: c.Batch, Height: c.Height, Width: c.Width, Channels: c.Channels, OutHeight: c.OutHeight(), OutWidth: c.OutWidth(), OutChannels: c.OutChannels,
		KernelH: c.KernelH, KernelW: c.KernelW, StrideH: max(c.StrideH, 1), StrideW: max(c.StrideW, 1), DilationH: max(c.DilationH, 1), DilationW: max(c.DilationW, 1),
		Top: c.PadTop, Left: c.PadLeft, Groups: max(c.Groups, 1)}
}

func TestPatches(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	w := worst{t: t, limit: 1e-6}
	for _, c := range convolutions {
		groups := max(c.Groups, 1)
		k, out := c.Depth(), c.OutChannels/groups
		x, weights := copyOf(t, randomFloats(r, c.Batch*c.Height*c.Width*c.Channels)), randomFloats(r, c.OutChannels*k)
		got := make([]float32, c.Positions()*c.OutChannels)
		for g := range groups {
			p := Patches{Conv2D: c, X: x, Group: g}
			ldd := k + 3
			for m0 := 0; m0 < c.Positions(); m0 += 4 { // in pieces, as a matrix product asks for them
				m1 := min(m0+4, c.Positions())
				rows := guarded(t, (m1-m0-1)*ldd+k)
				p.Gather(rows, ldd, m0, m1)
				for m := m0; m < m1; m++ {
					for o := range out {
						var s float64
						for i, v := range rows[(m-m0)*ldd:][:k] {
							s += float64(v) * float64(weights[(g*out+o)*k+i])
						}
						got[m*c.OutChannels+g*out+o] = float32(s)
					}
				}
			}
		}
		want := reference(&c).Conv2D(x, weights)
		if len(want) != len(got) {
			t.Fatalf("%+v: %d numbers, want %d", c, len(got), len(want))
		}
		w.see(relativeError(got, want), "%+v", c)
	}
	w.report()
}

func TestDepthwise(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	forEachISA(t, func(t *testing.T) {
		w := worst{t: t, limit: 1e-6}
		for _, c := range convolutions {
			for _, channels := range []int{1, 7, 16, 33, 64, 130} {
				c.Channels, c.OutChannels, c.Groups = channels, channels, channels
				x := copyOf(t, randomFloats(r, c.Batch*c.Height*c.Width*channels))
				weights, bias := randomFloats(r, channels*c.KernelH*c.KernelW), randomFloats(r, channels)
				d := NewDepthwise(c, weights, bias, ActReLU)
				got := guarded(t, c.Positions()*channels)
				for row := range c.Batch * c.OutHeight() {
					d.Rows(got, x, row, row+1)
				}
				want := reference(&c).Conv2D(x, weights)
				for i := range want {
					want[i] = max(want[i]+float64(bias[i%channels]), 0)
				}
				w.see(relativeError(got, want), "%+v", c)
			}
		}
		w.report()
	})
}

func TestConvolutionsDoNotAllocate(t *testing.T) {
	c := convolutions[2]
	x := make([]float32, c.Height*c.Width*c.Channels)
	p := &Patches{Conv2D: c, X: x}
	dst := make([]float32, c.Positions()*c.Depth())
	var rows Rows = p
	if n := testing.AllocsPerRun(10, func() { rows.Gather(dst, c.Depth(), 0, c.Positions()) }); n != 0 {
		t.Errorf("patches: %g allocations", n)
	}
	c.Groups = c.Channels
	c.OutChannels = c.Channels
	forEachISA(t, func(t *testing.T) {
		d := NewDepthwise(c, make([]float32, c.Channels*9), nil, ActGELU)
		if n := testing.AllocsPerRun(10, func() { d.Rows(dst, x, 0, c.OutHeight()) }); n != 0 {
			t.Errorf("depthwise: %g allocations", n)
		}
		if n := testing.AllocsPerRun(10, func() {
			LayerNorm(dst, x, 5, 28, x, x, 1e-5)
			GroupNorm(dst, x, 1, 35, 4, 2, nil, nil, 1e-5)
			Softmax(dst, x, 5, 28)
			Activate(ActGELU, dst, x)
			MeanPositions(dst, x, 1, 35, 4)
			Broadcast(OpAdd, dst, []int{5, 28}, x, []int{28, 1}, x, []int{0, 1})
		}); n != 0 {
			t.Errorf("row kernels: %g allocations", n)
		}
	})
}
