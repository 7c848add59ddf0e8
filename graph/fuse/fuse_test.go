package fuse_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/fuse"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Every pass is tried alone and after those that it comes after, on graphs that hold what it looks for and what it must
// leave alone.
var graphs = map[string]func(b *graph.Builder){
	"vision transformer": func(b *graph.Builder) {
		x := pixels(b, 3, 16)
		x = b.Conv(b.Rearrange(x, "b c h w -> b h w c"), "patch", graph.ConvSpec{In: 3, Out: 32, KH: 4, KW: 4, Stride: [2]int{4, 4}})
		x = b.Rearrange(x, "b h w c -> b (h w) c")
		x = b.Prepend(b.Rearrange(b.Parameter(graph.Position, "class", 32), "d -> 1 1 d"), x)
		x = b.Name(b.Add(x, b.Parameter(graph.Position, "positions", 17, 32)), "embeddings")
		for _, l := range []string{"0", "1"} {
			x = b.Namef(layer(b, x, "layer"+l, nil, false), "hidden.%s", l)
		}
		b.Output(b.LayerNorm(b.Token(x, 0), "post", 32, 1e-5), graph.Vision, "pooled")
	},
	"causal text with a mask": func(b *graph.Builder) {
		ids := b.Input("input_ids", -1, -2)
		mask := b.OptionalInput("attention_mask", ids, 1, -1, -2)
		x := b.Embedding(ids, "tokens", 8, 32)
		x = b.Add(x, b.Op(graph.TakeLike{Axis: 0, LikeAxis: 1}, nil, b.Parameter(graph.Position, "positions", 20, 32), ids))
		x = layer(b, x, "layer", b.Op(graph.KeyMask{Value: -10000}, nil, mask), true)
		b.Output(x, graph.Text, "hidden")
	},
	"grouped key heads": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		h := b.RMSNorm(x, "norm", 32, 1e-6)
		h = b.Attention(b.LinearNoBias(h, "q", 32, 32), b.LinearNoBias(h, "k", 32, 16), b.LinearNoBias(h, "v", 32, 16),
			graph.AttentionSpec{Heads: 4, KVHeads: 2, HeadDim: 8})
		b.Output(b.Add(x, b.LinearNoBias(h, "o", 32, 32)), graph.Projector, "out")
	},
	"cross-attention, queries from elsewhere": func(b *graph.Builder) {
		q, x := b.Input("latents", -1, -2, 32), b.Input("x", -1, -3, 24)
		h := b.LayerNorm(q, "norm", 32, 1e-5)
		h = b.Attention(b.Linear(h, "q", 32, 32), b.LinearNoBias(x, "k", 24, 32), b.Linear(x, "v", 24, 32), graph.AttentionSpec{Heads: 4, HeadDim: 8})
		b.Output(b.Add(q, b.Linear(h, "o", 32, 32)), graph.Projector, "out")
	},
	"attention pooling by learned queries": func(b *graph.Builder) {
		x := b.LayerNorm(b.Input("x", -1, -2, 32), "norm", 32, 1e-5)
		q := b.Linear(b.Parameter(graph.Position, "latents", 1, 3, 32), "q", 32, 32)
		h := b.Attention(b.Op(graph.Expand{}, nil, q, x), b.Linear(x, "k", 32, 32), b.LinearNoBias(x, "v", 32, 32), graph.AttentionSpec{Heads: 4, HeadDim: 8})
		b.Output(b.Linear(h, "o", 32, 16), graph.Vision, "pooled")
	},
	"rotary positions": func(b *graph.Builder) {
		x := b.Input("x", -1, 6, 32)
		cos, sin := b.Parameter(graph.Position, "cos", 6, 1, 8), b.Parameter(graph.Position, "sin", 6, 1, 8)
		turn := func(x *graph.Node) *graph.Node {
			x = b.Op(graph.Rotary{Interleaved: true}, nil, b.Rearrange(x, "b s (h d) -> b s h d", "h", 4), cos, sin)
			return b.Rearrange(x, "b s h d -> b s (h d)")
		}
		h := b.LayerNorm(x, "norm", 32, 1e-5)
		h = b.Attention(turn(b.Linear(h, "q", 32, 32)), turn(b.LinearNoBias(h, "k", 32, 32)), b.Linear(h, "v", 32, 32), graph.AttentionSpec{Heads: 4, HeadDim: 8})
		b.Output(b.Add(x, b.Linear(h, "o", 32, 32)), graph.Vision, "out")
	},
	"gated pair": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		h := b.LayerNorm(x, "norm", 32, 1e-5)
		h = b.Mul(b.Act(b.Linear(h, "gate", 32, 48), kernels.ActSiLU), b.Linear(h, "up", 32, 48))
		b.Output(b.Add(b.Linear(h, "down", 48, 32), x), graph.Projector, "out")
	},
	"gated pair, the gate second": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		h := b.Mul(b.LinearNoBias(x, "up", 32, 48), b.Act(b.LinearNoBias(x, "gate", 32, 48), kernels.ActGELU))
		b.Output(b.Linear(h, "down", 48, 16), graph.Projector, "out")
	},
	"mean pooling": func(b *graph.Builder) {
		x := b.LayerNorm(b.Input("x", -1, -2, 32), "norm", 32, 1e-5)
		x = b.Name(b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x), "pooled")
		b.Output(b.LinearNoBias(x, "head", 32, 16), graph.Audio, "out")
	},
	"mean pooling of what is read elsewhere": func(b *graph.Builder) {
		x := b.LayerNorm(b.Input("x", -1, -2, 32), "norm", 32, 1e-5)
		y := b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x)
		z := b.Op(graph.Reduce{Kind: graph.Mean, Axis: -1}, nil, b.RMSNorm(x, "second", 32, 1e-5))
		b.Output(b.Linear(y, "head", 32, 16), graph.Audio, "out")
		b.Output(z, graph.Audio, "mean of channels")
		b.Output(b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, b.RMSNorm(x, "third", 32, 1e-5)), graph.Audio, "pooled")
	},
	"residual network": func(b *graph.Builder) {
		x := pixels(b, 3, 9)
		x = b.Rearrange(x, "b c h w -> b h w c")
		x = b.Conv(x, "stem", graph.ConvSpec{In: 3, Out: 16, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), NoBias: true}) // padding: not to be folded
		x = b.Act(norm(b, x, "bn1"), kernels.ActReLU)
		h := b.Act(norm(b, b.Conv(x, "a", graph.ConvSpec{In: 16, Out: 16, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), Groups: 4}), "bn2"), kernels.ActReLU)
		h = norm(b, b.Conv(h, "b", graph.ConvSpec{In: 16, Out: 16, KH: 1, KW: 1, NoBias: true}), "bn3")
		x = b.Act(b.Add(x, h), kernels.ActReLU)
		b.Output(b.Rearrange(x, "b h w c -> b c h w"), graph.Vision, "map")
	},
	"layer scale": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		h := b.Affine(b.Linear(x, "fc", 32, 32), b.Weight(graph.Norm, "gamma", 32), nil)
		b.Output(b.Add(x, h), graph.Vision, "out")
	},
	"values that others need": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		n := b.Output(b.LayerNorm(x, "norm", 32, 1e-5), graph.Vision, "normed") // an output: its gain stays
		h := b.Linear(n, "a", 32, 32)
		y := b.Act(h, kernels.ActGELU)
		b.Output(b.Add(h, y), graph.Vision, "both") // h has two readers
		w := b.Linear(n, "shared", 32, 32)
		v := b.Linear(b.Act(w, kernels.ActReLU), "shared", 32, 32)
		b.Output(v, graph.Vision, "twice") // one weight, two products
	},
	"two readers of one table": func(b *graph.Builder) {
		x := b.Input("x", -1, 4, 32)
		table := b.Parameter(graph.Position, "table", 8, 32)
		twice := func() *graph.Node { return b.Slice(b.Parameter(graph.Position, "table", 8, 32), 0, 1, 5) }
		y := b.Add(b.Add(x, twice()), twice())                                           // equal expressions
		y = b.Add(b.Add(y, b.Slice(table, 0, 0, 4)), b.Slice(table, 0, 4, 0))            // others
		y = b.Add(y, b.Rearrange(b.Slice(table, 0, 0, 4), "(h w) d -> (w h) d", "h", 2)) // one pattern,
		y = b.Add(y, b.Rearrange(b.Slice(table, 0, 0, 4), "(h w) d -> (w h) d", "h", 4)) // two sizes
		b.Output(b.Add(y, b.Rearrange(b.Slice(table, 0, 0, 4), "(h w) d -> (w h) d", "h", 2)), graph.Vision, "out")
	},
	"two products of one weight, each with an affine": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		h := b.Affine(b.Linear(x, "fc", 32, 32), b.Weight(graph.Norm, "gamma1", 32), b.Weight(graph.Norm, "shift1", 32))
		h = b.Affine(b.Linear(h, "fc", 32, 32), b.Weight(graph.Norm, "gamma2", 32), nil)
		h = b.Affine(b.Linear(h, "biased", 32, 32), nil, b.Weight(graph.Norm, "shift1", 32)) // only the bias changes
		b.Output(b.Affine(b.Linear(h, "biased", 32, 32), nil, b.Weight(graph.Norm, "shift2", 32)), graph.Vision, "out")
	},
	"two norms of one gain, one weight behind both": func(b *graph.Builder) {
		x := b.Input("x", -1, -2, 32)
		for range 2 {
			h := b.LayerNorm(x, "norm", 32, 1e-5)
			h = b.Attention(b.Linear(h, "q", 32, 32), b.LinearNoBias(h, "k", 32, 32), b.Linear(h, "v", 32, 32), graph.AttentionSpec{Heads: 4, HeadDim: 8})
			x = b.Add(x, b.Linear(h, "o", 32, 32))
			x = b.Add(x, b.Mul(b.Act(b.LinearNoBias(x, "gate", 32, 32), kernels.ActSiLU), b.LinearNoBias(x, "up", 32, 32)))
		}
		b.Output(x, graph.Text, "out")
	},
	"one patch embedding of two images": func(b *graph.Builder) { twoImages(b, false) },
	"two convolutions of one pixel input": func(b *graph.Builder) {
		x := b.Rearrange(pixels(b, 3, 8), "b c h w -> b h w c")
		s := graph.ConvSpec{In: 3, Out: 16, KH: 4, KW: 4, Stride: [2]int{4, 4}}
		y := b.Add(norm(b, b.Conv(x, "one", s), "bn1"), norm(b, b.Conv(x, "two", s), "bn2"))
		b.Output(b.Add(y, norm(b, b.Conv(x, "one", s), "bn2")), graph.Vision, "out")
	},
	"norms before convolutions": func(b *graph.Builder) {
		x := b.LayerNorm(b.Input("x", -1, 6, 5, 16), "first", 16, 1e-5)
		y := b.Conv(x, "padded", graph.ConvSpec{In: 16, Out: 12, KH: 3, KW: 3, Pad: graph.Pad2(1, 1)})
		x = b.Name(b.RMSNorm(y, "second", 12, 1e-5), "normed")
		z := b.Conv(x, "plain", graph.ConvSpec{In: 12, Out: 8, KH: 2, KW: 2, Stride: [2]int{2, 2}, NoBias: true})
		z = b.Add(z, b.Conv(x, "wide", graph.ConvSpec{In: 12, Out: 8, KH: 3, KW: 3, Stride: [2]int{2, 2}, Pad: [4]int{1, 0, 1, 0}}))
		z = b.LayerNorm(z, "third", 8, 1e-5)
		z = b.Conv(z, "last", graph.ConvSpec{In: 8, Out: 4, KH: 2, KW: 1, NoBias: true})
		z = b.LayerNorm(z, "fourth", 4, 1e-5) // a depthwise convolution reads it
		b.Output(b.Conv(z, "each", graph.ConvSpec{In: 4, Out: 4, KH: 1, KW: 1, Groups: 4}), graph.Vision, "out")
	},
	"broadcast sum": func(b *graph.Builder) {
		x, y := b.Input("x", -1, -2, 32), b.Input("y", 1, -2, 32)
		b.Output(b.Add(b.Linear(y, "fc", 32, 32), x), graph.Vision, "out") // no residual: y has a batch of one
	},
}

func twoImages(b *graph.Builder, reversed bool) {
	n := pipeline.Normalize{Factor: 1.0 / 255, Mean: pipeline.CLIPMean, Std: pipeline.CLIPStd}
	embed := func(name, stem, bias string, n pipeline.Normalize) *graph.Node {
		x := b.Op(graph.Normalize{Normalize: n}, nil, b.Input(name, -1, 3, 8, 8))
		s := graph.ConvSpec{In: 3, Out: 16, KH: 4, KW: 4, Stride: [2]int{4, 4}}
		w := b.Derived(graph.Kernel, stem+".weight", graph.RearrangeExpr(b.Tensor(stem+".weight", 16, 3, 4, 4), "o i h w -> o h w i", nil))
		return b.Op(s.Op(), []*graph.Weight{w, b.Weight(graph.Bias, bias, 16)}, b.Rearrange(x, "b c h w -> b h w c"))
	}
	other := n
	other.Mean = []float64{0.1, 0.2, 0.3} // another mean, the same deviation: the scaled weights are the same numbers
	outputs := []func(){
		func() {
			b.Output(b.Add(embed("pixels", "patch", "patch.bias", n), embed("pixels2", "patch", "patch.bias", n)), graph.Vision, "alike")
		},
		func() {
			b.Output(b.Add(embed("pixels3", "patch", "other.bias", n), embed("pixels4", "patch", "patch.bias", other)), graph.Vision, "unlike")
		},
	}
	if reversed {
		slices.Reverse(outputs)
	}
	for _, output := range outputs {
		output()
	}
}

func pixels(b *graph.Builder, channels, size int) *graph.Node {
	n := pipeline.Normalize{Factor: 1.0 / 255, Mean: pipeline.CLIPMean[:channels], Std: pipeline.CLIPStd[:channels]}
	return b.Name(b.Op(graph.Normalize{Normalize: n}, nil, b.Input("pixels", -1, channels, size, size)), "pixel_values")
}

func layer(b *graph.Builder, x *graph.Node, name string, bias *graph.Node, causal bool) *graph.Node {
	h := b.LayerNorm(x, name+".n1", 32, 1e-5)
	h = b.Attention(b.Linear(h, name+".q", 32, 32), b.LinearNoBias(h, name+".k", 32, 32), b.Linear(h, name+".v", 32, 32),
		graph.AttentionSpec{Heads: 4, HeadDim: 8, Causal: causal, Bias: bias})
	x = b.Add(x, b.Linear(h, name+".o", 32, 32))
	h = b.LayerNorm(x, name+".n2", 32, 1e-5)
	return b.Add(x, b.Linear(b.Act(b.Linear(h, name+".fc1", 32, 64), kernels.ActQuickGELU), name+".fc2", 64, 32))
}

func norm(b *graph.Builder, x *graph.Node, stem string) *graph.Node {
	return b.Affine(x, b.Weight(graph.Norm, stem+".scale", 16), b.Weight(graph.Norm, stem+".shift", 16))
}

func build(t *testing.T, make func(*graph.Builder)) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder(graphtest.Params{})
	make(b)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

func outputs(g *graph.Graph) []string {
	var names []string
	for _, o := range g.Outputs {
		names = append(names, o.Name)
	}
	return names
}

// tolerance is relative to an output's largest value: float32 rounding of sums in another order.
const tolerance = 1e-5

func TestPassesKeepOutputs(t *testing.T) {
	var all []string
	for _, p := range fuse.Passes() {
		all = append(all, p.Name)
	}
	used := map[string]int{}
	for name, maker := range graphs {
		g := build(t, maker)
		feeds := graphtest.Feeds(t, g)
		want := graphtest.Run(t, g, feeds, outputs(g)...)
		try := func(kind string, skip []string) {
			fused, report, err := fuse.Run(g, fuse.Options{Skip: skip})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, kind, err)
			}
			got := graphtest.Run(t, fused, feeds, outputs(g)...)
			for out := range want {
				if e := graphtest.MaxError(t, out, got[out], want[out]); e > tolerance {
					t.Errorf("%s, %s: %s is off by %.2g", name, kind, out, e)
				}
			}
			// Names that survive stand for the same values.
			for _, v := range fused.Names() {
				if _, fed := feeds[v]; fed || g.Value(v) == nil || isInput(fused, v) {
					continue
				}
				a, b := graphtest.Run(t, fused, feeds, v), graphtest.Run(t, g, feeds, v)
				if e := graphtest.MaxError(t, v, a[v], b[v]); e > tolerance {
					t.Errorf("%s, %s: value %s is off by %.2g", name, kind, v, e)
				}
			}
			for _, r := range report.Rewrites {
				used[r.Pass] += r.Count
			}
		}
		try("all passes", nil)
		for i, p := range all {
			try(p+" alone", slices.Delete(slices.Clone(all), i, i+1))
			try("all but "+p, []string{p})
		}
	}
	for _, p := range all {
		if used[p] == 0 {
			t.Errorf("pass %s rewrote nothing in these graphs: it is not tested", p)
		}
	}
}

func isInput(g *graph.Graph, name string) bool {
	_, ok := g.Value(name).Op.(graph.Input)
	return ok
}

func counts(t *testing.T, g *graph.Graph) (map[string]int, *graph.Graph) {
	t.Helper()
	fused, _, err := fuse.Run(g, fuse.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, node := range graph.Sort(fused.OutputNodes()...) {
		n[graph.OpName(node.Op)]++
	}
	return n, fused
}

// What a layer of a transformer comes down to: two norms without weights, one attention, four products.
func TestTransformerIsFused(t *testing.T) {
	n, fused := counts(t, build(t, graphs["vision transformer"]))
	want := map[string]int{"Conv": 1, "LayerNorm": 5, "Attention": 2, "Linear": 8, "Softmax": 0, "Unary": 0, "Normalize": 0, "Binary": 1}
	for op, k := range want {
		if n[op] != k {
			t.Errorf("%d nodes %s, want %d", n[op], op, k)
		}
	}
	for _, node := range graph.Sort(fused.OutputNodes()...) {
		if a, ok := node.Op.(graph.Attention); ok && a.Scale != 1 {
			t.Errorf("the scale %g of an attention was not folded", a.Scale)
		}
	}
}

// weightNames returns the names of the weights of a fused graph that hold the same checkpoint tensor.
func weightNames(g *graph.Graph, prefix string) []string {
	var names []string
	for _, w := range graph.Weights(graph.Sort(g.OutputNodes()...)) {
		if strings.HasPrefix(w.Name, prefix) {
			names = append(names, w.Name)
		}
	}
	return names
}

// What becomes of a weight that several places read: equal expressions are one weight, others have names of their own that
// do not depend on the order of readers, and a matrix is not stored twice.
func TestSharedWeights(t *testing.T) {
	n, fused := counts(t, build(t, graphs["two products of one weight, each with an affine"]))
	if names := weightNames(fused, "fc.weight"); !slices.Equal(names, []string{"fc.weight"}) {
		t.Errorf("weights %q, want the shared one alone", names)
	}
	if names := weightNames(fused, "biased.bias"); len(names) != 2 || n["Affine"] != 2 {
		t.Errorf("biases %q and %d affines, want two biases of one weight and the affines that scale another", names, n["Affine"])
	}

	_, fused = counts(t, build(t, graphs["two readers of one table"]))
	want := []string{"table[(h w) d -> (w h) d, h=2]", "table[(h w) d -> (w h) d, h=4]", "table[0:4]", "table[1:5]", "table[4:8]"}
	for _, name := range weightNames(fused, "table") {
		if i := slices.IndexFunc(want, func(w string) bool { return strings.HasSuffix(name, strings.TrimPrefix(w, "table")) }); i >= 0 {
			want = slices.Delete(want, i, i+1)
		}
	}
	if got := weightNames(fused, "table"); len(got) != 5 || len(want) != 0 {
		t.Errorf("weights %q lack %q", got, want)
	}

	_, fused = counts(t, build(t, graphs["one patch embedding of two images"]))
	names := weightNames(fused, "patch")
	_, reversed := counts(t, build(t, func(b *graph.Builder) { twoImages(b, true) }))
	other := weightNames(reversed, "patch")
	slices.Sort(names)
	slices.Sort(other)
	if len(names) != 4 || !slices.Equal(names, other) {
		t.Errorf("weights %q, want a kernel and a bias for each normalisation; with the outputs in another order %q", names, other)
	}
	for _, node := range graph.Sort(fused.OutputNodes()...) {
		if c, ok := node.Op.(graph.Conv); ok && !c.Unsigned {
			t.Error("the normalisation of an image was not folded")
		}
	}
}

// The gain of a norm goes through the mean behind it into the weights of the head.
func TestMeanPoolingIsFolded(t *testing.T) {
	n, fused := counts(t, build(t, graphs["mean pooling"]))
	if n["Affine"] != 0 || n["LayerNorm"] != 1 || n["Linear"] != 1 {
		t.Errorf("operations %v, want a norm without weights, a mean and a product", n)
	}
	for _, node := range graph.Sort(fused.OutputNodes()...) {
		if _, ok := node.Op.(graph.LayerNorm); ok && (node.Param(0) != nil || node.Param(1) != nil) {
			t.Error("the norm has kept its weights")
		}
	}
}

// Normalised pixels can still be fed after the normalisation was folded away.
func TestNormalisedPixelsCanBeFed(t *testing.T) {
	g := build(t, graphs["vision transformer"])
	feeds := graphtest.Feeds(t, g)
	want := graphtest.Run(t, g, feeds, "pooled", "pixel_values")
	_, fused := counts(t, g)
	got := graphtest.Run(t, fused, map[string]*graph.Tensor{"pixel_values": want["pixel_values"]}, "pooled")
	if e := graphtest.MaxError(t, "pooled", got["pooled"], want["pooled"]); e > tolerance {
		t.Errorf("from normalised pixels the output is off by %.2g", e)
	}
}

func TestRunRefuses(t *testing.T) {
	g := build(t, graphs["layer scale"])
	if _, _, err := fuse.Run(g, fuse.Options{Skip: []string{"magic"}}); err == nil || !strings.Contains(err.Error(), "attention") {
		t.Errorf("an unknown pass: %v, want an error that lists the passes", err)
	}
	if _, _, err := fuse.Run(g, fuse.Options{Only: []graph.Component{graph.Audio}}); err == nil || !strings.Contains(err.Error(), "vision") {
		t.Errorf("a component that is not there: %v", err)
	}
}
