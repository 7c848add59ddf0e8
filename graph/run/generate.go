package run

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/pipeline/audio"
)

var _ = RegisterFeeder(StageAfter, Feeder{Name: "generation", Feed: offerGeneration})

// FirstWindow names the ids that are written for the first window of each clip.
const FirstWindow = "generated_ids.first"

// offerGeneration offers generated_ids (clips, ids), what a decoder writes for the clips that are fed: for those longer than
// the model's window the texts of one window after the other. Shorter texts are filled up with the id that ends them. A
// recorded text says with which id it starts and how long it becomes.
func offerGeneration(ctx context.Context, p *Pass) error {
	if p.Pipeline.Decode == nil || p.Feeds["input_features"] == nil && p.Feeds["encoder.last_hidden_state"] == nil {
		return nil
	}
	d := *p.Pipeline.Decode
	if p.Recording != nil {
		ids, err := p.Recording.Value("generated_ids")
		if err != nil {
			return err
		}
		if ids != nil && len(ids.Data) > 0 {
			if start := int(ids.Data[0]); start != d.Start {
				d.Start, d.Prompt, d.Languages = start, nil, nil
			}
			d.MaxLength = ids.Shape.Last()
		}
	}
	var texts [][]int // of the first windows
	first := func(ctx context.Context) (_ [][]int, err error) {
		if texts == nil {
			texts, err = p.Generate(ctx, &d, p.Feeds)
		}
		return texts, err
	}
	p.Offer(FirstWindow, func(ctx context.Context) (*graph.Tensor, error) {
		texts, err := first(ctx)
		return idMatrix(&d, texts), err
	})
	p.Offer("generated_ids", func(ctx context.Context) (*graph.Tensor, error) {
		texts, err := first(ctx)
		texts = slices.Clone(texts)
		for i := range texts {
			if err == nil && p.Recording == nil && i < len(p.clips) {
				texts[i], err = p.continueText(ctx, &d, p.clips[i], texts[i])
			}
		}
		return idMatrix(&d, texts), err
	})
	return nil
}

// continueText adds to the text of a clip's first window those of the others, read one at a time.
func (p *Pass) continueText(ctx context.Context, d *pipeline.Decode, file string, ids []int) ([]int, error) {
	a := p.Pipeline.Audio
	if a.Samples == 0 {
		return ids, nil
	}
	f, err := audio.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := audio.Resample(f, a.SampleRate, p.kernel)
	if err != nil {
		return nil, err
	}
	ids = slices.Clone(ids)
	for window, err := range audio.Windows(src, a.Samples) {
		if err != nil {
			return nil, &InputError{file, trimPath(err, file)}
		}
		if window.Start == 0 || audio.Silent(window.Samples) {
			continue
		}
		features, err := audio.Extract(a, window.Samples, audio.Choices{})
		if err != nil {
			return nil, &InputError{file, err}
		}
		next, err := p.Generate(ctx, d, map[string]*graph.Tensor{a.Input: {Shape: features.Shape, Data: features.Data}})
		if err != nil {
			return nil, err
		}
		if n := len(ids); n > 0 && slices.Contains(d.End, ids[n-1]) {
			ids = ids[:n-1]
		}
		ids = append(ids, next[0][min(d.PromptLength(), len(next[0])):]...)
	}
	return ids, nil
}

// idMatrix makes the texts equally long.
func idMatrix(d *pipeline.Decode, texts [][]int) *graph.Tensor {
	pad := d.Start
	if len(d.End) > 0 {
		pad = d.End[0]
	}
	longest := 0
	for _, t := range texts {
		longest = max(longest, len(t))
	}
	rows := make([][]int, len(texts))
	for i, t := range texts {
		rows[i] = append(slices.Clone(t), slices.Repeat([]int{pad}, longest-len(t))...)
	}
	return matrix(rows)
}

// Generate lets a decoder write by d for the clips whose features, or encoder.last_hidden_state, are fed. The ids of each
// text start with d.Start and stop with the id that ends it, if one came.
func (m *Model) Generate(ctx context.Context, d *pipeline.Decode, feeds map[string]*graph.Tensor) ([][]int, error) {
	g, err := m.newGeneration(ctx, d, feeds)
	if err != nil {
		return nil, err
	}
	logits, err := g.step(ctx, slices.Repeat([]int{d.Start}, g.clips), 1)
	if err != nil {
		return nil, err
	}
	next := make([]int, 0, g.clips*d.PromptLength())
	for i := range g.clips {
		if len(d.Languages) > 0 {
			next = append(next, best(logits[i], d.Languages))
		}
		next = append(next, d.Prompt...)
	}
	if n := min(d.PromptLength(), d.MaxLength) - 1; n > 0 {
		if logits, err = g.step(ctx, firstOfEach(next, g.clips, n), n); err != nil {
			return nil, err
		}
	}
	begin := len(g.texts[0])
	rules := &tokenRules{d: d, begin: begin}
	if d.Beams > 1 {
		return g.beamSearch(ctx, rules, logits)
	}
	for length := begin; length < d.MaxLength && slices.Contains(g.ended, false); length++ {
		next = next[:0]
		for i, row := range logits {
			if g.ended[i] {
				next = append(next, d.End[0])
				continue
			}
			rules.apply(row, g.texts[i])
			next = append(next, argmax(row))
		}
		if length+1 == d.MaxLength {
			g.take(next, 1)
			break
		}
		if logits, err = g.step(ctx, next, 1); err != nil {
			return nil, err
		}
	}
	return g.texts, nil
}

// firstOfEach keeps the first n of every clip's ids.
func firstOfEach(ids []int, clips, n int) []int {
	var kept []int
	for part := range slices.Chunk(ids, len(ids)/clips) {
		kept = append(kept, part[:n]...)
	}
	return kept
}

// generation is a text under way for each clip, with the keys and values of what is written so far.
type generation struct {
	m     *Model
	d     *pipeline.Decode
	clips int
	fixed map[string]*graph.Tensor // what the encoder gave
	cache map[string]*graph.Tensor // past.N.key and past.N.value
	fetch []string
	texts [][]int
	ended []bool
}

func (m *Model) newGeneration(ctx context.Context, d *pipeline.Decode, feeds map[string]*graph.Tensor) (*generation, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	const encoded = "encoder.last_hidden_state"
	if m.Value("decoder.logits") == nil {
		return nil, fmt.Errorf("this model has no decoder: no text can be written")
	}
	g := &generation{m: m, d: d, cache: map[string]*graph.Tensor{}, fetch: []string{"decoder.logits"}}
	memory := []string{}
	for i := range d.Layers {
		for _, what := range []string{"key", "value"} {
			g.fetch = append(g.fetch, fmt.Sprintf("present.%d.%s", i, what))
			memory = append(memory, fmt.Sprintf("cross.%d.%s", i, what))
		}
	}
	for _, name := range g.fetch {
		if m.Value(name) == nil {
			return nil, fmt.Errorf("the graph has no value %q, which generation needs", name)
		}
	}
	if d.Layers == 0 || slices.ContainsFunc(memory, func(name string) bool { return m.Value(name) == nil }) {
		memory = []string{encoded} // keys and values are then computed anew in each step
	}
	given := map[string]*graph.Tensor{}
	for _, name := range []string{"input_features", encoded} {
		if feeds[name] != nil {
			given[name] = feeds[name]
		}
	}
	if given[encoded] != nil {
		delete(given, "input_features")
	}
	var err error
	if memory[0] == encoded && given[encoded] != nil {
		g.fixed = given
	} else if g.fixed, err = m.Run(ctx, given, memory...); err != nil {
		return nil, err
	}
	g.clips = g.fixed[memory[0]].Shape[0]
	if g.clips == 0 {
		return nil, fmt.Errorf("no clip to write a text for")
	}
	g.texts, g.ended = make([][]int, g.clips), make([]bool, g.clips)
	return g, nil
}

// step writes n ids for each clip and returns each clip's logits behind the last of them.
func (g *generation) step(ctx context.Context, ids []int, n int) ([][]float32, error) {
	g.take(ids, n)
	t := graph.NewTensor(g.clips, n)
	for i, id := range ids {
		t.Data[i] = float32(id)
	}
	feeds := map[string]*graph.Tensor{"decoder_input_ids": t}
	for _, from := range []map[string]*graph.Tensor{g.fixed, g.cache} {
		for name, v := range from {
			feeds[name] = v
		}
	}
	out, err := g.m.Run(ctx, feeds, g.fetch...)
	if err != nil {
		return nil, err
	}
	for _, name := range g.fetch[1:] {
		g.cache["past"+name[len("present"):]] = out[name]
	}
	logits := out["decoder.logits"]
	v := logits.Shape.Last()
	rows := make([][]float32, g.clips)
	for i := range rows {
		rows[i] = logits.Data[((i+1)*n-1)*v : (i+1)*n*v]
	}
	return rows, nil
}

// take adds ids to the texts that have not ended.
func (g *generation) take(ids []int, n int) {
	for i := range g.texts {
		if g.ended[i] {
			continue
		}
		mine := ids[i*n : (i+1)*n]
		g.texts[i] = append(g.texts[i], mine...)
		g.ended[i] = len(g.texts[i]) > 1 && slices.Contains(g.d.End, mine[n-1])
	}
}

// best returns the id among some that has the largest logit.
func best(logits []float32, ids []int) int {
	at := ids[0]
	for _, id := range ids {
		if id < len(logits) && (at >= len(logits) || logits[id] > logits[at]) {
			at = id
		}
	}
	return at
}

// tokenRules takes from the logits what must not be chosen.
type tokenRules struct {
	d     *pipeline.Decode
	begin int // length of the prompt
}

func (t *tokenRules) apply(logits []float32, text []int) {
	forbid := func(from, to int) {
		for i := max(from, 0); i < min(to, len(logits)); i++ {
			logits[i] = float32(math.Inf(-1))
		}
	}
	if len(text) == t.begin {
		for _, id := range t.d.BeginSuppress {
			forbid(id, id+1)
		}
	}
	for _, id := range t.d.Suppress {
		forbid(id, id+1)
	}
	t.repetitions(logits, text)
	if ts := t.d.Timestamps; ts != nil && ts.On {
		t.timestamps(ts, logits, text[t.begin:], forbid)
	}
}

// repetitions makes ids less likely that stand in the text, and forbids runs that do (transformers, logits_process.py,
// RepetitionPenaltyLogitsProcessor and NoRepeatNGramLogitsProcessor).
func (t *tokenRules) repetitions(logits []float32, text []int) {
	if by := float32(t.d.Repetition); by != 0 {
		seen := map[int]bool{}
		for _, id := range text {
			if id >= len(logits) || seen[id] {
				continue
			}
			seen[id] = true
			if logits[id] < 0 {
				logits[id] *= by
			} else {
				logits[id] /= by
			}
		}
	}
	if n := t.d.NoRepeat; n > 0 && len(text) >= n-1 {
		last := text[len(text)-(n-1):]
		for i := 0; i+n <= len(text); i++ {
			if id := text[i+n-1]; slices.Equal(text[i:i+n-1], last) && id < len(logits) {
				logits[id] = float32(math.Inf(-1))
			}
		}
	}
}

// timestamps are the rules for marks of time: they come in pairs but for the last, never fall, and are chosen where all of
// them together are likelier than every other id (openai/whisper decoding.py, ApplyTimestampRules).
func (t *tokenRules) timestamps(ts *pipeline.Timestamps, logits []float32, text []int, forbid func(from, to int)) {
	first := ts.NoTimestamps + 1 // 0.00
	forbid(ts.NoTimestamps, first)
	n := len(text)
	last := n >= 1 && text[n-1] >= first
	beforeLast := n < 2 || text[n-2] >= first
	if last {
		if beforeLast {
			forbid(first, len(logits))
		} else if len(t.d.End) > 0 {
			forbid(0, t.d.End[0])
		}
	}
	for i := n - 1; i >= 0; i-- {
		if text[i] < first {
			continue
		}
		if last && !beforeLast {
			forbid(first, text[i])
		} else {
			forbid(first, text[i]+1)
		}
		break
	}
	if n == 0 {
		forbid(0, first)
		if ts.MaxInitial >= 0 {
			forbid(first+ts.MaxInitial+1, len(logits))
		}
	}
	if first >= len(logits) {
		return
	}
	// Both are relative to the same sum, so that logarithms of probabilities can be left unnormalised.
	peak := math.Inf(-1)
	for _, v := range logits {
		peak = max(peak, float64(v))
	}
	sum, text1 := 0.0, math.Inf(-1)
	for i, v := range logits {
		if i >= first {
			sum += math.Exp(float64(v) - peak)
		} else {
			text1 = max(text1, float64(v)-peak)
		}
	}
	if math.Log(sum) > text1 {
		forbid(0, first)
	}
}
