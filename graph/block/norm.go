package block

import "github.com/mmconv/mmconv/graph"

// NormKind is a way to normalise channels.
type NormKind int

// The kinds of norms.
const (
	LayerNorm NormKind = iota // to zero mean and unit variance (Ba et al. 2016)
	RMSNorm                   // by the root mean square (Zhang and Sennrich 2019); has no bias
	// StoredNorm is a LayerNorm where the checkpoint holds a bias, else an RMSNorm.
	StoredNorm
)

// Norm describes the norms of a block.
type Norm struct {
	Kind NormKind
	Eps  float64
	Bias Presence // of a LayerNorm
	Gain Presence
	// FromOne says that the stored gain is what the true one exceeds 1 by (Gemma, Moonshine Streaming).
	FromOne bool
}

// Apply normalises the innermost axis, of dim channels, with the tensors at.weight and at.bias.
func (n Norm) Apply(b *graph.Builder, x *graph.Node, at string, dim int) *graph.Node {
	kind, bias := n.Kind, n.Bias
	if kind == StoredNorm {
		kind = LayerNorm
		if bias = Required; !b.Params.Has(at + ".bias") {
			kind = RMSNorm
		}
	}
	has := func(p Presence, name string) bool { return p == Required || p == Stored && b.Params.Has(name) }
	params := make([]*graph.Weight, 1, 2)
	if name := at + ".weight"; has(n.Gain, name) {
		if n.FromOne {
			one := make([]float32, dim)
			for i := range one {
				one[i] = 1
			}
			params[0] = b.Derived(graph.Norm, name, graph.AddExpr(b.Tensor(name, dim), graph.Values("1", one, dim)))
		} else {
			params[0] = b.Weight(graph.Norm, name, dim)
		}
	}
	if kind == RMSNorm {
		return b.Op(graph.RMSNorm{Eps: float32(n.Eps)}, params, x)
	}
	params = append(params, nil)
	if name := at + ".bias"; has(bias, name) {
		params[1] = b.Weight(graph.Norm, name, dim)
	}
	return b.Op(graph.LayerNorm{Eps: float32(n.Eps)}, params, x)
}
