package text

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.ByteLevelBPE, openByteLevel)

// openByteLevel makes GPT-2's byte-level BPE (openai/gpt-2, encoder.py), which RoBERTa and Whisper have as well: spaces are
// part of the words that follow, every byte has a letter, so that nothing is unknown to a whole vocabulary.
func openByteLevel(s *source) (*stages, error) {
	raw, err := s.need("vocab")
	if err != nil {
		return nil, err
	}
	v, err := readVocabJSON(raw, s.name("vocab"))
	if err != nil {
		return nil, err
	}
	if raw, err = s.need("merges"); err != nil {
		return nil, err
	}
	lines, err := mergeLines(raw, s.name("merges"))
	if err != nil {
		return nil, err
	}
	m := &bpe{vocab: v, merges: make(map[pair]merge, len(lines)), symbols: toLetters, sweep: true}
	if err := m.addMerges(lines, s.name("merges")); err != nil {
		return nil, err
	}
	added, err := readAdded(s, v)
	if err != nil {
		return nil, err
	}
	if m.unknown, err = v.unknown(s.p); err != nil {
		return nil, err
	}
	return byteLevel(s.p, v, m, added), nil
}

// byteLevel puts the stages around a byte-level model.
func byteLevel(p *pipeline.Text, v *vocabulary, m model, added []pipeline.AddedToken) *stages {
	words := mustPattern(gpt2Pattern).words
	prefixSpace := p.PrefixSpace
	clean := cleaner(p)
	return &stages{vocab: v, added: newAddedTokens(added, nil), model: m, timestamps: timestampBegin(v),
		normalize: clean,
		split: func(text string, first bool) []string {
			if first && prefixSpace && !strings.HasPrefix(text, " ") {
				text = " " + text
			}
			return words(text, first)
		},
		decode: func(tokens []string) string { return decodeBytes(fromLetters(strings.Join(tokens, ""))) },
	}
}

// timestampBegin is the id of Whisper's first timestamp, 0 for other vocabularies. Older checkpoints do not list the
// timestamps: they follow <|notimestamps|>.
func timestampBegin(v *vocabulary) int {
	if id, ok := v.ids["<|0.00|>"]; ok {
		return id
	}
	if id, ok := v.ids["<|notimestamps|>"]; ok {
		return id + 1
	}
	return 0
}

// timestampStep is the distance of two timestamps in seconds (Radford et al. 2022, section 2.3).
const timestampStep = 0.02

// timestamp writes an id above begin as Whisper does.
func timestamp(id, begin int) string {
	return fmt.Sprintf("<|%s|>", strconv.FormatFloat(float64(id-begin)*timestampStep, 'f', 2, 64))
}
