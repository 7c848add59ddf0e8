package graph

import "github.com/mmconv/mmconv/kernels"

// Kind says what a weight is for; quantization goes by it.
type Kind string

// The kinds of weights. Only Matrix and Kernel weights are quantized; the others stay float whatever their size.
const (
	Matrix   Kind = "matrix"    // [N, K] of a linear layer
	Kernel   Kind = "kernel"    // [O, KH, KW, I] of a convolution
	Bias     Kind = "bias"      // added per channel
	Norm     Kind = "norm"      // gain or shift of a norm, a layer scale, a batch norm
	Table    Kind = "embedding" // looked up by ids
	Stem     Kind = "stem"      // [O, KH, KW, I] of a small first convolution, whose rounding all layers behind it amplify
	Place    Kind = "place"     // [N, K] of a small linear layer that says where a map is read: rounding moves the place
	Position Kind = "position"  // added by position; learned tokens and queries
	Scalar   Kind = "scalar"    // a single number
)

// Quantizable reports whether weights of this kind are products' operands, which is what quantization is for.
func (k Kind) Quantizable() bool { return k == Matrix || k == Kernel }

// Weight is a named constant of a graph: an expression over a checkpoint's tensors, evaluated only when it is written or
// run. Weights are immutable and may be shared by nodes.
type Weight struct {
	Name string // canonical name, unique in the graph
	Kind Kind
	Expr Expr

	// InputMean is the mean of each of the K inputs that the weight is multiplied with, where an import or a pass knows it
	// and it is far from zero; nil otherwise. Quantization makes the bias up for what it shifts.
	InputMean []float32

	// Int8Activations asks for a product with activations quantized to int8 per token, where Expr is [Quantized].
	Int8Activations bool
}

// Shape returns the weight's shape.
func (w *Weight) Shape() Shape { return w.Expr.Shape() }

// Quantized is a weight as integers and scales, as a converted folder holds it. Its value is the dequantized one.
type Quantized struct {
	Dims   Shape // [N, K], or [O, KH, KW, I] with N = O and K the rest
	Scheme kernels.Scheme
	Load   func() (*kernels.Quantized, error)
}

// Shape returns Dims.
func (q *Quantized) Shape() Shape { return q.Dims }

// Eval dequantizes.
func (q *Quantized) Eval() ([]float32, error) {
	m, err := q.Load()
	if err != nil {
		return nil, err
	}
	out := make([]float32, q.Dims.Len())
	kernels.Dequantize(out, m, 0)
	return out, nil
}

func (q *Quantized) String() string { return q.Scheme.String() }

func (q *Quantized) identity() any { return q }
