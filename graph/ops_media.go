package graph

import "fmt"

var _ = register(Equals{}, MediaBias{}, MediaSeen{})

// Equals is 1 where an element is Value, else 0. In: x.
type Equals struct {
	Value float32
}

// Infer keeps the shape.
func (o Equals) Infer(in, _ []Shape) (Shape, error) { return same(in) }

// MediaBias is what Flamingo adds to the scores of text that attends to pictures (Alayrac et al. 2022, section 3.1; open_flamingo
// src/helpers.py, MaskedCrossAttention): 0 where a token sees a picture, the least float32 where not. A token sees the last
// picture whose mark stands at or before it, or with Previous all of those. With Cached, all tokens stand behind the last mark.
// In: marks [B, L] of 1 where the text has a picture, text [B, S, ...] (S = L unless Cached), media [B, T, N, ...] of N tokens a
// picture. The value is [B, 1, S, T N].
type MediaBias struct {
	Previous bool `json:",omitempty"`
	Cached   bool `json:",omitempty"`
}

// Infer applies the rule above.
func (o MediaBias) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 3, 3); err != nil {
		return nil, err
	}
	marks, text, media := in[0], in[1], in[2]
	if err := marksFit(marks, text, o.Cached); err != nil {
		return nil, err
	}
	if len(media) < 3 || media[0] != text[0] {
		return nil, fmt.Errorf("media %v do not fit text %v", media, text)
	}
	return Shape{text[0], 1, text[1], media[1] * media[2]}, nil
}

// MediaSeen is 1 for tokens at or behind the first mark of a picture, 0 for those before it, which see none. With Cached, all
// tokens stand behind the last mark. In: marks [B, L], text [B, S, ...]. The value is [B, S, 1].
type MediaSeen struct {
	Cached bool `json:",omitempty"`
}

// Infer applies the rule above.
func (o MediaSeen) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if err := marksFit(in[0], in[1], o.Cached); err != nil {
		return nil, err
	}
	return Shape{in[1][0], in[1][1], 1}, nil
}

func marksFit(marks, text Shape, cached bool) error {
	if len(marks) != 2 || len(text) < 2 || marks[0] != text[0] || marks[1] != text[1] && !cached {
		return fmt.Errorf("marks %v of pictures do not fit text %v", marks, text)
	}
	return nil
}
