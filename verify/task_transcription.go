package verify

import (
	"errors"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/verify/text"
)

var (
	_ = RegisterTask(Task{Name: "transcription", Start: startTranscription})
	_ = RegisterTask(Task{Name: "ctc", Start: startCTC})
	_ = registerShared(shareText)
)

// transcription scores the texts that both models make of clips: word and character error rates against the references (a
// .txt beside each file), and of the converted model's text against the float model's own.
type transcription struct {
	writing
	tok text.Tokenizer

	before, after rates // against references
	own           rates // of the model after against the model before
	clips, same   int
	labelled      int
}

// rates are error rates of the texts as they are, and of what Whisper's English normaliser makes of them.
type rates struct{ written, normal text.ErrorRate }

func (r *rates) add(reference, hypothesis string) {
	r.written.Add(reference, hypothesis)
	r.normal.Add(text.EnglishNormalizer(reference), text.EnglishNormalizer(hypothesis))
}

// writing is how a kind of model writes text: the value that holds it, and what ids that value stands for.
type writing struct {
	value string
	ids   func(*graph.Tensor) [][]int
}

var writings = map[string]writing{
	"transcription": {"generated_ids", func(t *graph.Tensor) [][]int { return rowsOfIDs(t.Data, t.Shape.Last()) }},
	// Greedily: the likeliest token of each frame; the tokenizer takes repetitions and blanks out.
	"ctc": {"logits", func(t *graph.Tensor) [][]int {
		n := t.Shape.Last()
		best := make([]float32, 0, len(t.Data)/max(n, 1))
		for i := 0; i+n <= len(t.Data); i += n {
			best = append(best, float32(argmax(t.Data[i:i+n])))
		}
		return rowsOfIDs(best, t.Shape[len(t.Shape)-2])
	}},
}

// Transcribe returns what the model writes for each clip.
func (r *Run) Transcribe() ([]string, error) {
	p := r.Model.Pipeline
	if p == nil || p.Task == nil || writings[p.Task.Kind].ids == nil {
		return nil, errors.New("this model writes no text")
	}
	tok, err := r.Tokenizer()
	if err != nil {
		return nil, err
	}
	w := writings[p.Task.Kind]
	got, err := r.Fetch(w.value)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, ids := range w.ids(got[w.value]) {
		texts = append(texts, tok.Decode(ids, true))
	}
	return texts, nil
}

// WriteTimestamps makes the texts that the model writes from now on carry the times of their segments.
func (s *Session) WriteTimestamps() error {
	p := s.Model.Pipeline
	if p == nil || p.Decode == nil {
		return errors.New("timestamps: this model writes no text")
	}
	d, err := p.Decode.WithTimestamps(true)
	if err != nil {
		return fmt.Errorf("timestamps: %w", err)
	}
	if p.Text != nil && p.Text.Vocabulary > 0 && p.Text.Vocabulary <= d.Timestamps.NoTimestamps+1 {
		return fmt.Errorf("timestamps: the model's %d ids end before those of times, which follow %d", p.Text.Vocabulary, d.Timestamps.NoTimestamps)
	}
	p.Decode = d
	if p.Text != nil {
		p.Text.Decoded.Timestamps = true
	}
	return nil
}

func startTranscription(c *TaskContext) (Scorer, error) { return newTranscription(c, "transcription") }

func startCTC(c *TaskContext) (Scorer, error) { return newTranscription(c, "ctc") }

func newTranscription(c *TaskContext, kind string) (Scorer, error) {
	p := c.Before.Model.Pipeline
	if p == nil || p.Task == nil || p.Task.Kind != kind || len(c.Data.Items) == 0 || c.Data.Items[0].Kind != "audio" {
		return nil, nil
	}
	if a := c.After.Model.Pipeline; a == nil || a.Task == nil || a.Task.Kind != kind {
		c.Note("the converted model writes no text: none was verified")
		return nil, nil
	}
	tok, err := c.Before.Tokenizer()
	var missing *text.MissingError
	if errors.As(err, &missing) || p.Text == nil {
		c.Note("%v", orMissing(missing))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &transcription{writing: writings[kind], tok: tok}, nil
}

func orMissing(m *text.MissingError) error {
	if m == nil {
		m = &text.MissingError{}
	}
	return m
}

func rowsOfIDs(data []float32, width int) [][]int {
	var rows [][]int
	for i := 0; width > 0 && i+width <= len(data); i += width {
		row := make([]int, width)
		for j := range row {
			row[j] = int(data[i+j])
		}
		rows = append(rows, row)
	}
	return rows
}

func (t *transcription) Fetch() []string { return []string{t.value} }

func (t *transcription) Add(items []Item, before, after map[string]*graph.Tensor) error {
	b, a := t.ids(before[t.value]), t.ids(after[t.value])
	if len(b) != len(items) || len(a) != len(items) {
		return fmt.Errorf("%d and %d texts for %d clips", len(b), len(a), len(items))
	}
	for i, it := range items {
		was, is := t.tok.Decode(b[i], true), t.tok.Decode(a[i], true)
		t.clips++
		if was == is {
			t.same++
		}
		t.own.add(was, is)
		if it.Labelled {
			t.labelled++
			t.before.add(it.Text, was)
			t.after.add(it.Text, is)
		}
	}
	return nil
}

func (t *transcription) Scores() []TaskScore {
	agreement := percent(t.same, t.clips)
	score := func(name string, before, after float64, labelled, primary bool) TaskScore {
		n := t.clips
		if labelled {
			n = t.labelled
		}
		return TaskScore{Name: name, Before: 100 * before, After: 100 * after, Drop: 100 * (after - before), Agreement: agreement,
			Samples: n, Labelled: labelled, Primary: primary, LowBetter: true}
	}
	scores := []TaskScore{score("word error rate to the float model's text", 0, t.own.written.WER(), false, false)}
	if t.labelled == 0 {
		return scores
	}
	return append([]TaskScore{
		score("word error rate", t.before.normal.WER(), t.after.normal.WER(), true, true),
		score("character error rate", t.before.normal.CER(), t.after.normal.CER(), true, false),
		score("word error rate as written", t.before.written.WER(), t.after.written.WER(), true, false),
	}, scores...)
}

// shareText lets both decoders read the text that the reference wrote, so that their values can be compared.
func shareText(before, after *Run) error {
	const ids, input = firstWindow, "decoder_input_ids"
	if before.offers[ids] == nil || after.offers[ids] == nil || before.Feeds[input] != nil || !before.Has(input) || !after.Has(input) {
		return nil
	}
	got, err := before.Fetch(ids)
	if err != nil {
		return err
	}
	read, err := (&Slice{items: []sliceItem{{}, {stop: new(-1)}}}).Apply(got[ids])
	if err != nil || read.Shape.Len() == 0 {
		return err
	}
	before.Feeds[input], after.Feeds[input] = read, read
	return nil
}
