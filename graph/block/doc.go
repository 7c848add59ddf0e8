// Package block holds the parts that systems share: the transformer layer, BERT, the ResNet, patch embeddings and position
// tables, attention pooling, squeeze-and-excitation, windows, rotary positions. Each is described once, takes values and
// returns values, and is tested alone.
//
// A block is a struct of sizes, options and stems. A stem is where a canonical tensor name begins: the builder finds
// stem.weight and stem.bias. A block's method takes the stem of the block itself ("at"), and the block's own stems follow it
// behind a dot. Projects differ in these names; so a layer in the names of another project is the same struct with other
// strings, and a project's usual ones are values here ([CLIPLayer], [BERTLayer] …), to be copied and changed:
//
//	layer := block.CLIPLayer.Sized(768, 12, 3072)
//	layer.Norm.Eps, layer.MLP.Act = 1e-6, kernels.ActGELUTanh
//	layer.Attention.K.Bias = block.Absent
//	tower := (&block.Transformer{Layer: layer, Stem: "encoder.layers.%d", Layers: 12}).Apply(b, x, block.With{}, block.With{})
//	tower.NameStates(b, "vision.hidden_state.%d")
//
// No block gives names to values: a system does, which knows what its cases record. Errors go to the builder, where the
// first one sticks; sizes that come from a configuration must be checked to be positive before.
package block

import (
	"strings"

	"github.com/mmconv/mmconv/graph"
)

// join puts a block's own stem behind the block's.
func join(at, own string) string {
	switch {
	case at == "":
		return own
	case own == "":
		return at
	}
	return at + "." + own
}

// Presence says whether an architecture has a tensor.
type Presence int

// The answers. What is stored decides where neither a configuration nor the architecture does.
const (
	Required Presence = iota
	Absent
	Stored // where the checkpoint holds it
)

// Projection is a linear map inside a block: the stem of its weight [out, in] and its bias [out], and whether it has one.
// A stem that ends in "_" is followed by weight and bias without a dot: torch's MultiheadAttention has in_proj_weight.
type Projection struct {
	Stem       string
	Bias       Presence
	Transposed bool // the weight is stored as [in, out], as GPT-2's are
}

// tensor returns the name of the weight or the bias.
func (p Projection) tensor(at, what string) string {
	stem := join(at, p.Stem)
	if strings.HasSuffix(stem, "_") {
		return stem + what
	}
	return stem + "." + what
}

// biased reports whether there is a bias.
func (p Projection) biased(b *graph.Builder, at string) bool {
	return p.Bias == Required || p.Bias == Stored && b.Params.Has(p.tensor(at, "bias"))
}

// Apply is x W^T + bias, [..., in] to [..., out].
func (p Projection) Apply(b *graph.Builder, x *graph.Node, at string, in, out int) *graph.Node {
	return b.Op(graph.Linear{}, p.weights(b, at, in, out), x)
}

func (p Projection) weights(b *graph.Builder, at string, in, out int) []*graph.Weight {
	w := []*graph.Weight{b.Derived(graph.Matrix, p.tensor(at, "weight"), p.matrix(b, at, in, out)), nil}
	if p.biased(b, at) {
		w[1] = b.Weight(graph.Bias, p.tensor(at, "bias"), out)
	}
	return w
}

// matrix is the weight's expression, [out, in].
func (p Projection) matrix(b *graph.Builder, at string, in, out int) graph.Expr {
	if p.Transposed {
		return graph.TransposeExpr(b.Tensor(p.tensor(at, "weight"), in, out))
	}
	return b.Tensor(p.tensor(at, "weight"), out, in)
}

// part returns the weights of a projection to out channels that is a part of a larger one; cut takes the part out of a tensor
// whose outermost axis is the larger one's. They are called as own's, which the part stands for.
func (p Projection) part(b *graph.Builder, own Projection, at string, in, whole int, cut func(graph.Expr) graph.Expr) []*graph.Weight {
	w := []*graph.Weight{b.Derived(graph.Matrix, own.tensor(at, "weight"), cut(p.matrix(b, at, in, whole))), nil}
	if p.biased(b, at) {
		w[1] = b.Derived(graph.Bias, own.tensor(at, "bias"), cut(b.Tensor(p.tensor(at, "bias"), whole)))
	}
	return w
}
