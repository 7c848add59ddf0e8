package text

import (
	"encoding/json"
	"fmt"
)

// jsonPostProcessor sets the special tokens around a text.
func (s *stages) jsonPostProcessor(raw json.RawMessage, depth int) error {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return err
	}
	check := func(ids ...int) error {
		for _, id := range ids {
			if _, ok := s.vocab.tokens[id]; !ok {
				return fmt.Errorf("%s: id %d is not in the vocabulary", p.Type, id)
			}
		}
		return nil
	}
	switch p.Type {
	case "Sequence":
		for _, raw := range p.Processors {
			if err := s.jsonPostProcessor(raw, depth+1); err != nil {
				return err
			}
		}
	case "ByteLevel":
		// It moves offsets alone.
	case "BertProcessing", "RobertaProcessing":
		if p.CLS == nil || p.SEP == nil {
			return fmt.Errorf("%s: cls or sep is missing", p.Type)
		}
		s.prefix, s.suffix = []int{p.CLS.id}, []int{p.SEP.id}
		return check(p.CLS.id, p.SEP.id)
	case "TemplateProcessing":
		s.prefix, s.suffix = nil, nil
		seen := false
		for _, part := range p.Single {
			switch {
			case part.Sequence != nil:
				seen = true
			case part.SpecialToken != nil:
				ids := p.SpecialTokens[part.SpecialToken.ID].IDs
				if len(ids) == 0 {
					return fmt.Errorf("special_tokens of the TemplateProcessing has no %q", part.SpecialToken.ID)
				}
				if err := check(ids...); err != nil {
					return err
				}
				if seen {
					s.suffix = append(s.suffix, ids...)
				} else {
					s.prefix = append(s.prefix, ids...)
				}
			}
		}
	default:
		return unsupported(p.Type)
	}
	return nil
}
