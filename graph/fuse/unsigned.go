package fuse

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

var _ = register(&Pass{
	Name:     "unsigned",
	Doc:      "quantize what an activation function has made one-sided with a zero point, which spends no codes on the empty side",
	After:    []string{"epilogue"},
	Patterns: []Pattern{markUnsigned},
})

// oneSided are the functions that have nothing, or little, below zero.
var oneSided = map[kernels.Activation]bool{
	kernels.ActGELU: true, kernels.ActGELUTanh: true, kernels.ActQuickGELU: true, kernels.ActSiLU: true, kernels.ActReLU: true,
	kernels.ActSquaredReLU: true, kernels.ActReLU6: true, kernels.ActSigmoid: true, kernels.ActHardswish: true, kernels.ActHardsigmoid: true,
}

// markUnsigned: a product whose input comes out of such a function, whatever reorders it in between.
func markUnsigned(_ *Matcher, n *graph.Node) *graph.Node {
	if len(n.In) == 0 || !oneSided[activationOf(n.In[0])] {
		return nil
	}
	switch op := n.Op.(type) {
	case graph.Linear:
		if op.Unsigned {
			return nil
		}
		op.Unsigned = true
		n.Op = op
	case graph.Conv:
		if op.Unsigned {
			return nil
		}
		op.Unsigned = true
		n.Op = op
	default:
		return nil
	}
	return n
}

// activationOf is the function that a value is the result of, none if it is a sum or a product of others.
func activationOf(n *graph.Node) kernels.Activation {
	for {
		switch op := n.Op.(type) {
		case graph.Rearrange, graph.Slice, graph.Pool:
			n = n.In[0]
		case graph.Unary:
			return op.Act
		case graph.Linear:
			if op.Gated || len(n.In) > 1 {
				return kernels.ActNone
			}
			return op.Act
		case graph.Conv:
			if len(n.In) > 1 {
				return kernels.ActNone
			}
			return op.Act
		default:
			return kernels.ActNone
		}
	}
}
