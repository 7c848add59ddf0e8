package verify

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/verify/text"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "text", Feed: feedText})

// feedText turns texts into ids, and a mask where the model reads one.
func feedText(r *Run) error {
	in, ok := r.Peek("text")
	if !ok || in.Texts == nil {
		return nil
	}
	r.Take("text")
	tok, err := r.Tokenizer()
	if err != nil {
		return err
	}
	p := r.Model.Pipeline.Text
	ids, mask, err := text.Batch(tok, p, in.Texts)
	if err != nil {
		return err
	}
	name := p.Input
	if name == "" {
		name = "input_ids"
	}
	r.Feeds[name] = matrix(ids)
	if r.Has("attention_mask") && r.Feeds["attention_mask"] == nil {
		r.Feeds["attention_mask"] = matrix(mask)
	}
	return nil
}

// Tokenizer returns the model's tokenizer, which is opened once. The error is a *text.MissingError where the model came
// without one.
func (s *Session) Tokenizer() (text.Tokenizer, error) {
	if s.Model.Pipeline == nil || s.Model.Pipeline.Text == nil {
		return nil, fmt.Errorf("this model takes no text: it has no tokenizer")
	}
	return cached(s, "tokenizer", func() (text.Tokenizer, error) { return text.Open(s.Model.Pipeline.Text, s.Checkpoint.ReadFile) })
}

func matrix(rows [][]int) *graph.Tensor {
	if len(rows) == 0 {
		return graph.NewTensor(0, 0)
	}
	t := graph.NewTensor(len(rows), len(rows[0]))
	for i, row := range rows {
		for j, v := range row {
			t.Data[i*len(row)+j] = float32(v)
		}
	}
	return t
}
