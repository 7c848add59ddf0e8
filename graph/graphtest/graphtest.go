// Package graphtest helps to test graphs: weights that are made up, inputs of a graph's example shapes, and the comparison
// of two graphs' outputs.
package graphtest

import (
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
)

// Params makes up every tensor that it is asked for, the same one each time: Gaussian values scaled by the inner size, as
// trained layers have them. Missing lists the names that Has denies.
type Params struct {
	Missing map[string]bool
}

// Has reports whether the tensor is not declared missing.
func (p Params) Has(name string) bool { return !p.Missing[name] }

// Param returns made-up values that depend on the name and the shape only.
func (p Params) Param(name string, shape ...int) (graph.Expr, error) {
	return graph.Apply(madeUp{name, shape}), nil
}

var _ = graph.RegisterExpr(madeUp{})

type madeUp struct {
	Name string
	Dims graph.Shape
}

func (o madeUp) Infer([]graph.Shape) (graph.Shape, error) { return o.Dims, nil }
func (o madeUp) Eval([]*graph.Tensor) ([]float32, error)  { return values(o.Name, o.Dims), nil }
func (o madeUp) String() string                           { return o.Name }

func values(name string, shape graph.Shape) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	scale := 1 / math.Sqrt(float64(max(shape.Len()/max(1, shape[0]), 1)))
	if len(shape) == 1 {
		scale = 0.5
	}
	v := make([]float32, shape.Len())
	for i := range v {
		v[i] = float32(r.NormFloat64() * scale)
	}
	return v
}

// Feeds makes up a value for every input of a graph, of its example shape. Ids are small whole numbers, pixels bytes, masks
// hide the last element of the last row.
func Feeds(t testing.TB, g *graph.Graph) map[string]*graph.Tensor {
	t.Helper()
	feeds := map[string]*graph.Tensor{}
	r := rand.New(rand.NewPCG(7, 7))
	for _, n := range g.Inputs() {
		if g.Alternates[n.Name()] != nil || replaces(g, n) {
			continue
		}
		s, err := n.Op.Infer(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := graph.NewTensor(s...)
		for i := range x.Data {
			switch {
			case n.Name() == "input_ids":
				x.Data[i] = float32(r.IntN(8))
			case strings.HasPrefix(n.Name(), "pixels"):
				x.Data[i] = float32(r.IntN(256))
			default:
				x.Data[i] = float32(r.NormFloat64())
			}
		}
		feeds[n.Name()] = x
	}
	return feeds
}

// replaces reports whether an input is there only to compute another one from.
func replaces(g *graph.Graph, n *graph.Node) bool {
	live := graph.Sort(g.OutputNodes()...)
	for _, m := range live {
		if m == n {
			return false
		}
	}
	return true
}

// Run computes values of a graph.
func Run(t testing.TB, g *graph.Graph, feeds map[string]*graph.Tensor, names ...string) map[string]*graph.Tensor {
	t.Helper()
	e, err := exec.New(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out, err := e.Run(context.Background(), feeds, names...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// MaxError returns the largest difference of two tensors, relative to the largest magnitude of the second. It fails the
// test where their shapes differ or a value is not a number.
func MaxError(t testing.TB, name string, got, want *graph.Tensor) float64 {
	t.Helper()
	if !got.Shape.Equal(want.Shape) {
		t.Fatalf("%s: shape %v, want %v", name, got.Shape, want.Shape)
	}
	worst, scale := 0.0, 1e-30
	for i, w := range want.Data {
		d := math.Abs(float64(got.Data[i]) - float64(w))
		if math.IsNaN(d) {
			t.Fatalf("%s[%d]: got %g, want %g", name, i, got.Data[i], w)
		}
		worst = max(worst, d)
		scale = max(scale, math.Abs(float64(w)))
	}
	return worst / scale
}
