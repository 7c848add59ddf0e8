package fuse

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

// weights knows the weights of a graph while a pass rewrites it.
type weights struct {
	named map[string]*graph.Weight
	// shared are those that several places of the graph read, or did when the pass began: what a weight is called must not
	// depend on which of its readers is rewritten first.
	shared map[*graph.Weight]bool
}

func (ws *weights) look(g *graph.Graph) {
	if ws.shared == nil {
		ws.shared = map[*graph.Weight]bool{}
	}
	ws.named = map[string]*graph.Weight{}
	read := map[*graph.Weight]bool{}
	for _, n := range g.Nodes() {
		for _, w := range n.Params {
			if w != nil {
				ws.shared[w] = ws.shared[w] || read[w]
				read[w] = true
				ws.named[w.Name] = w
			}
		}
	}
}

// Shared reports whether several places of the graph read a weight. A matrix that is changed for one of them only would
// have to be stored twice.
func (m *Matcher) Shared(w *graph.Weight) bool { return m.weights.shared[w] }

// Derived returns the weight of an expression beside those that the graph has. Readers that derive the same get the same
// weight; where another one has the name already, it gets a name of its own, that tells what it holds.
func (m *Matcher) Derived(k graph.Kind, name string, e graph.Expr) *graph.Weight {
	return m.weight(&graph.Weight{Name: name, Kind: k, Expr: e}, nil)
}

// Changed returns what becomes of a weight for one of its readers, with the mean of the inputs that it is multiplied with,
// nil if that is not known. It takes over the name of a weight that is not shared. What becomes of a shared one has a name
// of its own, the same for all readers for which it becomes the same.
func (m *Matcher) Changed(w *graph.Weight, e graph.Expr, inputMean []float32) *graph.Weight {
	return m.weight(&graph.Weight{Name: w.Name, Kind: w.Kind, Expr: e, InputMean: inputMean}, w)
}

// Bias returns what becomes of the bias old of a product with the weight w, or a new bias where it had none. A nil expression
// is no bias.
func (m *Matcher) Bias(w, old *graph.Weight, e graph.Expr) *graph.Weight {
	if e == nil {
		return nil
	}
	if old != nil {
		return m.Changed(old, e, nil)
	}
	name := w.Name + ".bias"
	if stem, ok := strings.CutSuffix(w.Name, ".weight"); ok {
		name = stem + ".bias"
	}
	return m.Derived(graph.Bias, name, e)
}

// weight returns the weight that equals w, made if there is none: under w's name if that is free or held by the weight that
// it replaces, else under that name with a digest.
func (m *Matcher) weight(w, replaced *graph.Weight) *graph.Weight {
	base := w.Name
	for n := 0; ; n++ {
		holder := m.weights.named[w.Name]
		if holder == nil || holder == replaced && !m.Shared(holder) {
			break
		}
		if equal(holder, w) {
			return holder
		}
		w.Name = fmt.Sprintf("%s#%s", base, digest(w, n))
	}
	m.weights.named[w.Name] = w
	return w
}

func equal(a, b *graph.Weight) bool {
	return a.Kind == b.Kind && a.Expr == b.Expr && slices.Equal(a.InputMean, b.InputMean)
}

func digest(w *graph.Weight, try int) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(w.Kind, w.Expr, w.InputMean, try)))
	return fmt.Sprintf("%x", sum[:4])
}
