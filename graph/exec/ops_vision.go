package exec

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(pool)
	_ = on(adaptivePool)
	_ = on(resize)
	_ = on(gridSample)
)

func pool(c *call, op graph.Pool) (func(), error) {
	s := c.in[0].Shape
	p := &kernels.Pool2D{
		Batch: s[0], Height: s[1], Width: s[2], Channels: s[3], KernelH: op.Kernel[0], KernelW: op.Kernel[1],
		StrideH: op.Stride[0], StrideW: op.Stride[1],
		PadTop: op.Pad[0], PadLeft: op.Pad[1], PadBottom: op.Pad[2], PadRight: op.Pad[3],
		Ceil: op.Ceil, CountPadding: op.CountIncludePad,
	}
	rows := p.AverageRows
	if op.Max {
		rows = p.MaxRows
	}
	dst, x := c.out.Data, c.in[0].Data
	return overRows(c.pool(), s[0]*c.out.Shape[1], c.out.Shape[2]*s[3], func(r0, r1 int) { rows(dst, x, r0, r1) }), nil
}

func adaptivePool(c *call, op graph.AdaptivePool) (func(), error) {
	s := c.in[0].Shape
	dst, x := c.out.Data, c.in[0].Data
	return func() { kernels.AdaptiveAveragePool2D(dst, x, s[0], s[1], s[2], s[3], op.H, op.W) }, nil
}

var filters = map[string]kernels.Interpolation{
	"nearest": kernels.Nearest, "bilinear": kernels.Bilinear, "bicubic": kernels.Bicubic,
}

func resize(c *call, op graph.Resize) (func(), error) {
	filter, ok := filters[op.Mode]
	if !ok {
		return nil, fmt.Errorf("resize: mode %q is not known", op.Mode)
	}
	s := c.in[0].Shape
	r := &kernels.Resize{
		Batch: s[0], Height: s[1], Width: s[2], Channels: s[3], OutHeight: op.H, OutWidth: op.W,
		Filter: filter, AlignCorners: op.AlignCorners, Antialias: op.Antialias, ScaleH: op.ScaleH, ScaleW: op.ScaleW,
	}
	dst, x := c.out.Data, c.in[0].Data
	return func() { r.Run(dst, x) }, nil
}

func gridSample(c *call, _ graph.GridSample) (func(), error) {
	s, points := c.in[0].Shape, c.out.Shape[1]*c.out.Shape[2]
	dst, x, grid := c.out.Data, c.in[0].Data, c.in[1].Data
	return func() { kernels.GridSample(dst, x, grid, s[0], s[1], s[2], s[3], points, false) }, nil
}
