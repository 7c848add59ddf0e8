package exec_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

// run builds a graph of one output, feeds its inputs and returns the output.
func run(t *testing.T, feeds map[string]*graph.Tensor, build func(b *graph.Builder) *graph.Node) *graph.Tensor {
	t.Helper()
	b := graph.NewBuilder(graphtest.Params{})
	b.Output(build(b), graph.Joint, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return graphtest.Run(t, g, feeds, "out")["out"]
}

func random(shape ...int) *graph.Tensor {
	x := graph.NewTensor(shape...)
	r := rand.New(rand.NewPCG(uint64(len(shape)), uint64(x.Shape.Len())))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// input adds an input of any size, of the rank of x.
func input(b *graph.Builder, name string, x *graph.Tensor) *graph.Node {
	dims := make([]int, len(x.Shape))
	for i := range dims {
		dims[i] = -1 - i
	}
	return b.Input(name, dims...)
}

// check compares with a function of the index of each element.
func check(t *testing.T, name string, got *graph.Tensor, shape graph.Shape, want func(index []int) float64) {
	t.Helper()
	if !got.Shape.Equal(shape) {
		t.Fatalf("%s: shape %v, want %v", name, got.Shape, shape)
	}
	index := make([]int, len(shape))
	for i, v := range got.Data {
		rest := i
		for ax := len(shape) - 1; ax >= 0; ax-- {
			index[ax] = rest % shape[ax]
			rest /= shape[ax]
		}
		if w := want(index); math.Abs(float64(v)-w) > 1e-4*(1+math.Abs(w)) {
			t.Fatalf("%s%v: got %g, want %g", name, index, v, w)
		}
	}
}

func at(x *graph.Tensor, index ...int) float64 {
	i := 0
	for ax, n := range x.Shape {
		k := index[ax]
		if n == 1 {
			k = 0
		}
		i = i*n + k
	}
	return float64(x.Data[i])
}

func TestBinaryBroadcasts(t *testing.T) {
	shapes := [][2]graph.Shape{
		{{2, 3, 4}, {2, 3, 4}}, {{2, 3, 4}, {4}}, {{4}, {2, 3, 4}}, {{2, 3, 4}, {2, 1, 4}}, {{1, 3, 1}, {5, 1, 7}},
		{{2, 1, 5, 3}, {1, 4, 5, 1}}, {{1}, {1}}, {{300, 70}, {300, 1}}, {{1, 300, 70}, {300, 70}},
	}
	kinds := map[graph.Arithmetic]func(x, y float64) float64{
		graph.Add: func(x, y float64) float64 { return x + y }, graph.Sub: func(x, y float64) float64 { return x - y },
		graph.Mul: func(x, y float64) float64 { return x * y }, graph.Div: func(x, y float64) float64 { return x / y },
	}
	for kind, f := range kinds {
		for _, s := range shapes {
			x, y := random(s[0]...), random(s[1]...)
			out, err := graph.Broadcast(s[0], s[1])
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, map[string]*graph.Tensor{"x": x, "y": y}, func(b *graph.Builder) *graph.Node {
				return b.Op(graph.Binary{Kind: kind}, nil, input(b, "x", x), input(b, "y", y))
			})
			check(t, string(kind), got, out, func(i []int) float64 {
				return f(at(x, i[len(i)-len(x.Shape):]...), at(y, i[len(i)-len(y.Shape):]...))
			})
		}
	}
}

func TestMatMulBroadcasts(t *testing.T) {
	for _, c := range []struct {
		a, b graph.Shape
		t    bool
	}{
		{graph.Shape{3, 5}, graph.Shape{5, 7}, false}, {graph.Shape{3, 5}, graph.Shape{7, 5}, true},
		{graph.Shape{2, 3, 5}, graph.Shape{5, 7}, false}, {graph.Shape{2, 4, 3, 5}, graph.Shape{2, 4, 7, 5}, true},
		{graph.Shape{2, 2, 3, 4, 5}, graph.Shape{2, 2, 1, 6, 5}, true}, {graph.Shape{2, 1, 3, 4, 5}, graph.Shape{2, 3, 5, 6}, false},
		{graph.Shape{1, 1}, graph.Shape{1, 1}, false}, {graph.Shape{2, 17, 1}, graph.Shape{2, 1, 33}, false},
	} {
		a, w := random(c.a...), random(c.b...)
		op := graph.MatMul{TransposeB: c.t, Alpha: 0.5}
		got := run(t, map[string]*graph.Tensor{"a": a, "b": w}, func(b *graph.Builder) *graph.Node {
			return b.Op(op, nil, input(b, "a", a), input(b, "b", w))
		})
		shape, err := op.Infer([]graph.Shape{c.a, c.b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		k := c.a.Last()
		check(t, "matmul", got, shape, func(i []int) float64 {
			outer := i[:len(i)-2]
			row, col := i[len(i)-2], i[len(i)-1]
			oa, ob := outer[len(outer)-(len(c.a)-2):], outer[len(outer)-(len(c.b)-2):]
			sum := 0.0
			for j := range k {
				ia, ib := append(append([]int{}, oa...), row, j), append(append([]int{}, ob...), j, col)
				if c.t {
					ib[len(ib)-2], ib[len(ib)-1] = col, j
				}
				// at treats axes of one as stretched; the two inner axes are never read beyond their size.
				sum += at(a, ia...) * at(w, ib...)
			}
			return 0.5 * sum
		})
	}
}

func TestLayout(t *testing.T) {
	x := random(2, 5, 3)
	one := func(op graph.Op) *graph.Tensor {
		return run(t, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder) *graph.Node { return b.Op(op, nil, input(b, "x", x)) })
	}
	check(t, "slice", one(graph.Slice{Axis: 1, Start: 1, End: -1}), graph.Shape{2, 3, 3}, func(i []int) float64 { return at(x, i[0], i[1]+1, i[2]) })
	check(t, "step", one(graph.Slice{Axis: 1, Start: 1, Step: 2}), graph.Shape{2, 2, 3}, func(i []int) float64 { return at(x, i[0], 2*i[1]+1, i[2]) })
	check(t, "columns", one(graph.Slice{Axis: 2, Start: 1, Step: 2}), graph.Shape{2, 5, 1}, func(i []int) float64 { return at(x, i[0], i[1], 1) })
	check(t, "outer", one(graph.Slice{Axis: 0, Start: 1}), graph.Shape{1, 5, 3}, func(i []int) float64 { return at(x, 1, i[1], i[2]) })
	check(t, "roll", one(graph.Roll{Axis: 1, Shift: -2}), graph.Shape{2, 5, 3}, func(i []int) float64 { return at(x, i[0], (i[1]+2)%5, i[2]) })
	check(t, "pad", one(graph.Pad{Axis: 1, Before: 1, After: 2, Value: 9}), graph.Shape{2, 8, 3}, func(i []int) float64 {
		if i[1] < 1 || i[1] > 5 {
			return 9
		}
		return at(x, i[0], i[1]-1, i[2])
	})
	check(t, "mean", one(graph.Reduce{Kind: graph.Mean, Axis: 1}), graph.Shape{2, 3}, func(i []int) float64 {
		s := 0.0
		for j := range 5 {
			s += at(x, i[0], j, i[1])
		}
		return s / 5
	})
	check(t, "max", one(graph.Reduce{Kind: graph.Max, Axis: -1}), graph.Shape{2, 5}, func(i []int) float64 {
		return max(at(x, i[0], i[1], 0), at(x, i[0], i[1], 1), at(x, i[0], i[1], 2))
	})
	check(t, "argmax", one(graph.ArgMax{}), graph.Shape{2, 5}, func(i []int) float64 {
		best := 0
		for j := range 3 {
			if at(x, i[0], i[1], j) > at(x, i[0], i[1], best) {
				best = j
			}
		}
		return float64(best)
	})
	y := random(2, 2, 3)
	feeds := map[string]*graph.Tensor{"x": x, "y": y}
	check(t, "concat", run(t, feeds, func(b *graph.Builder) *graph.Node {
		return b.Concat(1, input(b, "x", x), input(b, "y", y))
	}), graph.Shape{2, 7, 3}, func(i []int) float64 {
		if i[1] < 5 {
			return at(x, i...)
		}
		return at(y, i[0], i[1]-5, i[2])
	})
	check(t, "columns joined", run(t, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder) *graph.Node {
		n := input(b, "x", x)
		return b.Concat(2, b.Slice(n, 2, 1, 3), n, b.Slice(n, 2, 0, 1))
	}), graph.Shape{2, 5, 6}, func(i []int) float64 { return at(x, i[0], i[1], []int{1, 2, 0, 1, 2, 0}[i[2]]) })
	feeds = map[string]*graph.Tensor{"x": x, "i": {Shape: graph.Shape{2}, Data: []float32{4, 0}}}
	check(t, "select", run(t, feeds, func(b *graph.Builder) *graph.Node {
		return b.Op(graph.Select{}, nil, input(b, "x", x), b.Input("i", -1))
	}), graph.Shape{2, 3}, func(i []int) float64 { return at(x, i[0], []int{4, 0}[i[0]], i[1]) })
}

// A slice of columns is read in place by what can, and copied for what cannot.
func TestStridedViews(t *testing.T) {
	x := random(2, 5, 12)
	got := run(t, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder) *graph.Node {
		n := input(b, "x", x)
		q, k, v := b.Slice(n, 2, 0, 4), b.Slice(n, 2, 4, 8), b.Slice(n, 2, 8, 12)
		a := b.Op(graph.Attention{Heads: 2, KVHeads: 2, Scale: 0.5}, nil, q, k, v)
		return b.Add(a, b.Act(v, kernels.ActReLU)) // v has a reader that needs it dense
	})
	check(t, "attention of columns", got, graph.Shape{2, 5, 4}, func(i []int) float64 {
		head := i[2] / 2 * 2
		sum, out := 0.0, 0.0
		for j := range 5 {
			s := 0.0
			for d := range 2 {
				s += at(x, i[0], i[1], head+d) * at(x, i[0], j, 4+head+d)
			}
			e := math.Exp(0.5 * s)
			sum += e
			out += e * at(x, i[0], j, 8+i[2])
		}
		return out/sum + max(at(x, i[0], i[1], 8+i[2]), 0)
	})
}

// model is a small transformer with everything that the planner of memory can get wrong: views, values in place, names.
func model(t testing.TB) *graph.Graph {
	b := graph.NewBuilder(graphtest.Params{})
	x := b.Input("x", -1, -2, 32)
	for i := range 3 {
		h := b.LayerNorm(x, "n"+string(rune('a'+i)), 32, 1e-5)
		qkv := b.Linear(h, "qkv"+string(rune('a'+i)), 32, 96)
		h = b.Attention(b.Slice(qkv, 2, 0, 32), b.Slice(qkv, 2, 32, 64), b.Slice(qkv, 2, 64, 96), graph.AttentionSpec{Heads: 4, HeadDim: 8})
		x = b.Add(x, b.Linear(h, "o"+string(rune('a'+i)), 32, 32))
		x = b.Namef(b.Add(x, b.Linear(b.Act(b.Linear(x, "f"+string(rune('a'+i)), 32, 64), kernels.ActGELU), "g"+string(rune('a'+i)), 64, 32)), "layer.%d", i)
	}
	b.Output(b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x), graph.Text, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Values do not depend on which others are computed with them, on what ran before, or on the number of threads.
func TestRunsAgree(t *testing.T) {
	g := model(t)
	e, err := exec.New(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	names := []string{"layer.0", "layer.1", "layer.2", "out"}
	for _, size := range []int{3, 40, 1, 3} {
		feeds := map[string]*graph.Tensor{"x": random(2, size, 32)}
		together, err := e.Run(t.Context(), feeds, names...)
		if err != nil {
			t.Fatal(err)
		}
		for _, threads := range []int{1, 2, 5} {
			for _, name := range names {
				other, err := exec.New(g, exec.Options{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				alone, err := other.Run(t.Context(), feeds, name)
				if err != nil {
					t.Fatal(err)
				}
				if d := graphtest.MaxError(t, name, alone[name], together[name]); d != 0 {
					t.Errorf("%s alone with %d threads differs by %g", name, threads, d)
				}
				other.Close()
			}
		}
		// Fed again from the middle.
		again, err := e.Run(t.Context(), map[string]*graph.Tensor{"layer.1": together["layer.1"]}, "out")
		if err != nil {
			t.Fatal(err)
		}
		if d := graphtest.MaxError(t, "out", again["out"], together["out"]); d != 0 {
			t.Errorf("continued from layer.1, out differs by %g", d)
		}
	}
}

func TestConcurrentRuns(t *testing.T) {
	e, err := exec.New(model(t), exec.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	want := map[int]*graph.Tensor{}
	for n := 1; n < 5; n++ {
		out, err := e.Run(t.Context(), map[string]*graph.Tensor{"x": random(1, n, 32)}, "out")
		if err != nil {
			t.Fatal(err)
		}
		want[n] = out["out"]
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			n := i%4 + 1
			out, err := e.Run(t.Context(), map[string]*graph.Tensor{"x": random(1, n, 32)}, "out")
			if err != nil {
				t.Error(err)
				return
			}
			if d := graphtest.MaxError(t, "out", out["out"], want[n]); d != 0 {
				t.Errorf("length %d differs by %g among others", n, d)
			}
		})
	}
	wg.Wait()
}

func TestProgramDoesNotAllocate(t *testing.T) {
	e, err := exec.New(model(t), exec.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Compile(map[string]graph.Shape{"x": {2, 40, 32}}, "out")
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input("x"), random(2, 40, 32).Data)
	p.Run()
	if n := testing.AllocsPerRun(20, p.Run); n > 0 {
		t.Errorf("a run allocates %g times", n)
	}
}

func TestRunRefuses(t *testing.T) {
	e, err := exec.New(model(t), exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	x := random(1, 2, 32)
	for _, c := range []struct {
		feeds map[string]*graph.Tensor
		fetch string
		says  string
	}{
		{nil, "out", "input x is needed"},
		{map[string]*graph.Tensor{"y": x}, "out", "no value of this model has that name; inputs: x"},
		{map[string]*graph.Tensor{"x": x}, "nope", "has none of that name"},
		{map[string]*graph.Tensor{"x": random(1, 2, 31)}, "out", "expected shape"},
		{map[string]*graph.Tensor{"x": random(2, 32)}, "out", "expected shape"},
		{map[string]*graph.Tensor{"x": {Shape: graph.Shape{1, 2, 32}, Data: make([]float32, 3)}}, "out", "needs 64 values"},
	} {
		if _, err := e.Run(t.Context(), c.feeds, c.fetch); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v of %v: error %v, want one with %q", c.fetch, c.feeds, err, c.says)
		}
	}
}

// A sequence computed in two steps with the keys and values of the first is the sequence computed at once.
func TestCachedAttention(t *testing.T) {
	b := graph.NewBuilder(graphtest.Params{})
	x := b.Input("x", -1, -2, 16)
	pastK, pastV := b.Input("past.k", -1, -3, 16), b.Input("past.v", -1, -3, 16)
	table := b.Parameter(graph.Position, "positions", 20, 16)
	h := b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, table, x, pastK))
	k := b.Output(b.Concat(1, pastK, b.Linear(h, "k", 16, 16)), graph.Decoder, "present.k")
	v := b.Output(b.Concat(1, pastV, b.Linear(h, "v", 16, 16)), graph.Decoder, "present.v")
	b.Output(b.Attention(b.Linear(h, "q", 16, 16), k, v, graph.AttentionSpec{Heads: 2, HeadDim: 8, Causal: true}), graph.Decoder, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	all := random(1, 7, 16)
	empty := graph.NewTensor(1, 0, 16)
	names := []string{"out", "present.k", "present.v"}
	whole := graphtest.Run(t, g, map[string]*graph.Tensor{"x": all, "past.k": empty, "past.v": empty}, names...)
	part := func(from, to int, k, v *graph.Tensor) map[string]*graph.Tensor {
		return graphtest.Run(t, g, map[string]*graph.Tensor{
			"x":      {Shape: graph.Shape{1, to - from, 16}, Data: all.Data[from*16 : to*16]},
			"past.k": k, "past.v": v}, names...)
	}
	first := part(0, 4, empty, empty)
	second := part(4, 7, first["present.k"], first["present.v"])
	tail := &graph.Tensor{Shape: graph.Shape{1, 3, 16}, Data: whole["out"].Data[4*16:]}
	if d := graphtest.MaxError(t, "out", second["out"], tail); d > 1e-6 {
		t.Errorf("in two steps the output differs by %g", d)
	}
}
