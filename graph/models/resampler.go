package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// resampler is the resampler of Qwen-VL (Bai et al., arXiv:2308.12966, section 2.1) and of those who took it over: learned
// queries attend once to an encoder's tokens, keys (not values) having two-dimensional sine positions. Sources: visual.py of
// Qwen/Qwen-VL; OpenBMB/MiniCPM-V omnilmm/model/resampler.py; resampler.py of openbmb/MiniCPM-V-2, -Llama3-V-2_5 and -V-2_6.
type resampler struct {
	Stem           string // before its tensors, with a dot
	Dim, KVDim     int
	Heads, Queries int
	QueryPositions bool // the queries have positions of their own, stored in pos_embed
	KVProj         bool // the encoder's tokens are brought to Dim

	tokens *graph.Node // what read made, [B, N, Dim]
}

const resamplerEps = 1e-6

// newResampler reads the sizes from the tensors behind a stem. Heads are 128 wide where heads is 0.
func newResampler(p *NamedParams, stem string, heads int) (*resampler, error) {
	r := &resampler{Stem: stem, Dim: p.dim(stem+"query", 1), Queries: p.dim(stem+"query", 0), QueryPositions: p.Has(stem + "pos_embed"),
		KVProj: p.Has(stem + "kv_proj.weight"), Heads: heads}
	if r.KVDim = r.Dim; r.KVProj {
		r.KVDim = p.dim(stem+"kv_proj.weight", 1)
	}
	if r.Heads == 0 {
		r.Heads = r.Dim / 128
	}
	if r.Heads < 1 || r.Dim%r.Heads != 0 {
		return nil, fmt.Errorf("config: the resampler's %d channels do not split into %d heads", r.Dim, r.Heads)
	}
	return r, nil
}

// read brings the encoder's tokens [B, N, KVDim] to the queries' width.
func (r *resampler) read(b *graph.Builder, x *graph.Node) *graph.Node {
	if r.KVProj {
		x = b.LinearNoBias(x, r.Stem+"kv_proj", r.KVDim, r.Dim)
	}
	r.tokens = b.LayerNorm(x, r.Stem+"ln_kv", r.Dim, resamplerEps)
	return r.tokens
}

// query returns the queries [1, Queries, Dim], with their positions where they have any.
func (r *resampler) query(b *graph.Builder) *graph.Node {
	q := b.LayerNorm(b.Parameter(graph.Position, r.Stem+"query", r.Queries, r.Dim), r.Stem+"ln_q", r.Dim, resamplerEps)
	if r.QueryPositions {
		q = b.Add(q, b.Parameter(graph.Position, r.Stem+"pos_embed", r.Queries, r.Dim))
	}
	return b.Rearrange(q, "q d -> 1 q d")
}

// attend lets queries [B, Q, Dim] attend to keys and values [B, N, Dim].
func (r *resampler) attend(b *graph.Builder, q, k, v, bias *graph.Node) *graph.Node {
	a := block.Attention{Dim: r.Dim, Heads: r.Heads, QKV: block.Projection{Stem: "in_proj_"}, Q: block.Projection{Stem: "q_proj"},
		K: block.Projection{Stem: "k_proj"}, V: block.Projection{Stem: "v_proj"}, Out: block.Projection{Stem: "out_proj"}}
	return a.Apply(b, q, r.Stem+"attn", block.With{KV: k, V: v, Bias: bias})
}

// resample lets the queries attend to tokens [B, N, KVDim] whose keys have the given positions, [B or 1, N, Dim]: [B, Queries,
// Dim]. bias, which may be nil, is added to the scores.
func (r *resampler) resample(b *graph.Builder, x, positions, bias *graph.Node) *graph.Node {
	x = r.read(b, x)
	return r.attend(b, b.Op(graph.Expand{}, nil, r.query(b), x), b.Add(x, positions), x, bias)
}

// storedPositions brings the positions of the queries' grid to that of a map [B, H, W, ...]: [1, H W, Dim].
func (r *resampler) storedPositions(b *graph.Builder, like *graph.Node) *graph.Node {
	side := block.SquareGrid(r.Queries)
	if side[0] == 0 {
		b.Fail(fmt.Errorf("tensor %squery: %d queries are no square grid, whose positions the tokens could have", r.Stem, r.Queries))
		return like
	}
	table := b.Rearrange(b.Parameter(graph.Position, r.Stem+"pos_embed", r.Queries, r.Dim), "(h w) d -> 1 h w d", "h", side[0], "w", side[1])
	return b.Rearrange(b.Op(graph.ResizeLike{Mode: "bicubic"}, nil, table, like), "1 h w d -> 1 (h w) d")
}

// project is the norm and the matrix behind the queries, whose names stand behind a stem: the tokens of the language model.
func (r *resampler) project(b *graph.Builder, x *graph.Node, stem string) *graph.Node {
	x = b.Name(b.LayerNorm(x, stem+"ln_post", r.Dim, resamplerEps), "ln_post")
	w := b.Derived(graph.Matrix, stem+"proj.weight", graph.TransposeExpr(b.Tensor(stem+"proj", r.Dim, r.Dim)))
	return b.Output(b.Op(graph.Linear{}, []*graph.Weight{w, nil}, x), graph.Projector, "visual_tokens")
}
