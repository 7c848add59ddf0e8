package quant

import (
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
)

// Plan says what becomes of every weight of a graph. It is data: after it nothing is left to decide.
type Plan struct {
	Rows []Row `json:"weights"`
}

// Row says what becomes of one weight: how it is stored, and what it is made of.
type Row struct {
	converted.Weight
	weight *graph.Weight
}

// target is what the method is asked for, for a weight that is quantized.
func (r *Row) target() Target {
	n, k := converted.Matrix(r.Shape)
	return Target{Name: r.Name, N: n, K: k, Scheme: r.Quantized.Scheme(), HalfScales: r.Quantized.Scales == "F16"}
}

// statistics is what is known of the inputs of a weight's products.
func (r *Row) statistics() *Statistics {
	return &Statistics{Mean: r.weight.InputMean}
}

// MakePlan decides for each weight of a graph by its kind, its name and the recipe. A glob that matches no weight is an
// error in Keep, which is typed for one model, and no error in an override.
func MakePlan(g *graph.Graph, r *Recipe) (*Plan, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	base := *r
	base.Choice = r.Choice.withDefaults()
	nodes := g.Nodes()
	floatOnly := floatProducts(nodes)
	encoder := encoderWeights(g, r.Only)
	p := &Plan{}
	for _, w := range graph.Weights(nodes) {
		c, kept := base.choiceFor(globNames(w))
		if kept == "" && encoder[w] {
			kept = "the encoder's, which --only projector leaves alone"
		}
		row := Row{converted.Weight{Name: w.Name, Kind: w.Kind, Shape: w.Shape(), Source: w.Expr.String()}, w}
		if err := row.decide(c, kept, floatOnly[w]); err != nil {
			return nil, err
		}
		p.Rows = append(p.Rows, row)
	}
	for _, glob := range r.Keep {
		if !slices.ContainsFunc(p.Rows, func(r Row) bool { return matches(glob, globNames(r.weight)) }) {
			return nil, fmt.Errorf("--keep %s: matches none of the %d weights, such as %s (--dry-run lists them)", glob, len(p.Rows), p.example())
		}
	}
	p.correctBiases(nodes)
	return p, p.checkNames()
}

// projectorInputs are the names of what a projector reads, the first one that a graph has.
var projectorInputs = []string{"vision_features", "selected_features", "vision.last_hidden_state", "last_hidden_state"}

// encoderWeights returns the weights before the projector where that alone is converted: its outputs need the encoder, which then
// stays as it is.
func encoderWeights(g *graph.Graph, only []graph.Component) map[*graph.Weight]bool {
	if len(only) != 1 || only[0] != graph.Projector {
		return nil
	}
	before := map[*graph.Weight]bool{}
	for _, name := range projectorInputs {
		if n := g.Value(name); n != nil {
			for _, w := range graph.Weights(graph.Sort(n)) {
				before[w] = true
			}
			break
		}
	}
	return before
}

// correctBiases lets the bias of each product make up for the error of its weight, where the mean of the inputs is known and
// the bias serves no other weight's products.
func (p *Plan) correctBiases(nodes []*graph.Node) {
	rows := map[*graph.Weight]*Row{}
	for i := range p.Rows {
		rows[p.Rows[i].weight] = &p.Rows[i]
	}
	shared := map[*graph.Weight]bool{}
	of := map[*graph.Weight]*graph.Weight{}
	for _, n := range nodes {
		for i, bias := range n.Params {
			if w := n.Param(0); i != 1 || of[bias] != nil && of[bias] != w {
				shared[bias] = true
			} else {
				of[bias] = w
			}
		}
	}
	for bias, w := range of {
		if bias == nil || w == nil || w.InputMean == nil || shared[bias] {
			continue
		}
		if r, b := rows[w], rows[bias]; r.Quantized != nil && b.Quantized == nil {
			b.Corrects, b.DType, b.Bytes = r.Name, "F32", 4*int64(b.Shape.Len()) // computed, whatever the source has
		}
	}
}

// globNames returns the names that a glob may mean a weight by: its own and those of the tensors that it is made of.
func globNames(w *graph.Weight) []string {
	names := []string{w.Name}
	for _, t := range graph.Leaves(w.Expr) {
		names = append(names, t.Name)
	}
	return names
}

func (p *Plan) example() string {
	for _, r := range p.Rows {
		if r.Kind.Quantizable() {
			return r.Name
		}
	}
	return "nothing"
}

// decide fills in how the weight is stored.
func (r *Row) decide(c Choice, kept, floatOnly string) error {
	scheme, integers := c.scheme()
	switch {
	case kept != "":
		r.Reason = kept
		r.DType = sourceDType(r.weight.Expr).String()
	case !r.Kind.Quantizable() && integers:
		r.Reason = fmt.Sprintf("%s weights stay float", r.Kind)
		r.DType = sourceDType(r.weight.Expr).String()
	case integers:
		q := &converted.Quantized{Bits: scheme.Bits, Group: scheme.Group, Asymmetric: scheme.Asymmetric, Scales: "F32",
			Method: c.Method, Activations: c.Activations}
		if c.halfScales(scheme) {
			q.Scales = "F16"
		}
		if err := r.checkMethod(c.Method); err != nil {
			return err
		}
		if floatOnly != "" && q.Activations != "float32" {
			q.Activations, r.Reason = "float32", floatOnly
		}
		r.Quantized = q
	case c.Weights == "float32":
		r.DType, r.Reason = "F32", "float32 was asked for"
	case c.Weights == "float16" && floatBulk(r.Kind):
		r.DType, r.Reason = "F16", "float16 was asked for"
	case c.Weights == "float16":
		// Few numbers, which every value passes through.
		r.DType, r.Reason = "F32", fmt.Sprintf("%s weights stay float32", r.Kind)
	default:
		r.DType, r.Reason = sourceDType(r.weight.Expr).String(), "kept as in the source"
	}
	entries, err := r.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		r.Bytes += int64(graph.Shape(e.Shape).Len() * e.DType.Size())
	}
	return nil
}

// checkMethod makes sure that what a method needs to know of the weight's inputs is known.
func (r *Row) checkMethod(name string) error {
	m, err := MethodByName(name)
	if err != nil {
		return err
	}
	if missing := r.statistics().missing(m.Needs()); missing != 0 {
		return fmt.Errorf("weight %s: method %s needs %s of its inputs, which is not known: choose another with --method", r.Name, name, missing)
	}
	return nil
}

// floatBulk reports whether float16 is worth it for weights of a kind.
func floatBulk(k graph.Kind) bool {
	return k.Quantizable() || k == graph.Table || k == graph.Position || k == graph.Stem
}

// sourceDType is the type in which an expression's values are stored without loss: that of a plain tensor, F32 for what is
// computed.
func sourceDType(e graph.Expr) formats.DType {
	leaf, ok := e.(graph.Leaf)
	if !ok {
		return formats.F32
	}
	switch d := leaf.Tensor.DType; d {
	case formats.F16, formats.BF16:
		return d
	case formats.F8E4M3, formats.F8E5M2:
		return formats.F16 // holds both exactly
	}
	return formats.F32
}

// floatProducts finds weights whose products run on float activations whatever is asked for, with the reason.
func floatProducts(nodes []*graph.Node) map[*graph.Weight]string {
	m := map[*graph.Weight]string{}
	for _, n := range nodes {
		c, ok := n.Op.(graph.Conv)
		if w := n.Param(0); ok && w != nil && c.Groups > 1 && len(w.Shape()) == 4 && w.Shape()[3] == 1 {
			m[w] = "a depthwise convolution runs on float activations"
		}
	}
	return m
}

// checkNames makes sure that no two tensors of the file would have one name.
func (p *Plan) checkNames() error {
	seen := map[string]string{}
	for i := range p.Rows {
		entries, err := p.Rows[i].Entries()
		if err != nil {
			return err
		}
		for _, e := range entries {
			if other, ok := seen[e.Name]; ok {
				return fmt.Errorf("weights %s and %s would both be stored as %s", other, p.Rows[i].Name, e.Name)
			}
			seen[e.Name] = p.Rows[i].Name
		}
	}
	return nil
}

// Weights is the table that a converted folder will have.
func (p *Plan) Weights() converted.Weights {
	w := make(converted.Weights, len(p.Rows))
	for i := range p.Rows {
		w[i] = p.Rows[i].Weight
	}
	return w
}
