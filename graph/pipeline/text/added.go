package text

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// readAdded reads the tokens that a tokenizer of transformers was given besides its vocabulary (added_tokens_decoder in
// tokenizer_config.json, else added_tokens.json), and the special ones that the description names. They join v.
func readAdded(s *source, v *vocabulary) ([]pipeline.AddedToken, error) {
	var tokens []pipeline.AddedToken
	config, ok, err := s.file("config")
	if err != nil {
		return nil, err
	}
	if ok {
		var c struct {
			Decoder map[string]pipeline.AddedToken `json:"added_tokens_decoder"`
		}
		if err := formats.JSON(s.name("config"), config, &c); err != nil {
			return nil, err
		}
		for key, t := range c.Decoder {
			if t.ID, err = strconv.Atoi(key); err != nil {
				return nil, fmt.Errorf("%s: added_tokens_decoder: id %q of token %q: expected a number", s.name("config"), key, t.Content)
			}
			tokens = append(tokens, t)
		}
	}
	if len(tokens) == 0 {
		raw, ok, err := s.file("added")
		if err != nil {
			return nil, err
		}
		if ok {
			var ids map[string]int
			if err := formats.JSON(s.name("added"), raw, &ids); err != nil {
				return nil, err
			}
			for content, id := range ids {
				tokens = append(tokens, pipeline.AddedToken{ID: id, Content: content})
			}
		}
	}
	// So that nothing depends on the order of a JSON object.
	slices.SortFunc(tokens, func(a, b pipeline.AddedToken) int { return a.ID - b.ID })
	for i, t := range tokens {
		// The tokenizers written in Python seek every token in the text as it is.
		tokens[i].Normalized = false
		if err := v.add(t.Content, t.ID); err != nil {
			return nil, fmt.Errorf("added tokens: %w", err)
		}
	}
	for _, t := range s.p.Special {
		id, ok := v.ids[t.Content]
		if !ok {
			continue
		}
		t.ID, t.Special = id, true
		if i := slices.IndexFunc(tokens, func(a pipeline.AddedToken) bool { return a.ID == id }); i >= 0 {
			tokens[i].Special = true
		} else {
			tokens = append(tokens, t)
		}
	}
	return tokens, nil
}

// unknown returns the id of p's token for what a vocabulary lacks, noToken if there is none.
func (v *vocabulary) unknown(p *pipeline.Text) (int, error) {
	if p.Unknown == "" {
		return noToken, nil
	}
	id, ok := v.ids[p.Unknown]
	if !ok {
		return 0, fmt.Errorf("the token for what is unknown, %q, is not in the vocabulary", p.Unknown)
	}
	return id, nil
}
