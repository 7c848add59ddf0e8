package quant

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// correctBiases adds to the bias of each product what quantizing its weight would shift the output by: (W - Wq) m, where m
// is the known mean of the inputs. (Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias
// Correction, section 4.2.)
func correctBiases(g *graph.Graph, p *Plan) error {
	rows := map[*graph.Weight]*Row{}
	for i := range p.Rows {
		rows[p.Rows[i].weight] = &p.Rows[i]
	}
	for _, n := range g.Nodes() {
		w, bias := n.Param(0), n.Param(1)
		if w == nil || w.InputMean == nil || bias == nil {
			continue
		}
		r, b := rows[w], rows[bias]
		if r.Quantized == nil || b.Quantized != nil {
			continue
		}
		corrected := *bias
		corrected.Expr = graph.AddExpr(bias.Expr, graph.Apply(biasCorrection{r.Quantized.Method, r.target()}, w.Expr, graph.Values("mean", w.InputMean, len(w.InputMean))))
		n.Params[1], b.weight = &corrected, &corrected
		b.Source = corrected.Expr.String()
	}
	return nil
}

var _ = graph.RegisterExpr(biasCorrection{})

// biasCorrection is (W - Wq) m, summed in float64. Arguments: W [N, ...], m [K].
type biasCorrection struct {
	Method string
	Target Target
}

func (o biasCorrection) Infer(args []graph.Shape) (graph.Shape, error) {
	if _, err := MethodByName(o.Method); err != nil {
		return nil, err
	}
	if len(args) != 2 || args[0].Len() != o.Target.N*o.Target.K || args[1].Len() != o.Target.K {
		return nil, fmt.Errorf("they are no weight of %d x %d and the mean of its inputs", o.Target.N, o.Target.K)
	}
	return graph.Shape{o.Target.N}, nil
}

func (o biasCorrection) Eval(args []*graph.Tensor) ([]float32, error) {
	t, w := o.Target, args[0].Data
	out := make([]float32, t.N)
	if !kernels.AllFinite(w) {
		return out, nil // nothing to make up for; the weight itself is refused, or cleaned, when it is written
	}
	method, err := MethodByName(o.Method)
	if err != nil {
		return nil, err
	}
	rows, err := method.Begin(t)
	if err != nil {
		return nil, err
	}
	q := kernels.NewQuantized(t.N, t.K, t.Scheme)
	rows(q, w)
	stored := make([]float32, len(w))
	kernels.Dequantize(stored, q, 0)
	for i := range out {
		sum := 0.0
		for k, m := range args[1].Data {
			at := i*t.K + k
			sum += float64(w[at]-stored[at]) * float64(m)
		}
		out[i] = float32(sum)
	}
	return out, nil
}

func (o biasCorrection) String() string { return fmt.Sprintf("biasCorrection[%s %+v]", o.Method, o.Target) }
