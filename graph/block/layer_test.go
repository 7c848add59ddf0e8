package block

import (
	"fmt"
	"math"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

func TestNorm(t *testing.T) {
	const dim = 12
	x := random(1, 2, 5, dim)
	ones := func(w weights, x rows, f func(gain []float64) []float64, bias []float64) rows {
		gain := make([]float64, dim)
		for i := range gain {
			gain[i] = 1
		}
		gain = f(gain)
		out := newRows(len(x), dim)
		for s := range x {
			mean, square := 0.0, 0.0
			for _, v := range x[s] {
				mean += v / dim
			}
			for _, v := range x[s] {
				square += (v - mean) * (v - mean) / dim
			}
			for i, v := range x[s] {
				if out[s][i] = (v - mean) / math.Sqrt(square+1e-3) * gain[i]; bias != nil {
					out[s][i] += bias[i]
				}
			}
		}
		return out
	}
	as := func(gain []float64) []float64 { return gain }
	for name, c := range map[string]struct {
		norm    Norm
		missing map[string]bool
		want    func(w weights, x rows) rows
	}{
		"layer":            {norm: Norm{}, want: func(w weights, x rows) rows { return w.norm(x, "n", 1e-3, false) }},
		"root mean square": {norm: Norm{Kind: RMSNorm}, want: func(w weights, x rows) rows { return w.norm(x, "n", 1e-3, true) }},
		"stored, a bias":   {norm: Norm{Kind: StoredNorm}, want: func(w weights, x rows) rows { return w.norm(x, "n", 1e-3, false) }},
		"stored, none":     {norm: Norm{Kind: StoredNorm}, missing: missing("n.bias"), want: func(w weights, x rows) rows { return w.norm(x, "n", 1e-3, true) }},
		"no bias": {norm: Norm{Bias: Absent}, want: func(w weights, x rows) rows {
			return ones(w, x, func([]float64) []float64 { return w.get("n.weight", dim) }, nil)
		}},
		"neither":        {norm: Norm{Bias: Absent, Gain: Absent}, want: func(w weights, x rows) rows { return ones(w, x, as, nil) }},
		"neither stored": {norm: Norm{Bias: Stored, Gain: Stored}, missing: missing("n.bias", "n.weight"), want: func(w weights, x rows) rows { return ones(w, x, as, nil) }},
		"from one": {norm: Norm{FromOne: true}, want: func(w weights, x rows) rows {
			return ones(w, x, func(gain []float64) []float64 {
				for i, g := range w.get("n.weight", dim) {
					gain[i] += g
				}
				return gain
			}, w.get("n.bias", dim))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{Missing: c.missing}}
			c.norm.Eps = 1e-3
			got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				return c.norm.Apply(b, in["x"], "n", dim)
			})
			same(t, got, func(i int) rows { return c.want(w, sample(x, i)) })
		})
	}
}

func TestMLP(t *testing.T) {
	const dim, hidden = 12, 7
	x := random(1, 2, 5, dim)
	times := func(a, b float64) float64 { return a * b }
	for name, c := range map[string]struct {
		change func(m *MLP)
		want   func(w weights, x rows) rows
	}{
		"plain": {want: func(w weights, x rows) rows {
			return w.linear(w.linear(x, "m.fc1", hidden, true).each(gelu), "m.fc2", dim, true)
		}},
		"no biases, another width": {change: func(m *MLP) { m.FC1.Bias, m.FC2.Bias, m.Out = Absent, Absent, 3 }, want: func(w weights, x rows) rows {
			return w.linear(w.linear(x, "m.fc1", hidden, false).each(gelu), "m.fc2", 3, false)
		}},
		"gated": {change: func(m *MLP) { m.Act, m.Gate = kernels.ActSiLU, Projection{Stem: "gate"} }, want: func(w weights, x rows) rows {
			return w.linear(w.linear(x, "m.gate", hidden, true).each(silu).zip(w.linear(x, "m.fc1", hidden, true), times), "m.fc2", dim, true)
		}},
		"gate in the first half": {change: func(m *MLP) { m.Act, m.Fused = kernels.ActSiLU, GateFirst }, want: func(w weights, x rows) rows {
			both, c := w.get("m.fc1.weight", 2*hidden, dim), w.get("m.fc1.bias", 2*hidden)
			gate, up := product(x, both[:hidden*dim], c[:hidden]), product(x, both[hidden*dim:], c[hidden:])
			return w.linear(gate.each(silu).zip(up, times), "m.fc2", dim, true)
		}},
		"gate in the second half": {change: func(m *MLP) { m.Act, m.Fused, m.FC1.Bias = kernels.ActSiLU, GateSecond, Absent }, want: func(w weights, x rows) rows {
			both := w.get("m.fc1.weight", 2*hidden, dim)
			up, gate := product(x, both[:hidden*dim], nil), product(x, both[hidden*dim:], nil)
			return w.linear(gate.each(silu).zip(up, times), "m.fc2", dim, true)
		}},
		"norm inside": {change: func(m *MLP) { m.SubNorm, m.Norm = "norm", Norm{Eps: 1e-5} }, want: func(w weights, x rows) rows {
			return w.linear(w.norm(w.linear(x, "m.fc1", hidden, true).each(gelu), "m.norm", 1e-5, false), "m.fc2", dim, true)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			m := MLP{Dim: dim, Hidden: hidden, Act: kernels.ActGELU, FC1: Projection{Stem: "fc1"}, FC2: Projection{Stem: "fc2"}}
			if c.change != nil {
				c.change(&m)
			}
			got := build(t, w, map[string]*graph.Tensor{"x": x}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				return m.Apply(b, in["x"], "m")
			})
			same(t, got, func(i int) rows { return c.want(w, sample(x, i)) })
		})
	}
}

// refAttention is the reference of an attention in a project's names.
func (w weights) attention(x, kv rows, q, k, v, out string, heads int) rows {
	dim := len(x[0])
	h := softmaxAttention(w.linear(x, q, dim, true), w.linear(kv, k, dim, true), w.linear(kv, v, dim, true), heads, heads, 1/math.Sqrt(float64(dim/heads)), nil)
	return w.linear(h, out, dim, true)
}

func TestLayer(t *testing.T) {
	const dim, heads, wide = 12, 4, 9
	x, y := random(1, 2, 5, dim), random(2, 2, 7, 10)
	norm := func(w weights, x rows, stem string) rows { return w.norm(x, "l."+stem, 1e-5, false) }
	self := func(w weights, x rows) rows {
		return w.attention(x, x, "l.self_attn.q_proj", "l.self_attn.k_proj", "l.self_attn.v_proj", "l.self_attn.out_proj", heads)
	}
	mlp := func(w weights, x rows, first, second string) rows {
		return w.linear(w.linear(x, "l."+first, wide, true).each(gelu), "l."+second, dim, true)
	}
	scaled := func(x rows, by ...float64) rows {
		out := newRows(len(x), dim)
		for s := range x {
			for i := range x[s] {
				out[s][i] = x[s][i] * by[i%len(by)]
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		layer func() Layer
		want  func(w weights, x, y rows) rows
	}{
		"norms before": {func() Layer { return CLIPLayer }, func(w weights, x, _ rows) rows {
			x = x.plus(self(w, norm(w, x, "layer_norm1")))
			return x.plus(mlp(w, norm(w, x, "layer_norm2"), "mlp.fc1", "mlp.fc2"))
		}},
		"norms behind branches": {func() Layer { l := CLIPLayer; l.Order = BranchNorm; return l }, func(w weights, x, _ rows) rows {
			x = x.plus(norm(w, self(w, x), "layer_norm1"))
			return x.plus(norm(w, mlp(w, x, "mlp.fc1", "mlp.fc2"), "layer_norm2"))
		}},
		"scales and gates": {func() Layer {
			l := CLIPLayer
			l.Self.Scale, l.Feed.Gate = "ls_1.gamma", "gate"
			return l
		}, func(w weights, x, _ rows) rows {
			x = x.plus(scaled(self(w, norm(w, x, "layer_norm1")), w.get("l.ls_1.gamma", dim)...))
			return x.plus(scaled(mlp(w, norm(w, x, "layer_norm2"), "mlp.fc1", "mlp.fc2"), math.Tanh(w.get("l.gate", 1)[0])))
		}},
		"norms behind sums": {func() Layer { l := BERTLayer; l.Norm.Eps = 1e-5; return l }, func(w weights, x, _ rows) rows {
			x = norm(w, x.plus(w.attention(x, x, "l.attention.self.query", "l.attention.self.key", "l.attention.self.value", "l.attention.output.dense", heads)),
				"attention.output.LayerNorm")
			return norm(w, x.plus(mlp(w, x, "intermediate.dense", "output.dense")), "output.LayerNorm")
		}},
		"cross-attention": {func() Layer { return BARTLayer.Sized(dim, heads, wide).WithCross(BARTCross, 10) }, func(w weights, x, y rows) rows {
			x = x.plus(self(w, norm(w, x, "self_attn_layer_norm")))
			x = x.plus(w.attention(norm(w, x, "encoder_attn_layer_norm"), y, "l.encoder_attn.q_proj", "l.encoder_attn.k_proj", "l.encoder_attn.v_proj",
				"l.encoder_attn.out_proj", heads))
			return x.plus(mlp(w, norm(w, x, "final_layer_norm"), "fc1", "fc2"))
		}},
		"LLaMA's": {func() Layer { l := LLaMALayer; l.Norm.Eps = 1e-5; return l }, func(w weights, x, _ rows) rows {
			rms := func(x rows, stem string) rows { return w.norm(x, "l."+stem, 1e-5, true) }
			h := rms(x, "input_layernorm")
			h = softmaxAttention(w.linear(h, "l.self_attn.q_proj", dim, false), w.linear(h, "l.self_attn.k_proj", dim, false),
				w.linear(h, "l.self_attn.v_proj", dim, false), heads, heads, 1/math.Sqrt(dim/heads), nil)
			x = x.plus(w.linear(h, "l.self_attn.o_proj", dim, false))
			h = rms(x, "post_attention_layernorm")
			h = w.linear(h, "l.mlp.gate_proj", wide, false).each(silu).zip(w.linear(h, "l.mlp.up_proj", wide, false), func(a, b float64) float64 { return a * b })
			return x.plus(w.linear(h, "l.mlp.down_proj", dim, false))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			l := c.layer().Sized(dim, heads, wide)
			got := build(t, w, map[string]*graph.Tensor{"x": x, "y": y}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				return l.Apply(b, in["x"], "l", With{}, With{KV: in["y"]})
			})
			same(t, got, func(i int) rows { return c.want(w, sample(x, i), sample(y, i)) })
		})
	}
}

// A stack gives every hidden state, and lets its layers differ.
func TestTransformer(t *testing.T) {
	const dim, heads, wide = 12, 4, 9
	x := random(1, 2, 5, dim)
	w := weights{t, graphtest.Params{}}
	b := graph.NewBuilder(w.Params)
	stack := Transformer{Layer: Wav2Vec2Layer.Sized(dim, heads, wide), Stem: "layers.%d", Layers: 3, Norm: "norm",
		Each: func(i int, l *Layer, _, _ *With) { l.Attention.Causal = i == 1 }}
	tower := stack.Apply(b, b.Input("x", -1, -2, dim), With{}, With{})
	tower.NameStates(b, "state.%d")
	tower.NameLayers(b, "layer.%d")
	b.Output(tower.Last, graph.Audio, "last")
	b.Output(tower.State(b, -2), graph.Audio, "selected")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	got := graphtest.Run(t, g, map[string]*graph.Tensor{"x": x}, "state.0", "state.1", "layer.1", "state.3", "selected", "last")
	norm := func(x rows, stem string) rows { return w.norm(x, stem, 1e-5, false) }
	states := func(i int) []rows {
		x := sample(x, i)
		out := []rows{x}
		for n := range 3 {
			at := fmt.Sprintf("layers.%d.", n)
			h := softmaxAttention(w.linear(x, at+"attention.q_proj", dim, true), w.linear(x, at+"attention.k_proj", dim, true),
				w.linear(x, at+"attention.v_proj", dim, true), heads, heads, 1/math.Sqrt(dim/heads), func(_, i, j int, s float64) float64 {
					return s + hidden(n == 1 && j > i)
				})
			x = norm(x.plus(w.linear(h, at+"attention.out_proj", dim, true)), at+"layer_norm")
			h = w.linear(w.linear(x, at+"feed_forward.intermediate_dense", wide, true).each(gelu), at+"feed_forward.output_dense", dim, true)
			x = norm(x.plus(h), at+"final_layer_norm")
			out = append(out, x)
		}
		return append(out, norm(x, "norm"))
	}
	for name, n := range map[string]int{"state.0": 0, "state.1": 1, "layer.1": 2, "state.3": 3, "selected": 2, "last": 4} {
		same(t, got[name], func(i int) rows { return states(i)[n] })
	}
	for _, n := range []int{4, -5} {
		fails(t, func(b *graph.Builder, x *graph.Node) {
			(&Tower{Hidden: []*graph.Node{x, x, x, x}}).State(b, n)
		})
	}
}

// The first error ends a stack, however many layers a configuration asks for.
func TestTransformerEndsAtAnError(t *testing.T) {
	layers := 0
	fails(t, func(b *graph.Builder, x *graph.Node) {
		stack := Transformer{Layer: CLIPLayer.Sized(12, 5, 9), Stem: "layers.%d", Layers: 1 << 40,
			Each: func(int, *Layer, *With, *With) { layers++ }}
		stack.Apply(b, x, With{}, With{})
	})
	if layers != 1 {
		t.Errorf("%d layers were built", layers)
	}
}
