package block

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// plain is an attention in short names.
func plain(dim, heads int) Attention {
	return Attention{Dim: dim, Heads: heads, Q: Projection{Stem: "q"}, K: Projection{Stem: "k"}, V: Projection{Stem: "v"}, Out: Projection{Stem: "out"}}
}

func missing(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Every option is held against loops over queries and keys that know that option alone.
func TestAttention(t *testing.T) {
	const dim, heads, d = 12, 4, 3
	x, y, z := random(1, 2, 5, dim), random(2, 2, 7, 10), random(4, 2, 7, 10)
	scale := 1 / math.Sqrt(d)
	bias := random(3, 1, heads, 5, 5)
	type reference func(w weights, x, y, z rows) rows
	// projected is the usual way: queries, keys, values, attention, output.
	projected := func(change func(w weights, q, k, v rows) (rows, rows, rows), score func(h, i, j int, s float64) float64) reference {
		return func(w weights, x, _, _ rows) rows {
			q, k, v := w.linear(x, "a.q", dim, true), w.linear(x, "a.k", dim, true), w.linear(x, "a.v", dim, true)
			if change != nil {
				q, k, v = change(w, q, k, v)
			}
			return w.linear(softmaxAttention(q, k, v, heads, heads, scale, score), "a.out", dim, true)
		}
	}
	// byHead norms each head's channels.
	byHead := func(w weights, x rows, stem string, rms bool) rows {
		out := newRows(len(x), dim)
		for h := range heads {
			part := newRows(len(x), d)
			for s := range x {
				copy(part[s], x[s][h*d:(h+1)*d])
			}
			part = w.norm(part, stem, 1e-5, rms)
			for s := range x {
				copy(out[s][h*d:], part[s])
			}
		}
		return out
	}
	// thirds takes three projections out of rows of one tensor.
	thirds := func(stem string, biased bool, row func(part, o int) int) reference {
		return func(w weights, x, _, _ rows) rows {
			all := w.get(stem+"weight", 3*dim, dim)
			var shift []float64
			if biased {
				shift = w.get(stem+"bias", 3*dim)
			}
			var qkv [3]rows
			for p := range qkv {
				var m, c []float64
				for o := range dim {
					r := row(p, o)
					m = append(m, all[r*dim:(r+1)*dim]...)
					if biased {
						c = append(c, shift[r])
					}
				}
				qkv[p] = product(x, m, c)
			}
			return w.linear(softmaxAttention(qkv[0], qkv[1], qkv[2], heads, heads, scale, nil), "a.out", dim, true)
		}
	}
	joined := func(p, o int) int { return p*dim + o }
	cross := func(values func(y, z rows) rows) reference {
		return func(w weights, x, y, z rows) rows {
			q, k, v := w.linear(x, "a.q", dim, true), w.linear(y, "a.k", dim, true), w.linear(values(y, z), "a.v", dim, true)
			return w.linear(softmaxAttention(q, k, v, heads, heads, scale, nil), "a.out", dim, true)
		}
	}
	cases := map[string]struct {
		change  func(a *Attention)
		with    func(b *graph.Builder, in map[string]*graph.Node) With
		missing map[string]bool
		want    reference
	}{
		"plain":  {want: projected(nil, nil)},
		"causal": {change: func(a *Attention) { a.Causal = true }, want: projected(nil, func(_, i, j int, s float64) float64 { return s + hidden(j > i) })},
		"scale":  {change: func(a *Attention) { a.Scale = 0.1 }, want: projected(nil, func(_, _, _ int, s float64) float64 { return s / scale * 0.1 })},
		"bias": {with: func(_ *graph.Builder, in map[string]*graph.Node) With { return With{Bias: in["bias"]} },
			want: projected(nil, func(h, i, j int, s float64) float64 { return s + float64(bias.Data[(h*5+i)*5+j]) })},
		"bias of the input": {with: func(b *graph.Builder, _ map[string]*graph.Node) With {
			return With{BiasOf: func(x *graph.Node) *graph.Node { return b.Rearrange(b.Slice(x, 2, 0, 1), "b s 1 -> b 1 1 s") }}
		}, want: func(w weights, x, y, z rows) rows {
			return projected(nil, func(_, _, j int, s float64) float64 { return s + x[j][0] })(w, x, y, z)
		}},
		"shared heads": {change: func(a *Attention) { a.KVHeads = 2 }, want: func(w weights, x, _, _ rows) rows {
			q, k, v := w.linear(x, "a.q", dim, true), w.linear(x, "a.k", 2*d, true), w.linear(x, "a.v", 2*d, true)
			return w.linear(softmaxAttention(q, k, v, heads, 2, scale, nil), "a.out", dim, true)
		}},
		"wide heads": {change: func(a *Attention) { a.HeadDim, a.OutDim = 5, 9 }, want: func(w weights, x, _, _ rows) rows {
			q, k, v := w.linear(x, "a.q", 20, true), w.linear(x, "a.k", 20, true), w.linear(x, "a.v", 20, true)
			return w.linear(softmaxAttention(q, k, v, heads, heads, 1/math.Sqrt(5), nil), "a.out", 9, true)
		}},
		"biases": {change: func(a *Attention) { a.K.Bias, a.V.Bias, a.Out.Bias = Absent, Stored, Absent }, missing: missing("a.v.bias"),
			want: func(w weights, x, _, _ rows) rows {
				q, k, v := w.linear(x, "a.q", dim, true), w.linear(x, "a.k", dim, false), w.linear(x, "a.v", dim, false)
				return w.linear(softmaxAttention(q, k, v, heads, heads, scale, nil), "a.out", dim, false)
			}},
		"transposed": {change: func(a *Attention) {
			a.QKV, a.Out.Transposed = Projection{Stem: "qkv", Transposed: true}, true
		}, missing: missing("a.q.weight", "a.k.weight", "a.v.weight"), want: func(w weights, x, _, _ rows) rows {
			transposed := func(name string, in, out int) []float64 {
				m, t := w.get(name, in, out), make([]float64, in*out)
				for i := range in {
					for o := range out {
						t[o*in+i] = m[i*out+o]
					}
				}
				return t
			}
			all, c := transposed("a.qkv.weight", dim, 3*dim), w.get("a.qkv.bias", 3*dim)
			part := func(i int) rows { return product(x, all[i*dim*dim:(i+1)*dim*dim], c[i*dim:(i+1)*dim]) }
			return product(softmaxAttention(part(0), part(1), part(2), heads, heads, scale, nil), transposed("a.out.weight", dim, dim), w.get("a.out.bias", dim))
		}},
		"no output": {change: func(a *Attention) { a.Out = Projection{} }, want: func(w weights, x, _, _ rows) rows {
			return softmaxAttention(w.linear(x, "a.q", dim, true), w.linear(x, "a.k", dim, true), w.linear(x, "a.v", dim, true), heads, heads, scale, nil)
		}},
		"cross": {change: func(a *Attention) { a.KVDim = 10 },
			with: func(_ *graph.Builder, in map[string]*graph.Node) With { return With{KV: in["y"]} }, want: cross(func(y, _ rows) rows { return y })},
		"values apart": {change: func(a *Attention) { a.KVDim = 10 },
			with: func(_ *graph.Builder, in map[string]*graph.Node) With { return With{KV: in["y"], V: in["z"]} }, want: cross(func(_, z rows) rows { return z })},
		"joined": {change: func(a *Attention) { a.QKV.Stem = "qkv" }, missing: missing("a.q.weight", "a.k.weight", "a.v.weight"),
			want: thirds("a.qkv.", true, joined)},
		"joined where stored": {change: func(a *Attention) { a.QKV.Stem = "qkv" }, want: projected(nil, nil)},
		"joined by head": {change: func(a *Attention) { a.QKV, a.ByHead = Projection{Stem: "qkv", Bias: Absent}, true }, missing: missing("a.q.weight", "a.k.weight", "a.v.weight"),
			want: thirds("a.qkv.", false, func(p, o int) int { return (o/d*3+p)*d + o%d })},
		"torch's": {change: func(a *Attention) { a.QKV.Stem = "in_proj_" }, missing: missing("a.q.weight", "a.k.weight", "a.v.weight"),
			want: thirds("a.in_proj_", true, joined)},
		"biases apart": {change: func(a *Attention) {
			a.QKV, a.QBias, a.KBias, a.VBias = Projection{Stem: "qkv", Bias: Stored}, "q_bias", "k_bias", "v_bias"
		}, missing: missing("a.q.weight", "a.k.weight", "a.v.weight", "a.qkv.bias", "a.k_bias"), want: func(w weights, x, _, _ rows) rows {
			all := w.get("a.qkv.weight", 3*dim, dim)
			q, k, v := product(x, all[:dim*dim], w.get("a.q_bias", dim)), product(x, all[dim*dim:2*dim*dim], nil), product(x, all[2*dim*dim:], w.get("a.v_bias", dim))
			return w.linear(softmaxAttention(q, k, v, heads, heads, scale, nil), "a.out", dim, true)
		}},
		"keys and values joined": {change: func(a *Attention) { a.KV, a.KVDim = Projection{Stem: "kv"}, 10 }, missing: missing("a.k.weight", "a.v.weight"),
			with: func(_ *graph.Builder, in map[string]*graph.Node) With { return With{KV: in["y"]} },
			want: func(w weights, x, y, _ rows) rows {
				all, c := w.get("a.kv.weight", 2*dim, 10), w.get("a.kv.bias", 2*dim)
				k, v := product(y, all[:dim*10], c[:dim]), product(y, all[dim*10:], c[dim:])
				return w.linear(softmaxAttention(w.linear(x, "a.q", dim, true), k, v, heads, heads, scale, nil), "a.out", dim, true)
			}},
		"norms": {change: func(a *Attention) { a.QNorm, a.KNorm, a.Norm = "q_norm", "k_norm", Norm{Eps: 1e-5} },
			want: projected(func(w weights, q, k, v rows) (rows, rows, rows) {
				return byHead(w, q, "a.q_norm", false), byHead(w, k, "a.k_norm", false), v
			}, nil)},
		"norms over all heads": {change: func(a *Attention) {
			a.QNorm, a.KNorm, a.AllHeads, a.Norm = "q_norm", "k_norm", true, Norm{Kind: RMSNorm, Eps: 1e-5}
		}, want: projected(func(w weights, q, k, v rows) (rows, rows, rows) {
			return w.norm(q, "a.q_norm", 1e-5, true), w.norm(k, "a.k_norm", 1e-5, true), v
		}, nil)},
		"norm and gate before the output": {change: func(a *Attention) { a.SubNorm, a.Norm, a.Gate = "norm", Norm{Eps: 1e-5}, Projection{Stem: "gate"} },
			want: func(w weights, x, _, _ rows) rows {
				h := softmaxAttention(w.linear(x, "a.q", dim, true), w.linear(x, "a.k", dim, true), w.linear(x, "a.v", dim, true), heads, heads, scale, nil)
				h = w.norm(h, "a.norm", 1e-5, false).zip(w.linear(x, "a.gate", dim, true), func(a, g float64) float64 { return a * sigmoid(g) })
				return w.linear(h, "a.out", dim, true)
			}},
		"cache": {with: func(b *graph.Builder, in map[string]*graph.Node) With {
			return With{Cache: func(k, v *graph.Node) (_, _ *graph.Node) {
				return b.Concat(1, in["past"], k), b.Concat(1, in["past"], v)
			}}
		}, want: nil},
		"cut": {change: func(a *Attention) { a.Causal = true }, with: func(b *graph.Builder, _ map[string]*graph.Node) With {
			first := func(x *graph.Node) *graph.Node { return b.Slice(x, 1, 0, 3) }
			return With{Cut: first, Join: func(x *graph.Node) *graph.Node { return b.Concat(1, x, x) }}
		}, want: func(w weights, x, y, z rows) rows {
			h := projected(nil, func(_, i, j int, s float64) float64 { return s + hidden(j > i) })(w, x[:3], y, z)
			return append(slices.Clone(h), h...)
		}},
	}
	past := random(9, 2, 2, dim)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{Missing: c.missing}}
			a := plain(dim, heads)
			if c.change != nil {
				c.change(&a)
			}
			feeds := map[string]*graph.Tensor{"x": x, "y": y, "z": z, "bias": bias, "past": past}
			got := build(t, w, feeds, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				with := With{}
				if c.with != nil {
					with = c.with(b, in)
				}
				return a.Apply(b, in["x"], "a", with)
			})
			same(t, got, func(i int) rows {
				if c.want == nil { // the cache: keys and values of two tokens before
					x, before := sample(x, i), sample(past, i)
					k, v := append(slices.Clone(before), w.linear(x, "a.k", dim, true)...), append(slices.Clone(before), w.linear(x, "a.v", dim, true)...)
					return w.linear(softmaxAttention(w.linear(x, "a.q", dim, true), k, v, heads, heads, scale, nil), "a.out", dim, true)
				}
				return c.want(w, sample(x, i), sample(y, i), sample(z, i))
			})
		})
	}
}

// hidden is what hides a key where it holds.
func hidden(hide bool) float64 {
	if hide {
		return math.Inf(-1)
	}
	return 0
}

// A joined projection that is not there is named, not the parts that it would have had.
func TestAttentionNamesWhatIsMissing(t *testing.T) {
	a := plain(12, 4)
	a.QKV.Stem = "qkv"
	p := recorded{graphtest.Params{Missing: missing("a.q.weight", "a.k.weight", "a.v.weight")}, map[string]bool{}}
	b := graph.NewBuilder(p)
	a.Apply(b, b.Input("x", 2, 5, 12), "a", With{})
	if got := slices.Sorted(maps.Keys(p.read)); !slices.Equal(got, []string{"a.out.bias", "a.out.weight", "a.qkv.bias", "a.qkv.weight"}) {
		t.Errorf("it reads %v", got)
	}
}

// recorded notes what a builder reads.
type recorded struct {
	graphtest.Params
	read map[string]bool
}

func (r recorded) Param(name string, shape ...int) (graph.Expr, error) {
	r.read[name] = true
	return r.Params.Param(name, shape...)
}

func TestAttentionRefuses(t *testing.T) {
	for want, change := range map[string]func(a *Attention){
		"12 channels do not split into 5 heads": func(a *Attention) { a.Heads = 5 },
		"0 heads of queries":                    func(a *Attention) { a.Heads = 0 },
		"4 heads of queries do not share 3":     func(a *Attention) { a.KVHeads = 3 },
	} {
		err := fails(t, func(b *graph.Builder, x *graph.Node) {
			a := plain(12, 4)
			change(&a)
			a.Apply(b, x, "a", With{})
		})
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
