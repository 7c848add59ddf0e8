package text

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.WordPiece, openWordPiece)

// openWordPiece makes BERT's tokenizer (google-research/bert, tokenization.py; transformers, BertTokenizer).
func openWordPiece(s *source) (*stages, error) {
	raw, err := s.need("vocab")
	if err != nil {
		return nil, err
	}
	v, err := readVocabTxt(raw, s.name("vocab"))
	if err != nil {
		return nil, err
	}
	added, err := readAdded(s, v)
	if err != nil {
		return nil, err
	}
	unknown, err := v.unknown(s.p)
	if err != nil {
		return nil, err
	}
	b := basic{lower: s.p.Lower, accents: !s.p.KeepAccents, punctuation: true, cjk: !s.p.NoCJK}
	return &stages{vocab: v, added: newAddedTokens(added, nil),
		split:  func(text string, _ bool) []string { return b.words(text) },
		model:  &wordPiece{vocab: v, prefix: "##", unknown: unknown, longest: maxWordPieceChars},
		decode: decodeWordPiece,
		spaced: true,
	}, nil
}

// maxWordPieceChars is the length from which on BERT takes a word for unknown, in characters.
const maxWordPieceChars = 100

// wordPiece cuts a word into the longest pieces, greedily from the left (Wu et al. 2016). A word that cannot be cut whole
// is unknown as a whole.
type wordPiece struct {
	vocab   *vocabulary
	prefix  string // of a piece inside a word
	unknown int
	longest int
}

func (w *wordPiece) encode(dst []int, word string) ([]int, error) {
	unknown := func() ([]int, error) {
		if w.unknown < 0 {
			return nil, fmt.Errorf("the vocabulary has no pieces for %s, and no token for what is unknown", short(word))
		}
		return append(dst, w.unknown), nil
	}
	if utf8.RuneCountInString(word) > w.longest {
		return unknown()
	}
	pieces := dst
	for start := 0; start < len(word); {
		end, id := min(len(word), start+w.vocab.longest), 0
		for ; end > start; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			piece := word[start:end]
			if start > 0 {
				piece = w.prefix + piece
			}
			var ok bool
			if id, ok = w.vocab.ids[piece]; ok {
				break
			}
		}
		if end == start {
			return unknown()
		}
		pieces, start = append(pieces, id), end
	}
	return pieces, nil
}

// decodeWordPiece joins words with spaces and pieces without.
func decodeWordPiece(tokens []string) string {
	return strings.ReplaceAll(strings.Join(tokens, " "), " ##", "")
}

// readVocabTxt reads a vocab.txt: a token a line, its number is the id. Lines may repeat tokens; the last counts.
func readVocabTxt(raw []byte, name string) (*vocabulary, error) {
	if i := invalidUTF8(string(raw)); i >= 0 {
		return nil, fmt.Errorf("%s: not UTF-8 at byte %d", name, i)
	}
	text := strings.TrimSuffix(string(raw), "\n")
	if text == "" {
		return nil, fmt.Errorf("%s: an empty vocabulary", name)
	}
	lines := strings.Split(text, "\n")
	v := newVocabulary(len(lines))
	for id, line := range lines {
		token := strings.TrimSuffix(line, "\r")
		if old, twice := v.ids[token]; twice {
			delete(v.tokens, old)
			delete(v.ids, token)
		}
		if err := v.add(token, id); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, id+1, err)
		}
	}
	return v, nil
}
