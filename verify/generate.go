package verify

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/verify/audio"
)

var _ = RegisterFeeder(StageAfter, Feeder{Name: "generation", Feed: offerGeneration})

// firstWindow names the ids that are written for the first window of each clip.
const firstWindow = "generated_ids.first"

// offerGeneration offers generated_ids (clips, ids), what a decoder writes for the clips that are fed: for those longer than
// the model's window the texts of one window after the other. Shorter texts are filled up with the id that ends them. In a
// golden case the text starts with the recorded id and is as long as recorded.
func offerGeneration(r *Run) error {
	if r.Model.Pipeline == nil || r.Model.Pipeline.Decode == nil || r.Feeds["input_features"] == nil && r.Feeds["encoder.last_hidden_state"] == nil {
		return nil
	}
	d := *r.Model.Pipeline.Decode
	if e := r.Recorded("generated_ids"); e != nil {
		ids, err := e.Load()
		if err != nil {
			return err
		}
		if len(ids.Data) > 0 {
			if start := int(ids.Data[0]); start != d.Start {
				d.Start, d.Prompt, d.Languages = start, nil, nil
			}
			d.MaxLength = ids.Shape.Last()
		}
	}
	first := sync.OnceValues(func() ([][]int, error) { return r.Generate(&d, r.Feeds) })
	r.Offer(firstWindow, func() (*graph.Tensor, error) {
		texts, err := first()
		return idMatrix(&d, texts), err
	})
	r.Offer("generated_ids", func() (*graph.Tensor, error) {
		texts, err := first()
		texts = slices.Clone(texts)
		for i := range texts {
			if err == nil && r.recorded == nil && i < len(r.clips) {
				texts[i], err = r.continueText(&d, r.clips[i], texts[i])
			}
		}
		return idMatrix(&d, texts), err
	})
	return nil
}

// continueText adds to the text of a clip's first window those of the others, read one at a time.
func (r *Run) continueText(d *pipeline.Decode, file string, ids []int) ([]int, error) {
	p := r.Model.Pipeline.Audio
	if p.Samples == 0 {
		return ids, nil
	}
	f, err := audio.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := audio.Resample(f, p.SampleRate, r.kernel)
	if err != nil {
		return nil, err
	}
	ids = slices.Clone(ids)
	for window, err := range audio.Windows(src, p.Samples) {
		if err != nil {
			return nil, &InputError{file, trimPath(err, file)}
		}
		if window.Start == 0 || audio.Silent(window.Samples) {
			continue
		}
		features, err := audio.Extract(p, window.Samples, audio.Choices{})
		if err != nil {
			return nil, &InputError{file, err}
		}
		next, err := r.Generate(d, map[string]*graph.Tensor{p.Input: {Shape: features.Shape, Data: features.Data}})
		if err != nil {
			return nil, err
		}
		if n := len(ids); n > 0 && slices.Contains(d.End, ids[n-1]) {
			ids = ids[:n-1]
		}
		ids = append(ids, next[0][min(promptLength(d), len(next[0])):]...)
	}
	return ids, nil
}

// promptLength is how many ids of a text are given.
func promptLength(d *pipeline.Decode) int {
	return 1 + min(len(d.Languages), 1) + len(d.Prompt)
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
func (s *Session) Generate(d *pipeline.Decode, feeds map[string]*graph.Tensor) ([][]int, error) {
	g, err := s.newGeneration(d, feeds)
	if err != nil {
		return nil, err
	}
	logits, err := g.step(slices.Repeat([]int{d.Start}, g.clips), 1)
	if err != nil {
		return nil, err
	}
	next := make([]int, 0, g.clips*promptLength(d))
	for i := range g.clips {
		if len(d.Languages) > 0 {
			next = append(next, best(logits[i], d.Languages))
		}
		next = append(next, d.Prompt...)
	}
	if n := min(promptLength(d), d.MaxLength) - 1; n > 0 {
		if logits, err = g.step(firstOfEach(next, g.clips, n), n); err != nil {
			return nil, err
		}
	}
	begin := len(g.texts[0])
	rules := &tokenRules{d: d, begin: begin}
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
		if logits, err = g.step(next, 1); err != nil {
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
	s     *Session
	d     *pipeline.Decode
	clips int
	fixed map[string]*graph.Tensor // what the encoder gave
	cache map[string]*graph.Tensor // past.N.key and past.N.value
	fetch []string
	texts [][]int
	ended []bool
}

func (s *Session) newGeneration(d *pipeline.Decode, feeds map[string]*graph.Tensor) (*generation, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	const encoded = "encoder.last_hidden_state"
	if s.Graph().Value("decoder.logits") == nil {
		return nil, fmt.Errorf("this model has no decoder: no text can be written")
	}
	g := &generation{s: s, d: d, cache: map[string]*graph.Tensor{}, fetch: []string{"decoder.logits"}}
	memory := []string{}
	for i := range d.Layers {
		for _, what := range []string{"key", "value"} {
			g.fetch = append(g.fetch, fmt.Sprintf("present.%d.%s", i, what))
			memory = append(memory, fmt.Sprintf("cross.%d.%s", i, what))
		}
	}
	for _, name := range g.fetch {
		if s.Graph().Value(name) == nil {
			return nil, fmt.Errorf("the graph has no value %q, which generation needs", name)
		}
	}
	if d.Layers == 0 || slices.ContainsFunc(memory, func(name string) bool { return s.Graph().Value(name) == nil }) {
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
	} else if g.fixed, err = s.Engine.Run(given, memory...); err != nil {
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
func (g *generation) step(ids []int, n int) ([][]float32, error) {
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
	out, err := g.s.Engine.Run(feeds, g.fetch...)
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
	if ts := t.d.Timestamps; ts != nil && ts.On {
		t.timestamps(ts, logits, text[t.begin:], forbid)
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
