package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline/text"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
	"github.com/mmconv/mmconv/verify/wer"
)

var (
	_ = RegisterTask(Task{Name: "transcription", Start: startTranscription})
	_ = RegisterTask(Task{Name: "ctc", Start: startCTC})
	_ = registerShared(shareText)
)

// transcription scores the texts that both models make of clips: word and character error rates against the references (a
// .txt beside each file), and of the converted model's text against the float model's own.
type transcription struct {
	run.Writing
	tok text.Tokenizer

	before, after rates // against references
	own           rates // of the model after against the model before
	clips, same   int
	labelled      int
}

// rates are error rates of the texts as they are, and of what Whisper's English normaliser makes of them.
type rates struct{ written, normal wer.ErrorRate }

func (r *rates) add(reference, hypothesis string) {
	r.written.Add(reference, hypothesis)
	r.normal.Add(wer.EnglishNormalizer(reference), wer.EnglishNormalizer(hypothesis))
}

func startTranscription(c *TaskContext) (Scorer, error) { return newTranscription(c, "transcription") }

func startCTC(c *TaskContext) (Scorer, error) { return newTranscription(c, "ctc") }

func newTranscription(c *TaskContext, kind string) (Scorer, error) {
	p := c.Before.Pipeline
	if p.Task == nil || p.Task.Kind != kind || len(c.Data.Items) == 0 || c.Data.Items[0].Kind != "audio" {
		return nil, nil
	}
	if a := c.After.Pipeline; a.Task == nil || a.Task.Kind != kind {
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
	w, _ := c.Before.Writing()
	return &transcription{Writing: w, tok: tok}, nil
}

func orMissing(m *text.MissingError) error {
	if m == nil {
		m = &text.MissingError{}
	}
	return m
}

func (t *transcription) Fetch() []string { return []string{t.Value} }

func (t *transcription) Add(items []Item, before, after map[string]*graph.Tensor) error {
	b, a := t.IDs(before[t.Value]), t.IDs(after[t.Value])
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

func (t *transcription) Scores() []report.TaskScore {
	agreement := percent(t.same, t.clips)
	score := func(name string, before, after float64, labelled, primary bool) report.TaskScore {
		n := t.clips
		if labelled {
			n = t.labelled
		}
		return report.TaskScore{Name: name, Before: 100 * before, After: 100 * after, Drop: 100 * (after - before), Agreement: agreement,
			Samples: n, Labelled: labelled, Primary: primary, LowBetter: true}
	}
	scores := []report.TaskScore{score("word error rate to the float model's text", 0, t.own.written.WER(), false, false)}
	if t.labelled == 0 {
		return scores
	}
	return append([]report.TaskScore{
		score("word error rate", t.before.normal.WER(), t.after.normal.WER(), true, true),
		score("character error rate", t.before.normal.CER(), t.after.normal.CER(), true, false),
		score("word error rate as written", t.before.written.WER(), t.after.written.WER(), true, false),
	}, scores...)
}

// shareText lets both decoders read the text that the reference wrote, so that their values can be compared.
func shareText(ctx context.Context, before, after *run.Pass) error {
	const ids, input = run.FirstWindow, "decoder_input_ids"
	if !before.Offers(ids) || !after.Offers(ids) || before.Feeds[input] != nil || !before.Has(input) || !after.Has(input) {
		return nil
	}
	got, err := before.Fetch(ctx, ids)
	if err != nil || got[ids].Shape.Len() == 0 || got[ids].Shape.Last() < 2 {
		return err
	}
	// The last id is what is foretold, not what is read.
	rows, n := got[ids].Shape[0], got[ids].Shape[1]
	read := graph.NewTensor(rows, n-1)
	for i := range rows {
		copy(read.Data[i*(n-1):(i+1)*(n-1)], got[ids].Data[i*n:])
	}
	before.Feeds[input], after.Feeds[input] = read, read
	return nil
}
