package block

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

// What blocks are held against: the same mathematics over one sample's tokens in float64, in loops.

// rows are the tokens of one sample.
type rows [][]float64

func newRows(n, d int) rows {
	r := make(rows, n)
	for i := range r {
		r[i] = make([]float64, d)
	}
	return r
}

// sample returns one sample of [B, S, D], or of [B, D] as one row.
func sample(x *graph.Tensor, i int) rows {
	d := x.Shape.Last()
	n := x.Shape[1:].Rows()
	r := newRows(n, d)
	for s := range n {
		for c := range d {
			r[s][c] = float64(x.Data[(i*n+s)*d+c])
		}
	}
	return r
}

// weights gives the reference the values that the builder gets.
type weights struct {
	t *testing.T
	graphtest.Params
}

func (w weights) get(name string, shape ...int) []float64 {
	w.t.Helper()
	if !w.Has(name) {
		w.t.Fatalf("the reference reads %s, which is missing", name)
	}
	e, err := w.Param(name, shape...)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := e.Eval()
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// product is x W^T + bias with W [out, in] flat.
func product(x rows, w, bias []float64) rows {
	in := len(x[0])
	out := newRows(len(x), len(w)/in)
	for s := range x {
		for o := range out[s] {
			for i := range in {
				out[s][o] += x[s][i] * w[o*in+i]
			}
			if bias != nil {
				out[s][o] += bias[o]
			}
		}
	}
	return out
}

// linear is product with the tensors of a stem.
func (w weights) linear(x rows, stem string, out int, biased bool) rows {
	var bias []float64
	if biased {
		bias = w.get(stem+".bias", out)
	}
	return product(x, w.get(stem+".weight", out, len(x[0])), bias)
}

// norm is a layer norm, or RMSNorm where rms.
func (w weights) norm(x rows, stem string, eps float64, rms bool) rows {
	d := len(x[0])
	gain := w.get(stem+".weight", d)
	var bias []float64
	if !rms {
		bias = w.get(stem+".bias", d)
	}
	out := newRows(len(x), d)
	for s := range x {
		mean, square := 0.0, 0.0
		for _, v := range x[s] {
			mean += v / float64(d)
		}
		if rms {
			mean = 0
		}
		for _, v := range x[s] {
			square += (v - mean) * (v - mean) / float64(d)
		}
		for i, v := range x[s] {
			out[s][i] = (v - mean) / math.Sqrt(square+eps) * gain[i]
			if bias != nil {
				out[s][i] += bias[i]
			}
		}
	}
	return out
}

// softmaxAttention mixes values; score changes the score of query i and key j of head h, -inf hides.
func softmaxAttention(q, k, v rows, heads, kvHeads int, scale float64, score func(h, i, j int, s float64) float64) rows {
	d := len(q[0]) / heads
	dv := len(v[0]) / kvHeads
	out := newRows(len(q), heads*dv)
	for h := range heads {
		g := h / (heads / kvHeads)
		for i := range q {
			weights, sum := make([]float64, len(k)), 0.0
			for j := range k {
				s := 0.0
				for c := range d {
					s += q[i][h*d+c] * k[j][g*d+c]
				}
				s *= scale
				if score != nil {
					s = score(h, i, j, s)
				}
				weights[j] = math.Exp(s)
				sum += weights[j]
			}
			for j := range k {
				for c := range dv {
					out[i][h*dv+c] += weights[j] / sum * v[j][g*dv+c]
				}
			}
		}
	}
	return out
}

func (x rows) plus(y rows) rows {
	return x.zip(y, func(a, b float64) float64 { return a + b })
}

func (x rows) zip(y rows, f func(a, b float64) float64) rows {
	out := newRows(len(x), len(x[0]))
	for s := range x {
		for i := range x[s] {
			out[s][i] = f(x[s][i], y[s][i])
		}
	}
	return out
}

func (x rows) each(f func(float64) float64) rows {
	return x.zip(x, func(a, _ float64) float64 { return f(a) })
}

func gelu(x float64) float64    { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
func silu(x float64) float64    { return x / (1 + math.Exp(-x)) }
func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func relu(x float64) float64    { return max(x, 0) }

func function(a kernels.Activation) func(float64) float64 {
	switch a {
	case kernels.ActGELU:
		return gelu
	case kernels.ActSiLU:
		return silu
	case kernels.ActSigmoid:
		return sigmoid
	case kernels.ActReLU:
		return relu
	case kernels.ActTanh:
		return math.Tanh
	case kernels.ActNone:
		return func(x float64) float64 { return x }
	}
	panic("the reference has no such function")
}

// random makes up a value.
func random(seed uint64, shape ...int) *graph.Tensor {
	r := rand.New(rand.NewPCG(seed, 3))
	x := graph.NewTensor(shape...)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// build runs a block: inputs are fed by name, the value that f returns is fetched.
func build(t *testing.T, w weights, feeds map[string]*graph.Tensor, f func(b *graph.Builder, in map[string]*graph.Node) *graph.Node) *graph.Tensor {
	t.Helper()
	b := graph.NewBuilder(w.Params)
	in := map[string]*graph.Node{}
	for name, x := range feeds {
		in[name] = b.Input(name, x.Shape...)
	}
	b.Output(f(b, in), graph.Joint, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return graphtest.Run(t, g, feeds, "out")["out"]
}

// same holds every sample of a value against the reference.
func same(t *testing.T, got *graph.Tensor, want func(sample int) rows) {
	t.Helper()
	for i := range got.Shape[0] {
		g, w := sample(got, i), want(i)
		if len(g) != len(w) || len(g[0]) != len(w[0]) {
			t.Fatalf("sample %d: %d x %d values, want %d x %d", i, len(g), len(g[0]), len(w), len(w[0]))
		}
		for s := range g {
			for c := range g[s] {
				if d := math.Abs(g[s][c] - w[s][c]); !(d <= 2e-5*(1+math.Abs(w[s][c]))) {
					t.Fatalf("sample %d, token %d, channel %d: got %g, want %g", i, s, c, g[s][c], w[s][c])
				}
			}
		}
	}
}

// fails expects a builder's first error to say something.
func fails(t *testing.T, f func(b *graph.Builder, x *graph.Node)) error {
	t.Helper()
	b := graph.NewBuilder(graphtest.Params{})
	x := b.Input("x", 2, 5, 12)
	f(b, x)
	b.Output(x, graph.Joint, "out")
	_, err := b.Graph()
	if err == nil {
		t.Error("no error")
	}
	return err
}
