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
	"broadcast sum": func(b *graph.Builder) {
		x, y := b.Input("x", -1, -2, 32), b.Input("y", 1, -2, 32)
		b.Output(b.Add(b.Linear(y, "fc", 32, 32), x), graph.Vision, "out") // no residual: y has a batch of one
	},
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
