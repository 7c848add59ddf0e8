package run

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
)

// beam is a text that is followed, with the sum of the logarithms of its ids' probabilities.
type beam struct {
	ids   []int
	score float64
}

// beams are the texts of one clip: those under way, and those that have ended, the best first.
type beams struct {
	running []beam
	ended   []beam
	best    float64 // the score of the likeliest candidate of the last step
	done    bool
}

// beamSearch follows d.Beams texts of each clip at once (transformers, generation/beam_search.py BeamSearchScorer and
// generation/utils.py _beam_search). logits are those behind the prompt, which all texts of a clip share.
func (g *generation) beamSearch(ctx context.Context, rules *tokenRules, logits [][]float32) ([][]int, error) {
	d, k := g.d, g.d.Beams
	if len(d.End) == 0 {
		return nil, fmt.Errorf("beam search needs the id that ends a text, and the configuration has none")
	}
	prompt := rules.begin
	clips := make([]beams, g.clips)
	rows := make([][]float32, 0, g.clips*k) // the logits of every running text
	for i := range clips {
		for j := range k {
			b := beam{ids: slices.Clone(g.texts[i])}
			if j > 0 {
				b.score = -1e9 // all begin alike: only one of them counts
			}
			clips[i].running = append(clips[i].running, b)
			rows = append(rows, logits[i])
		}
	}
	g.repeat(k)
	for length := prompt; length < d.MaxLength; length++ {
		from := make([]int, 0, len(rows)) // the row that each running text goes on from
		next := make([]int, 0, len(rows))
		for i := range clips {
			c := &clips[i]
			if c.done {
				for j := range k {
					from, next = append(from, i*k+j), append(next, d.End[0])
				}
				continue
			}
			origins := c.advance(d.End, rules, rows[i*k:(i+1)*k], k, length+1-prompt, d.LengthPenalty)
			for j, o := range origins {
				from, next = append(from, i*k+o), append(next, c.running[j].ids[length])
			}
			c.done = c.finished(d.EarlyStopping, k, length+1-prompt, d.MaxLength-prompt, d.LengthPenalty)
		}
		if !slices.ContainsFunc(clips, func(c beams) bool { return !c.done }) || length+1 == d.MaxLength {
			break
		}
		g.choose(from)
		var err error
		if rows, err = g.step(ctx, next, 1); err != nil {
			return nil, err
		}
	}
	texts := make([][]int, len(clips))
	for i := range clips {
		c := &clips[i]
		if !c.done {
			for _, b := range c.running {
				c.end(b, len(b.ids)-prompt, d.LengthPenalty, k)
			}
		}
		texts[i] = c.ended[0].ids
		if len(texts[i]) < d.MaxLength && !slices.Contains(d.End, texts[i][len(texts[i])-1]) {
			texts[i] = append(texts[i], d.End[0])
		}
	}
	return texts, nil
}

// candidate is an id that may follow one of the running texts.
type candidate struct {
	beam, id int
	score    float64
}

// advance lets the likeliest ids follow the running texts, and takes out those that thereby end. It returns which text each of
// the new ones comes from. generated is the number of ids behind the prompt, the new one included.
func (c *beams) advance(end []int, rules *tokenRules, rows [][]float32, k, generated int, penalty float64) (from []int) {
	var all []candidate
	for j, row := range rows {
		scores := logSoftmax(row)
		rules.apply(scores, c.running[j].ids)
		for id, s := range scores {
			if !math.IsInf(float64(s), -1) {
				all = append(all, candidate{j, id, c.running[j].score + float64(s)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
	all = all[:min(len(all), max(2, 1+len(end))*k)]
	c.best = math.Inf(-1)
	if len(all) > 0 {
		c.best = all[0].score
	}
	var running []beam
	for rank, x := range all {
		ids := c.running[x.beam].ids
		if slices.Contains(end, x.id) {
			if rank < k {
				c.end(beam{append(slices.Clone(ids), x.id), x.score}, generated, penalty, k)
			}
			continue
		}
		running, from = append(running, beam{append(slices.Clone(ids), x.id), x.score}), append(from, x.beam)
		if len(running) == k {
			break
		}
	}
	for len(running) < k { // nothing else may follow: such a text never wins
		ids := c.running[0].ids
		running, from = append(running, beam{append(slices.Clone(ids), end[0]), math.Inf(-1)}), append(from, 0)
	}
	c.running = running
	return from
}

// end keeps a text that has ended among the k best.
func (c *beams) end(b beam, generated int, penalty float64, k int) {
	b.score /= math.Pow(float64(max(generated, 1)), penalty)
	c.ended = append(c.ended, b)
	slices.SortStableFunc(c.ended, func(a, b beam) int { return cmp.Compare(b.score, a.score) })
	c.ended = c.ended[:min(len(c.ended), k)]
}

// finished reports whether no running text can, or is likely to, become better than the worst of k that have ended.
func (c *beams) finished(stop string, k, generated, most int, penalty float64) bool {
	if len(c.ended) < k {
		return false
	}
	if stop == "first" {
		return true
	}
	if stop == "never" && penalty > 0 {
		generated = most
	}
	return c.ended[len(c.ended)-1].score >= c.best/math.Pow(float64(generated), penalty)
}

// logSoftmax returns the logarithms of the probabilities that logits stand for.
func logSoftmax(logits []float32) []float32 {
	peak := math.Inf(-1)
	for _, v := range logits {
		peak = max(peak, float64(v))
	}
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - peak)
	}
	shift := peak + math.Log(sum)
	out := make([]float32, len(logits))
	for i, v := range logits {
		out[i] = float32(float64(v) - shift)
	}
	return out
}

// repeat makes k texts of every clip, each with what was computed for its clip.
func (g *generation) repeat(k int) {
	from := make([]int, 0, g.clips*k)
	for i := range g.clips {
		from = append(from, slices.Repeat([]int{i}, k)...)
	}
	g.fixed, g.cache = rowsOf(g.fixed, from), rowsOf(g.cache, from)
	g.clips *= k
	texts, ended := g.texts, make([]bool, g.clips)
	g.texts, g.ended = nil, ended
	for _, i := range from {
		g.texts = append(g.texts, slices.Clone(texts[i]))
	}
}

// choose lets every text go on from the one of that number.
func (g *generation) choose(from []int) { g.cache = rowsOf(g.cache, from) }

// rowsOf gathers parts of the outermost axis of every tensor.
func rowsOf(tensors map[string]*graph.Tensor, from []int) map[string]*graph.Tensor {
	out := make(map[string]*graph.Tensor, len(tensors))
	for name, t := range tensors {
		row := t.Shape[1:].Len()
		x := graph.NewTensor(t.Shape.With(0, len(from))...)
		for i, o := range from {
			copy(x.Data[i*row:(i+1)*row], t.Data[o*row:])
		}
		out[name] = x
	}
	return out
}
