package exec

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var (
	_ = on(linear, strided(0, 1))
	_ = on(matMul)
	_ = on(embedding)
	_ = on(conv)
	_ = on(attention, strided(0, 1, 2))
)

// pack returns a weight matrix packed for the GEMM.
func (c *call) pack(w *graph.Weight) (*kernels.Packed, error) {
	return cached(c.e, packKey{w, "gemm"}, func() (*kernels.Packed, error) {
		s := w.Shape()
		if q, ok := w.Expr.(*graph.Quantized); ok {
			m, err := q.Load()
			if err != nil {
				return nil, fmt.Errorf("weight %s: %w", w.Name, err)
			}
			return kernels.PackQuantized(m, w.Int8Activations), nil
		}
		data, err := w.Expr.Eval()
		if err != nil {
			return nil, fmt.Errorf("weight %s: %w", w.Name, err)
		}
		k := s[1:].Len()
		return kernels.PackFloat32(s[0], k, data, k), nil
	})
}

// observed wraps a product so that calibration sees its input.
func (c *call) observed(x view, run func()) func() {
	see := c.e.options.Observe
	if see == nil {
		return run
	}
	w := c.node.Param(0)
	return func() {
		t := x.tensor()
		see(w, &graph.Tensor{Shape: graph.Shape{x.Shape.Rows(), x.Shape.Last()}, Data: t.Data})
		run()
	}
}

func linear(c *call, op graph.Linear) (func(), error) {
	w, err := c.pack(c.node.Param(0))
	if err != nil {
		return nil, err
	}
	bias, err := c.floats(1)
	if err != nil {
		return nil, err
	}
	x := c.in[0]
	g := &kernels.Gemm{
		M: x.Shape.Rows(), A: x.Data, LDA: x.LD, W: w, C: c.out.Data, LDC: c.out.LD,
		AsymmetricActivations: op.Unsigned, Epilogue: kernels.Epilogue{Bias: bias, Act: op.Act, Gated: op.Gated},
	}
	if len(c.in) == 2 {
		g.Residual, g.LDR = c.in[1].Data, c.in[1].LD
	}
	pool, scratch := c.pool(), c.e.scratch
	return c.observed(x, func() { pool.Gemm(g, scratch) }), nil
}

func matMul(c *call, op graph.MatMul) (func(), error) {
	a, out := c.in[0].Shape, c.out.Shape
	m, k, n := a[len(a)-2], a.Last(), out.Last()
	// The two innermost of the outer axes make one batched product; a product for each element of those before them.
	outer := append(graph.Shape{1, 1}, out[:len(out)-2]...)
	first := len(outer) - 2
	strided := func(v view) (base kernels.Strided, strides []int) {
		s := v.Shape
		strides = broadcastStrides(s[:len(s)-2], outer)
		size := s[len(s)-2] * s.Last()
		for i := range strides {
			strides[i] *= size
		}
		return kernels.Strided{Data: v.Data, LD: s.Last(), Outer: strides[first], Inner: strides[first+1]}, strides
	}
	sa, stridesA := strided(c.in[0])
	sb, stridesB := strided(c.in[1])
	sc, stridesC := strided(c.out)
	gemms := make([]*kernels.BatchedGemm, outer[:first].Len())
	for i := range gemms {
		g := &kernels.BatchedGemm{Outer: outer[first], Inner: outer[first+1], M: m, N: n, K: k, Alpha: op.Alpha,
			TransposeB: op.TransposeB, A: sa, B: sb, C: sc}
		rest := i
		for ax := first - 1; ax >= 0; ax-- {
			at := rest % outer[ax]
			rest /= outer[ax]
			g.A.Data = g.A.Data[at*stridesA[ax]:]
			g.B.Data = g.B.Data[at*stridesB[ax]:]
			g.C.Data = g.C.Data[at*stridesC[ax]:]
		}
		gemms[i] = g
	}
	pool, scratch := c.pool(), c.e.scratch
	return func() {
		for _, g := range gemms {
			pool.BatchedGemm(g, scratch)
		}
	}, nil
}

// broadcastStrides returns the strides, in elements of s, by which an operand of shape s is walked when it is stretched to
// out: 0 along stretched axes.
func broadcastStrides(s, out graph.Shape) []int {
	strides := make([]int, len(out))
	step := 1
	for i := 1; i <= len(s); i++ {
		if s[len(s)-i] != 1 {
			strides[len(out)-i] = step
		}
		step *= s[len(s)-i]
	}
	return strides
}

func embedding(c *call, _ graph.Embedding) (func(), error) {
	table, err := c.floats(0)
	if err != nil {
		return nil, err
	}
	ids, out := c.in[0].Data, c.out.Data
	d := c.out.Shape.Last()
	vocabulary := len(table) / max(d, 1)
	return overRows(c.pool(), len(ids), d, func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			// Ids out of range are refused where they come from, the tokenizer or a file; here they must only not crash.
			id := min(max(int(ids[r]), 0), vocabulary-1)
			copy(out[r*d:(r+1)*d], table[id*d:])
		}
	}), nil
}

func attention(c *call, op graph.Attention) (func(), error) {
	q, k, v := c.in[0], c.in[1], c.in[2]
	heads := func(x view, n int) kernels.Heads {
		return kernels.Heads{Data: x.Data, Batch: x.Shape[1] * x.LD, Row: x.LD, Head: x.Shape[2] / n}
	}
	a := &kernels.Attention{
		Batch: q.Shape[0], Heads: op.Heads, KVHeads: op.KVHeads, Queries: q.Shape[1], Keys: k.Shape[1],
		Dim: q.Shape[2] / op.Heads, ValueDim: v.Shape[2] / op.KVHeads,
		Q: heads(q, op.Heads), K: heads(k, op.KVHeads), V: heads(v, op.KVHeads), Out: heads(c.out, op.Heads),
		Scale: op.Scale, Causal: op.Causal,
	}
	if len(c.in) == 4 {
		b := c.in[3]
		s := b.Shape
		strides := broadcastStrides(s, graph.Shape{a.Batch, a.Heads, a.Queries, a.Keys})
		if strides[3] != 1 && a.Keys != 1 {
			return nil, fmt.Errorf("attention bias %v: expected one value for each of %d keys", s, a.Keys)
		}
		a.Bias = kernels.Bias{Data: b.Data, Batch: strides[0], Head: strides[1], Query: strides[2]}
	}
	pool := c.pool()
	return func() { a.Run(pool) }, nil
}

func conv(c *call, op graph.Conv) (func(), error) {
	w := c.node.Param(0)
	x, s := c.in[0], w.Shape()
	pad := op.Padding(x.Shape, s)
	geometry := kernels.Conv2D{
		Batch: x.Shape[0], Height: x.Shape[1], Width: x.Shape[2], Channels: x.Shape[3],
		OutChannels: s[0], KernelH: s[1], KernelW: s[2],
		StrideH: op.Stride[0], StrideW: op.Stride[1], DilationH: op.Dilation[0], DilationW: op.Dilation[1],
		PadTop: pad[0], PadLeft: pad[1], PadBottom: pad[2], PadRight: pad[3], Groups: op.Groups,
	}
	bias, err := c.floats(1)
	if err != nil {
		return nil, err
	}
	pool := c.pool()
	if op.Groups > 1 && op.Groups == x.Shape[3] && op.Groups == s[0] {
		weights, err := c.floats(0)
		if err != nil {
			return nil, err
		}
		d := kernels.NewDepthwise(geometry, weights, bias, op.Act)
		rows, cols := geometry.Batch*c.out.Shape[1], c.out.Shape[2]*c.out.Shape[3]
		dst, src := c.out.Data, x.Data
		run := overRows(pool, rows, cols, func(r0, r1 int) { d.Rows(dst, src, r0, r1) })
		if len(c.in) == 2 {
			residual := c.in[1].Data
			add := overElements(pool, len(dst), func(i, j int) { kernels.Add(dst[i:j], dst[i:j], residual[i:j]) })
			conv := run
			run = func() { conv(); add() }
		}
		return c.observed(x, run), nil
	}
	packs, err := c.packGroups(w, op.Groups)
	if err != nil {
		return nil, err
	}
	scratch := c.e.scratch
	n := s[0] / op.Groups
	gemms := make([]*kernels.Gemm, op.Groups)
	for g := range gemms {
		k := &kernels.Gemm{
			M: geometry.Positions(), W: packs[g], C: c.out.Data[min(g*n, len(c.out.Data)):], LDC: s[0],
			AsymmetricActivations: op.Unsigned, Epilogue: kernels.Epilogue{Act: op.Act},
		}
		if bias != nil {
			k.Bias = bias[g*n : (g+1)*n]
		}
		if len(c.in) == 2 {
			k.Residual, k.LDR = c.in[1].Data[min(g*n, len(c.in[1].Data)):], s[0]
		}
		patches := &kernels.Patches{Conv2D: geometry, X: x.Data, Group: g}
		if plain := op.Groups == 1 && s[1] == 1 && s[2] == 1 && op.Stride == [2]int{1, 1} && pad == [4]int{}; plain {
			k.A, k.LDA = x.Data, x.Shape[3]
		} else {
			k.Rows = patches
		}
		gemms[g] = k
	}
	return c.observed(x, func() {
		for _, g := range gemms {
			pool.Gemm(g, scratch)
		}
	}), nil
}

// packGroups packs the weights of each group of a convolution.
func (c *call) packGroups(w *graph.Weight, groups int) ([]*kernels.Packed, error) {
	if groups == 1 {
		p, err := c.pack(w)
		return []*kernels.Packed{p}, err
	}
	return cached(c.e, packKey{w, "groups"}, func() ([]*kernels.Packed, error) {
		s := w.Shape()
		n, k := s[0]/groups, s[1:].Len()
		packs := make([]*kernels.Packed, groups)
		if q, ok := w.Expr.(*graph.Quantized); ok {
			m, err := q.Load()
			if err != nil {
				return nil, fmt.Errorf("weight %s: %w", w.Name, err)
			}
			for g := range packs {
				packs[g] = kernels.PackQuantized(rowsOf(m, g*n, (g+1)*n), w.Int8Activations)
			}
			return packs, nil
		}
		data, err := w.Expr.Eval()
		if err != nil {
			return nil, fmt.Errorf("weight %s: %w", w.Name, err)
		}
		for g := range packs {
			packs[g] = kernels.PackFloat32(n, k, data[g*n*k:(g+1)*n*k], k)
		}
		return packs, nil
	})
}

// rowsOf returns the rows [from, to) of a quantized matrix, which share its memory.
func rowsOf(q *kernels.Quantized, from, to int) *kernels.Quantized {
	bytes, groups := q.RowBytes(q.K), q.Groups(q.K)
	part := &kernels.Quantized{N: to - from, K: q.K, Scheme: q.Scheme,
		Data: q.Data[from*bytes : to*bytes], Scales: q.Scales[from*groups : to*groups]}
	if q.Asymmetric {
		part.Zeros = q.Zeros[from*groups : to*groups]
	}
	return part
}
