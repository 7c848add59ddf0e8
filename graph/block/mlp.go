package block

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// FusedGate says whether, and in which order, FC1 of an [MLP] holds a gate and what it gates as two halves of one matrix.
type FusedGate int

// The orders of the halves.
const (
	NotFused FusedGate = iota
	GateFirst
	GateSecond
)

// MLP is the feed-forward part of a transformer layer (Vaswani et al. 2017, section 3.3): FC2 act(FC1 x), or with a gate
// FC2 (act(Gate x) * FC1 x) (Shazeer 2020, GLU Variants Improve Transformer).
type MLP struct {
	Dim    int // width of the input
	Hidden int
	Out    int // width of the output; 0: Dim
	Act    kernels.Activation

	FC1, FC2 Projection
	Gate     Projection // without a stem: none
	// Fused says that FC1 holds the gate as well: [2 Hidden, Dim]. The halves are called FC1's stem with _g (the gate) and _x.
	Fused FusedGate

	SubNorm string // stem of a norm before FC2; "" for none
	Norm    Norm   // of what kind it is
}

// Apply maps [..., Dim] to [..., Out].
func (m *MLP) Apply(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	out := m.Out
	if out == 0 {
		out = m.Dim
	}
	var h *graph.Node
	switch {
	case m.Fused != NotFused:
		half := func(i int, suffix string) *graph.Node {
			own := Projection{Stem: m.FC1.Stem + suffix}
			return b.Op(graph.Linear{}, m.FC1.part(b, own, at, m.Dim, 2*m.Hidden, func(e graph.Expr) graph.Expr {
				return graph.SliceExpr(e, i*m.Hidden, (i+1)*m.Hidden)
			}), x)
		}
		gate := int(m.Fused - GateFirst)
		h = b.Mul(b.Act(half(gate, "_g"), m.Act), half(1-gate, "_x"))
	case m.Gate.Stem != "":
		h = b.Mul(b.Act(m.Gate.Apply(b, x, at, m.Dim, m.Hidden), m.Act), m.FC1.Apply(b, x, at, m.Dim, m.Hidden))
	default:
		h = b.Act(m.FC1.Apply(b, x, at, m.Dim, m.Hidden), m.Act)
	}
	if m.SubNorm != "" {
		h = m.Norm.Apply(b, h, join(at, m.SubNorm), m.Hidden)
	}
	return m.FC2.Apply(b, h, at, m.Hidden, out)
}
