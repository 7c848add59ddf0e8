package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

// Writing is how a kind of model writes text: the value that holds it, and what ids that value stands for.
type Writing struct {
	Value string
	IDs   func(*graph.Tensor) [][]int
}

var writings = map[string]Writing{
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

// Writing returns how the model writes text; ok is false where it writes none.
func (m *Model) Writing() (w Writing, ok bool) {
	if m.Pipeline.Task == nil {
		return Writing{}, false
	}
	w, ok = writings[m.Pipeline.Task.Kind]
	return w, ok
}

// Transcribe returns what the model writes for each clip.
func (p *Pass) Transcribe(ctx context.Context) ([]string, error) {
	w, ok := p.Writing()
	if !ok {
		return nil, errors.New("this model writes no text")
	}
	if p.parts != nil {
		var texts []string
		for _, part := range p.parts {
			some, err := part.Transcribe(ctx)
			if err != nil {
				return nil, err
			}
			for i, at := range part.Samples {
				texts = append(texts, make([]string, max(0, at+1-len(texts)))...)
				texts[at] = some[i]
			}
		}
		return texts, nil
	}
	tok, err := p.Tokenizer()
	if err != nil {
		return nil, err
	}
	got, err := p.Fetch(ctx, w.Value)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, ids := range w.IDs(got[w.Value]) {
		texts = append(texts, tok.Decode(ids, true))
	}
	return texts, nil
}

// WriteTimestamps makes the texts that the model writes from now on carry the times of their segments. It is called before
// the model is used.
func (m *Model) WriteTimestamps() error {
	p := m.Pipeline
	if p.Decode == nil {
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

// argmax returns the place of the largest value.
func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}
