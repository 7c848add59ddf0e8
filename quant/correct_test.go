package quant

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// constants gives a builder weights of one distribution.
type constants struct{}

func (constants) Has(string) bool { return true }

func (constants) Param(name string, shape ...int) (graph.Expr, error) {
	return graph.Values(name, sample("tailed", graph.Shape(shape).Len()), shape...), nil
}

// written carries out a plan and returns the float weight of a name as it was stored.
func written(t *testing.T, p *Plan, name string) []float32 {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	d, err := formats.NewAtomicDir(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	c := &Conversion{Recipe: &Recipe{}, Plan: p}
	if _, err := c.writeWeights(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := formats.Open(dir, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("%s was not written", name)
	}
	out := make([]float32, tensor.Len())
	if err := tensor.Float32s(out, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// Where the mean of the inputs is known, the output for that mean is what it was before quantization.
func TestBiasCorrection(t *testing.T) {
	const n, k = 9000, 35 // more than are quantized at a time
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
	if got := p.row(t, "layer.bias"); got.Corrects != "layer.weight" || got.DType != "F32" {
		t.Errorf("the bias is planned as %+v", got)
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
	corrected := written(t, p, "layer.bias")
	r := p.row(t, "layer.weight")
	stored := make([]float32, n*k)
	kernels.Dequantize(stored, quantizeBy(t, r.Quantized.Method, n, k, r.Quantized.Scheme(), r.Quantized.Scales == "F16", exact), 0)
	for i := range n {
		want, got, without := at(exact, plain, i), at(stored, corrected, i), at(stored, plain, i)
		if math.Abs(got-want) > 1e-5*math.Abs(want)+1e-5 {
			t.Fatalf("output %d: %g, before quantization %g, without correction %g", i, got, want, without)
		}
	}
}

// A bias that other weights' products add too is left alone.
func TestSharedBiasIsNotCorrected(t *testing.T) {
	const n, k = 3, 5
	b := graph.NewBuilder(constants{})
	x := b.Input("x", -1, k)
	first := b.Linear(x, "first", k, n)
	second := b.Linear(x, "second", k, n)
	b.Output(b.Add(first, second), graph.Vision, "y")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	first.Param(0).InputMean = sample("positive", k)
	for _, shared := range []bool{false, true} {
		if shared {
			second.Params[1] = first.Param(1)
		}
		p, err := MakePlan(g, &Recipe{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.row(t, "first.bias").Corrects; (got == "") != shared {
			t.Errorf("shared %v: the bias corrects %q", shared, got)
		}
	}
}

// meaning is a method that needs the mean of the inputs.
type meaning struct{ rtn }

func (meaning) Name() string { return "meaning" }
func (meaning) Needs() Needs { return Mean }

// A plan is refused whose methods need to know what nobody does.
func TestNeeds(t *testing.T) {
	defer func(was []Method) { methods = was }(Methods())
	register(meaning{})
	b := graph.NewBuilder(constants{})
	b.Output(b.Linear(b.Input("x", -1, 4), "layer", 4, 3), graph.Vision, "y")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	r := &Recipe{Choice: Choice{Method: "meaning"}}
	_, err = MakePlan(g, r)
	mustSay(t, err, "layer.weight", "meaning", "the mean", "--method")
	g.Value("y").Param(0).InputMean = make([]float32, 4)
	if _, err := MakePlan(g, r); err != nil {
		t.Error(err)
	}
}
