package block

import (
	"math"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

const (
	bertDim, bertHeads, bertWide, bertWords, bertPlaces = 12, 4, 9, 11, 20
	bertKV                                              = 10
)

func newTestBERT() *BERT {
	t := NewBERT(4, bertDim, bertHeads, bertWide)
	t.Layer.Norm.Eps = 1e-5
	t.Vocabulary, t.MaxPositions = bertWords, bertPlaces
	return t
}

func (w weights) row(table string, rowsIn, i int) []float64 {
	return w.get(table+".weight", rowsIn, bertDim)[i*bertDim : (i+1)*bertDim]
}

func TestBERTEmbeddings(t *testing.T) {
	ids := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{3, 1, 4, 10, 5, 9, 2, 1, 1, 1}}
	types := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{0, 0, 1, 1, 1, 1, 0, 1, 0, 1}}
	places := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{7, 3, 0, 19, 1, 2, 2, 4, 5, 6}}
	words, queries := random(1, 2, 5, bertDim), random(2, 2, 3, bertDim)
	type at func(sample, s int) int
	of := func(x *graph.Tensor) at { return func(i, s int) int { return int(x.Data[i*5+s]) } }
	zero := at(func(int, int) int { return 0 })
	counted := at(func(_, s int) int { return s })
	for name, c := range map[string]struct {
		change        func(t *BERT)
		in            func(in map[string]*graph.Node) BERTInputs
		types, places at
		words, before bool
		noTypes, bare bool
	}{
		"ids":       {in: func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"]} }, types: zero, places: counted},
		"types":     {in: func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"], Types: in["types"]} }, types: of(types), places: counted},
		"positions": {in: func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"], Positions: in["places"]} }, types: zero, places: of(places)},
		"RoBERTa's positions": {change: func(t *BERT) { t.FromPad, t.Pad = true, 1 },
			in:    func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"]} },
			types: zero, places: func(i, s int) int {
				if of(ids)(i, s) == 1 {
					return 1
				}
				n := 1
				for j := range s + 1 {
					if of(ids)(i, j) != 1 {
						n++
					}
				}
				return n
			}},
		"embeddings given": {in: func(in map[string]*graph.Node) BERTInputs { return BERTInputs{Words: in["words"]} }, types: zero, places: counted, words: true},
		"embeddings given, RoBERTa's positions": {change: func(t *BERT) { t.FromPad, t.Pad = true, 1 },
			in:    func(in map[string]*graph.Node) BERTInputs { return BERTInputs{Words: in["words"]} },
			types: zero, places: func(_, s int) int { return s + 2 }, words: true},
		"queries before, no types": {change: func(t *BERT) { t.TokenTypes = 0 },
			in:     func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"], Before: in["queries"]} },
			places: counted, before: true, noTypes: true},
		"no norm": {change: func(t *BERT) { t.NoNorm = true }, in: func(in map[string]*graph.Node) BERTInputs { return BERTInputs{IDs: in["ids"]} },
			types: zero, places: counted, bare: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			bert := newTestBERT()
			if c.change != nil {
				c.change(bert)
			}
			feeds := map[string]*graph.Tensor{"ids": ids, "types": types, "places": places, "words": words, "queries": queries}
			got := build(t, w, feeds, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node { return bert.Embed(b, "e", c.in(in)) })
			same(t, got, func(i int) rows {
				x := newRows(5, bertDim)
				for s := range x {
					copy(x[s], w.row("e.word_embeddings", bertWords, int(ids.Data[i*5+s])))
					if c.words {
						copy(x[s], sample(words, i)[s])
					}
					x[s] = rows{x[s]}.plus(rows{w.row("e.position_embeddings", bertPlaces, c.places(i, s))})[0]
					if !c.noTypes {
						x[s] = rows{x[s]}.plus(rows{w.row("e.token_type_embeddings", 2, c.types(i, s))})[0]
					}
				}
				if c.before {
					x = append(sample(queries, i), x...)
				}
				if c.bare {
					return x
				}
				return w.norm(x, "e.LayerNorm", 1e-5, false)
			})
		})
	}
	// Queries alone are only normalised.
	w := weights{t, graphtest.Params{}}
	got := build(t, w, map[string]*graph.Tensor{"queries": queries}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
		return newTestBERT().Embed(b, "e", BERTInputs{Before: in["queries"]})
	})
	same(t, got, func(i int) rows { return w.norm(sample(queries, i), "e.LayerNorm", 1e-5, false) })
}

// bertSelf, bertCross and bertFeed are the parts of a layer by the reference; mask is 1 where a key is seen.
func (w weights) bertAttention(x, kv rows, at, part string, mask []float32) rows {
	h := softmaxAttention(w.linear(x, at+part+".self.query", bertDim, true), w.linear(kv, at+part+".self.key", bertDim, true),
		w.linear(kv, at+part+".self.value", bertDim, true), bertHeads, bertHeads, 1/math.Sqrt(bertDim/bertHeads), func(_, _, j int, s float64) float64 {
			return s + hidden(mask != nil && mask[j] == 0)
		})
	return w.norm(x.plus(w.linear(h, at+part+".output.dense", bertDim, true)), at+part+".output.LayerNorm", 1e-5, false)
}

func (w weights) bertFeed(x rows, at, suffix string) rows {
	h := w.linear(w.linear(x, at+"intermediate"+suffix+".dense", bertWide, true).each(gelu), at+"output"+suffix+".dense", bertDim, true)
	return w.norm(x.plus(h), at+"output"+suffix+".LayerNorm", 1e-5, false)
}

func TestBERTLayers(t *testing.T) {
	x, y := random(1, 2, 6, bertDim), random(2, 2, 7, bertKV)
	mask := &graph.Tensor{Shape: graph.Shape{2, 6}, Data: []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0}}
	far := &graph.Tensor{Shape: graph.Shape{2, 7}, Data: []float32{1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1}}
	seen := func(i int) []float32 { return mask.Data[i*6 : (i+1)*6] }
	seenFar := func(i int) []float32 { return far.Data[i*7 : (i+1)*7] }
	every := func(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }
	pass := func(b *graph.Builder, in map[string]*graph.Node) BERTPass {
		return BERTPass{Self: With{Bias: HideKeys(b, in["mask"])}, Cross: With{KV: in["y"], Bias: HideKeys(b, in["far"])}}
	}
	for name, c := range map[string]struct {
		change func(t *BERT)
		pass   func(p *BERTPass)
		want   func(w weights, x, y rows, i int) rows
	}{
		"masked": {want: func(w weights, x, _ rows, i int) rows {
			for _, at := range []string{"l0.", "l1.", "l2.", "l3."} {
				x = w.bertFeed(w.bertAttention(x, x, at, "attention", seen(i)), at, "")
			}
			return x
		}},
		"the first layers": {pass: func(p *BERTPass) { p.To = 2 }, want: func(w weights, x, _ rows, i int) rows {
			for _, at := range []string{"l0.", "l1."} {
				x = w.bertFeed(w.bertAttention(x, x, at, "attention", seen(i)), at, "")
			}
			return x
		}},
		"cross-attention in the last layers": {change: func(t *BERT) { t.CrossAttend(bertKV, func(i int) bool { return i >= 2 }) },
			pass: func(p *BERTPass) { p.From = 1 }, want: func(w weights, x, y rows, i int) rows {
				for n, at := range []string{"l1.", "l2.", "l3."} {
					if x = w.bertAttention(x, x, at, "attention", seen(i)); n > 0 {
						x = w.bertAttention(x, y, at, "crossattention", seenFar(i))
					}
					x = w.bertFeed(x, at, "")
				}
				return x
			}},
		"no tokens to attend to": {change: func(t *BERT) { t.CrossAttend(bertKV, every(1)) }, pass: func(p *BERTPass) { p.Cross, p.To = With{}, 1 },
			want: func(w weights, x, _ rows, i int) rows {
				return w.bertFeed(w.bertAttention(x, x, "l0.", "attention", seen(i)), "l0.", "")
			}},
		"Q-Former with text": {change: func(t *BERT) { t.CrossAttend(bertKV, every(2)); t.QueryFeedForward() },
			pass: func(p *BERTPass) { p.Queries, p.Text = 2, true }, want: func(w weights, x, y rows, i int) rows {
				for n, at := range []string{"l0.", "l1.", "l2.", "l3."} {
					x = w.bertAttention(x, x, at, "attention", seen(i))
					queries, text := slices.Clone(x[:2]), x[2:]
					if n%2 == 0 {
						queries = w.bertAttention(queries, y, at, "crossattention", seenFar(i))
					}
					x = append(w.bertFeed(queries, at, "_query"), w.bertFeed(text, at, "")...)
				}
				return x
			}},
		"Q-Former of queries alone": {change: func(t *BERT) { t.CrossAttend(bertKV, every(2)); t.QueryFeedForward() },
			pass: func(p *BERTPass) { p.Queries = 6 }, want: func(w weights, x, y rows, i int) rows {
				for n, at := range []string{"l0.", "l1.", "l2.", "l3."} {
					if x = w.bertAttention(x, x, at, "attention", seen(i)); n%2 == 0 {
						x = w.bertAttention(x, y, at, "crossattention", seenFar(i))
					}
					x = w.bertFeed(x, at, "_query")
				}
				return x
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := weights{t, graphtest.Params{}}
			bert := newTestBERT()
			if c.change != nil {
				c.change(bert)
			}
			got := build(t, w, map[string]*graph.Tensor{"x": x, "y": y, "mask": mask, "far": far}, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
				p := pass(b, in)
				if c.pass != nil {
					c.pass(&p)
				}
				return bert.Encode(b, in["x"], "l%d", p).Last
			})
			same(t, got, func(i int) rows { return c.want(w, sample(x, i), sample(y, i), i) })
		})
	}
}

func TestBERTHeads(t *testing.T) {
	x := random(1, 2, 5, bertDim)
	w := weights{t, graphtest.Params{}}
	bert := newTestBERT()
	feeds := map[string]*graph.Tensor{"x": x}
	pooled := build(t, w, feeds, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node { return bert.Pool(b, in["x"], "pooler") })
	same(t, pooled, func(i int) rows { return w.linear(sample(x, i)[:1], "pooler.dense", bertDim, true).each(math.Tanh) })
	logits := build(t, w, feeds, func(b *graph.Builder, in map[string]*graph.Node) *graph.Node {
		return bert.Predict(b, in["x"], BERTHead("words.weight"))
	})
	same(t, logits, func(i int) rows {
		h := w.linear(sample(x, i), "cls.predictions.transform.dense", bertDim, true).each(gelu)
		h = w.norm(h, "cls.predictions.transform.LayerNorm", 1e-5, false)
		return product(h, w.get("words.weight", bertWords, bertDim), w.get("cls.predictions.bias", bertWords))
	})
}
