package quant

import (
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// constants gives a builder weights of one distribution.
type constants struct{}

func (constants) Has(string) bool { return true }

func (constants) Param(name string, shape ...int) (graph.Expr, error) {
	return graph.Values(name, sample("tailed", graph.Shape(shape).Len()), shape...), nil
}

// Where the mean of the inputs is known, the output for that mean is what it was before quantization.
func TestBiasCorrection(t *testing.T) {
	const n, k = 9, 35
	b := graph.NewBuilder(constants{})
	x := b.Input("x", -1, k)
	b.Output(b.Linear(x, "layer", k, n), graph.Vision, "y")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	product := g.Value("y")
	w, bias := product.Param(0), product.Param(1)
	w.InputMean = sample("positive", k)
	p, err := MakePlan(g, &Recipe{Choice: Choice{Weights: "int4"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := correctBiases(g, p); err != nil {
		t.Fatal(err)
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	at := func(weights, bias []float32, i int) (y float64) {
		y = float64(bias[i])
		for j, m := range w.InputMean {
			y += float64(weights[i*k+j]) * float64(m)
		}
		return y
	}
	exact, err := w.Expr.Eval()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := bias.Expr.Eval()
	if err != nil {
		t.Fatal(err)
	}
	corrected, err := product.Param(1).Expr.Eval()
	if err != nil {
		t.Fatal(err)
	}
	r := p.row(t, "layer.weight")
	if p.row(t, "layer.bias").weight != product.Param(1) {
		t.Error("the plan does not write the corrected bias")
	}
	stored := make([]float32, n*k)
	kernels.Dequantize(stored, quantizeBy(t, r.Quantized.Method, n, k, r.Quantized.Scheme(), r.Quantized.Scales == "F16", exact), 0)
	for i := range n {
		want, got, without := at(exact, plain, i), at(stored, corrected, i), at(stored, plain, i)
		if math.Abs(got-want) > 1e-5*math.Abs(want)+1e-5 {
			t.Errorf("output %d: %g, before quantization %g, without correction %g", i, got, want, without)
		}
	}
}
