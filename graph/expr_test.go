package graph

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// expressions returns one expression of each operation, and others that differ from it in one attribute or argument only.
func expressions() []Expr {
	x := func(label string, shape ...int) Expr {
		data := make([]float32, Shape(shape).Len())
		for i := range data {
			data[i] = float32(i+1) / 8
		}
		return Values(label, data, shape...)
	}
	w, v, s := x("w", 4, 6), x("v", 6), x("s", 4)
	scale, shift := BatchNormExpr(v, nil, v, v, 1e-5)
	scale2, _ := BatchNormExpr(v, nil, v, v, 1e-3)
	plain, _ := BatchNormExpr(nil, nil, v, v, 1e-5)
	return []Expr{
		w, v, s, x("w", 6, 4), Values("w", make([]float32, 24), 4, 6), x("another", 4, 6),
		ConcatExpr(w, w), ConcatExpr(w), ConcatExpr(w, Values("w", make([]float32, 24), 4, 6)),
		SliceExpr(w, 0, 2), SliceExpr(w, 0, 3), SliceExpr(w, 1, 3),
		ReshapeExpr(w, 2, 12), ReshapeExpr(w, 12, 2),
		RearrangeExpr(w, "(h w) d -> (w h) d", map[string]int{"h": 2}), RearrangeExpr(w, "(h w) d -> (w h) d", map[string]int{"h": 4}),
		RearrangeExpr(w, "(h w) d -> (w h) d", map[string]int{"w": 2}), TransposeExpr(w),
		ScaleExpr(w, 2), ScaleExpr(w, 0.1), ScaleExpr(w, math.Nextafter32(0.1, 1)),
		ScaleRowsExpr(w, s), ScaleColumnsExpr(w, v), AddExpr(w, w), AddExpr(w, x("another", 4, 6)), MulExpr(w, w), ExpExpr(w),
		MatVecExpr(w, v), LinearExpr(w, v, nil), LinearExpr(w, v, s),
		scale, scale2, plain, shift, WeightNormExpr(s, w, 0), WeightNormExpr(v, w, 1),
	}
}

func TestEqualExpressionsAreOneObject(t *testing.T) {
	var lists [4][]Expr
	var wg sync.WaitGroup
	for i := range lists {
		wg.Go(func() { lists[i] = expressions() })
	}
	wg.Wait()
	for i, e := range lists[0] {
		for _, other := range lists[1:] {
			if other[i] != e {
				t.Errorf("%s was made twice as two objects", e)
			}
		}
		if _, err := e.Eval(); err != nil {
			t.Error(err)
		}
		for j, other := range lists[0][:i] {
			if e == other {
				t.Errorf("expressions %d and %d are one object: %s", i, j, e)
			}
			if e.String() == other.String() {
				t.Errorf("expressions %d and %d differ and both print as %s", i, j, e)
			}
		}
	}
	covered := map[string]bool{}
	for _, e := range lists[0] {
		covered[exprName(e.(*applied).op)] = true
	}
	for name, typ := range exprOps {
		if typ.PkgPath() == "github.com/mmconv/mmconv/graph" && !covered[name] {
			t.Errorf("operation %s is not tried", name)
		}
	}
}

// Expressions that nobody holds are forgotten.
func TestInternedExpressionsAreFreed(t *testing.T) {
	count := func() int {
		interned.Lock()
		defer interned.Unlock()
		return len(interned.known)
	}
	before := count()
	for i := range 1000 {
		ScaleExpr(Values("freed", []float32{float32(i)}, 1), 2)
	}
	for range 100 {
		if runtime.GC(); count() <= before+100 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d expressions are held, %d before 2000 were made and dropped", count(), before)
}

// Arguments that do not fit are an error where the expression is used, and never a panic.
func TestIllFormedExpressions(t *testing.T) {
	w, v := Values("w", make([]float32, 24), 4, 6), Values("v", make([]float32, 5), 5)
	for i, e := range []Expr{
		ConcatExpr(), ConcatExpr(w, v), SliceExpr(w, 3, 5), SliceExpr(w, -1, 2), ReshapeExpr(w, 5, 5), ReshapeExpr(w, -4, -6),
		RearrangeExpr(w, "a b c -> c b a", nil), RearrangeExpr(w, "a b", nil), TransposeExpr(v), ScaleRowsExpr(w, v), ScaleColumnsExpr(w, v),
		AddExpr(w, v), MulExpr(v, w), MatVecExpr(w, v), LinearExpr(w, v, nil), LinearExpr(w, Values("x", make([]float32, 6), 6), v),
		WeightNormExpr(v, w, 0), WeightNormExpr(v, w, 2), ScaleExpr(w, float32(math.Inf(1))),
	} {
		if _, err := e.Eval(); err == nil {
			t.Errorf("expression %d, %s, has a value", i, e)
		}
		b := NewBuilder(nil)
		x := b.Value(b.Derived(Position, "bad", ScaleExpr(e, 2)))
		b.Output(x, Vision, "out")
		if _, err := b.Graph(); err == nil || !strings.Contains(err.Error(), "weight bad") {
			t.Errorf("expression %d in a weight: error %v, want one that names the weight", i, err)
		}
		g := New()
		g.Outputs = []Output{{"out", Vision}}
		if err := g.SetName(x, "out"); err != nil {
			t.Fatal(err)
		}
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "weight bad") {
			t.Errorf("expression %d in a graph: error %v, want one that names the weight", i, err)
		}
	}
	if e := Values("short", make([]float32, 3), 2, 2); e != nil {
		if _, err := e.Eval(); err == nil {
			t.Error("a table of 3 values for 4 elements has a value")
		}
	}
}

// A name stands for one weight.
func TestBuilderRefusesTwoWeightsOfOneName(t *testing.T) {
	for name, second := range map[string]func(*Builder){
		"expression": func(b *Builder) { b.Derived(Position, "w", Values("w", []float32{2}, 1)) },
		"kind":       func(b *Builder) { b.Derived(Bias, "w", Values("w", []float32{1}, 1)) },
	} {
		b := NewBuilder(nil)
		b.Output(b.Value(b.Derived(Position, "w", Values("w", []float32{1}, 1))), Vision, "out")
		b.Derived(Position, "w", Values("w", []float32{1}, 1))
		if _, err := b.Graph(); err != nil {
			t.Fatal(err)
		}
		second(b)
		if _, err := b.Graph(); err == nil || !strings.Contains(err.Error(), "weight w") {
			t.Errorf("another %s: error %v", name, err)
		}
	}
}

func TestRoundTripOfWeights(t *testing.T) {
	var ws []*Weight
	for i, e := range expressions() {
		ws = append(ws, &Weight{Name: fmt.Sprint(i), Kind: Matrix, Expr: e})
	}
	ws[1].InputMean = []float32{1, float32(math.Inf(-1)), 0.1}
	data, err := EncodeWeights(ws, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeWeights(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(ws) {
		t.Fatalf("%d weights of %d", len(again), len(ws))
	}
	for i, w := range ws {
		if got := again[i]; got.Name != w.Name || got.Kind != w.Kind || got.Expr != w.Expr || fmt.Sprint(got.InputMean) != fmt.Sprint(w.InputMean) {
			t.Errorf("weight %s came back as %v, was %v", w.Name, got, w)
		}
	}
	if _, err := EncodeWeights([]*Weight{{Name: "q", Expr: &Quantized{}}}, nil); err == nil || !strings.Contains(err.Error(), "weight q") {
		t.Errorf("a quantized weight was written: %v", err)
	}
}
