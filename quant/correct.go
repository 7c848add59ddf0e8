package quant

import (
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
		method, err := MethodByName(r.Quantized.Method)
		if err != nil {
			return err
		}
		corrected := *bias
		corrected.Expr = graph.AddExpr(bias.Expr, shift(w, r, method))
		n.Params[1], b.weight = &corrected, &corrected
		b.Source = corrected.Expr.String()
	}
	return nil
}

// shift is (W - Wq) m, summed in float64.
func shift(w *graph.Weight, r *Row, method Method) graph.Expr {
	t := r.target()
	return graph.Func("biasCorrection", graph.Shape{t.N}, func(v [][]float32) ([]float32, error) {
		out := make([]float32, t.N)
		if !kernels.AllFinite(v[0]) {
			return out, nil // nothing to make up for; the weight itself is refused, or cleaned, when it is written
		}
		rows, err := method.Begin(t)
		if err != nil {
			return nil, err
		}
		q := kernels.NewQuantized(t.N, t.K, t.Scheme)
		rows(q, v[0])
		stored := make([]float32, len(v[0]))
		kernels.Dequantize(stored, q, 0)
		for i := range out {
			sum := 0.0
			for k, m := range w.InputMean {
				at := i*t.K + k
				sum += float64(v[0][at]-stored[at]) * float64(m)
			}
			out[i] = float32(sum)
		}
		return out, nil
	}, w.Expr)
}
