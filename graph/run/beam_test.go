package run

import (
	"math"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// scoreOf is the sum of the logarithms of the probabilities of a text's ids behind the prompt, over their number, computed in one
// passage over the whole text.
func scoreOf(t *testing.T, m *Model, p *Pass, d *pipeline.Decode, text []int) float64 {
	t.Helper()
	ids := graph.NewTensor(1, len(text)-1)
	for i := range ids.Data {
		ids.Data[i] = float32(text[i])
	}
	out, err := m.Run(t.Context(), map[string]*graph.Tensor{"decoder_input_ids": ids, "input_features": p.Feeds["input_features"]}, "decoder.logits")
	if err != nil {
		t.Fatal(err)
	}
	logits, v := out["decoder.logits"], out["decoder.logits"].Shape.Last()
	begin := d.PromptLength()
	rules := &tokenRules{d: d, begin: begin}
	sum := 0.0
	for i := begin; i < len(text); i++ {
		row := logSoftmax(logits.Data[(i-1)*v : i*v])
		rules.apply(row, text[:i])
		sum += float64(row[text[i]])
	}
	return sum / float64(len(text)-begin)
}

// With as many beams as there are texts, the search finds the likeliest of all; with a few, none that is less likely than what
// is written greedily.
func TestBeamSearch(t *testing.T) {
	m := openDigits(t)
	p, err := m.NewPass(t.Context(), map[string]Input{"audio": Files(digits + "/audio/001.flac")})
	if err != nil {
		t.Fatal(err)
	}
	greedy := *m.Pipeline.Decode
	one, err := m.Generate(t.Context(), &greedy, p.Feeds)
	if err != nil {
		t.Fatal(err)
	}
	few := greedy
	few.Beams, few.LengthPenalty = 4, 1
	best, err := m.Generate(t.Context(), &few, p.Feeds)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := scoreOf(t, m, p, &few, best[0]), scoreOf(t, m, p, &greedy, one[0]); a < b-1e-5 {
		t.Errorf("four beams find a text of score %.5f, one of %.5f", a, b)
	}

	const length = 3
	d := greedy
	allowed := append([]int{one[0][5], one[0][6], one[0][7]}, d.End...)
	d.Suppress = nil
	for id := range m.Pipeline.Text.Vocabulary {
		if !slices.Contains(allowed, id) {
			d.Suppress = append(d.Suppress, id)
		}
	}
	d.Timestamps, d.BeginSuppress = nil, d.End
	d.Beams, d.LengthPenalty, d.EarlyStopping, d.MaxLength = 64, 1, "never", d.PromptLength()+length
	found, err := m.Generate(t.Context(), &d, p.Feeds)
	if err != nil {
		t.Fatal(err)
	}
	top, want := math.Inf(-1), []int(nil)
	var try func(text []int)
	try = func(text []int) {
		n := len(text) - d.PromptLength()
		if n > 0 && (n == length || slices.Contains(d.End, text[len(text)-1])) {
			if s := scoreOf(t, m, p, &d, text); s > top {
				top, want = s, slices.Clone(text)
			}
			return
		}
		for _, id := range allowed {
			if n > 0 || !slices.Contains(d.End, id) {
				try(append(slices.Clone(text), id))
			}
		}
	}
	try(one[0][:d.PromptLength()])
	if !slices.Equal(found[0], want) {
		t.Errorf("found %v, the likeliest of all is %v (score %.5f)", found[0], want, top)
	}
}

// The rules against repetition, on numbers by hand.
func TestRepetitions(t *testing.T) {
	rules := &tokenRules{d: &pipeline.Decode{NoRepeat: 2, Repetition: 2}}
	logits := []float32{4, -4, 4, 1}
	rules.apply(logits, []int{0, 1, 3, 0})
	// 0 and 1 and 3 stand in the text; behind 0 came 1.
	if want := []float32{2, float32(math.Inf(-1)), 4, 0.5}; !slices.Equal(logits, want) {
		t.Errorf("%v, want %v", logits, want)
	}
}
