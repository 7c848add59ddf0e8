package run

import (
	"cmp"
	"context"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline/text"
)

var _ = RegisterFeeder(StageMedia, Feeder{Name: "text", Feed: feedText})

// feedText turns texts into ids, and a mask where the model reads one.
func feedText(_ context.Context, p *Pass) error {
	in, ok := p.Peek("text")
	if !ok || in.Texts == nil {
		return nil
	}
	p.Take("text")
	tok, err := p.Tokenizer()
	if err != nil {
		return err
	}
	d := p.Pipeline.Text
	ids, mask, err := text.Batch(tok, d, in.Texts)
	if err != nil {
		return err
	}
	p.Feeds[cmp.Or(d.Input, "input_ids")] = matrix(ids)
	if name := cmp.Or(d.MaskInput, "attention_mask"); p.Has(name) && p.Feeds[name] == nil {
		p.Feeds[name] = matrix(mask)
	}
	return nil
}

// Tokenizer returns the model's tokenizer, which is opened once. The error is a *text.MissingError where the model came
// without one.
func (m *Model) Tokenizer() (text.Tokenizer, error) {
	if m.Pipeline.Text == nil {
		return nil, fmt.Errorf("this model takes no text: it has no tokenizer")
	}
	return kept(m, "tokenizer", func() (text.Tokenizer, error) { return text.Open(m.Pipeline.Text, m.Checkpoint.ReadFile) })
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
