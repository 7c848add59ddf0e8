package text

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// stages is a tokenizer put together from its parts; it implements Tokenizer.
type stages struct {
	vocab *vocabulary
	added *addedTokens
	// normalize rewrites a part of a text, split cuts it into words. first says that the part starts the text.
	normalize func(text string, first bool) string
	split     func(text string, first bool) []string
	model     model
	// decode makes text of tokens between added ones; nil joins them. spaced puts spaces around added tokens.
	decode func(tokens []string) string
	spaced bool
	// chained gives added tokens to decode as well.
	chained bool
	// collapse rewrites ids before they are decoded.
	collapse func(ids []int) []int
	// prefix and suffix are the special tokens around an input.
	prefix, suffix []int
	decoded        pipeline.TextDecoded
	// timestamps is the id of Whisper's first timestamp: what is not below it is a time, no text. 0 if there are none.
	timestamps int
}

// model cuts a word into ids.
type model interface {
	// encode appends the ids of a word to dst.
	encode(dst []int, word string) ([]int, error)
}

// vocabulary maps tokens to ids and back.
type vocabulary struct {
	ids     map[string]int
	tokens  map[int]string
	size    int // the largest id and one
	longest int // bytes of the longest token
}

// maxTokenID bounds ids: the largest published vocabulary has 262,144.
const maxTokenID = 1 << 24

func newVocabulary(n int) *vocabulary {
	return &vocabulary{ids: make(map[string]int, n), tokens: make(map[int]string, n)}
}

// add makes a token known. Two tokens of one id, or two ids of one token, are errors.
func (v *vocabulary) add(token string, id int) error {
	if id < 0 || id >= maxTokenID {
		return fmt.Errorf("token %q has id %d: expected 0 to %d", token, id, maxTokenID-1)
	}
	if old, ok := v.ids[token]; ok && old != id {
		return fmt.Errorf("token %q has ids %d and %d", token, old, id)
	}
	if old, ok := v.tokens[id]; ok && old != token {
		return fmt.Errorf("id %d belongs to tokens %q and %q", id, old, token)
	}
	v.ids[token], v.tokens[id] = id, token
	v.size, v.longest = max(v.size, id+1), max(v.longest, len(token))
	return nil
}

func (s *stages) VocabSize() int { return s.vocab.size }

func (s *stages) ID(token string) (int, bool) {
	id, ok := s.vocab.ids[token]
	return id, ok
}

func (s *stages) Token(id int) (string, bool) {
	token, ok := s.vocab.tokens[id]
	return token, ok
}

func (s *stages) Encode(text string) ([]int, error) {
	if i := invalidUTF8(text); i >= 0 {
		return nil, fmt.Errorf("not UTF-8: byte 0x%02x at position %d", text[i], i)
	}
	ids := []int{}
	var err error
	part := func(text string, first bool) error {
		words := []string{text}
		if s.split != nil {
			words = s.split(text, first)
		}
		for _, w := range words {
			if w == "" {
				continue
			}
			if ids, err = s.model.encode(ids, w); err != nil {
				return err
			}
		}
		return nil
	}
	for i, p := range s.added.cut(text, false) {
		if p.token {
			ids = append(ids, p.id)
			continue
		}
		if p.text == "" {
			continue
		}
		normal := p.text
		if s.normalize != nil {
			normal = s.normalize(normal, i == 0)
		}
		for j, q := range s.added.cut(normal, true) {
			if q.token {
				ids = append(ids, q.id)
			} else if err := part(q.text, i == 0 && j == 0); err != nil {
				return nil, err
			}
		}
	}
	return ids, nil
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

func (s *stages) Frame(ids []int) []int {
	out := make([]int, 0, len(s.prefix)+len(ids)+len(s.suffix))
	return append(append(append(out, s.prefix...), ids...), s.suffix...)
}

// frame resolves the special tokens that p puts around an input.
func (s *stages) frame(p *pipeline.Text) error {
	s.decoded = p.Decoded
	if p.Prefix == nil && p.Suffix == nil {
		return nil
	}
	resolve := func(tokens []string) ([]int, error) {
		var ids []int
		for _, token := range tokens {
			id, ok := s.vocab.ids[token]
			if !ok {
				return nil, fmt.Errorf("special token %q is not in the vocabulary of %s", token, strings.Join(p.Paths(), ", "))
			}
			ids = append(ids, id)
		}
		return ids, nil
	}
	var err error
	if s.prefix, err = resolve(p.Prefix); err != nil {
		return err
	}
	s.suffix, err = resolve(p.Suffix)
	return err
}

func (s *stages) Decode(ids []int, skipSpecial bool) string {
	if s.collapse != nil {
		ids = s.collapse(ids)
	}
	var b strings.Builder
	var run []string
	write := func(text string) {
		if s.spaced && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(text)
	}
	flush := func() {
		if len(run) == 0 {
			return
		}
		if s.decode != nil {
			write(s.decode(run))
		} else {
			write(strings.Join(run, ""))
		}
		run = run[:0]
	}
	for _, id := range ids {
		if s.timestamps > 0 && id >= s.timestamps {
			if s.decoded.Timestamps {
				flush()
				write(timestamp(id, s.timestamps))
			}
			continue
		}
		token, ok := s.vocab.tokens[id]
		if !ok {
			continue
		}
		if t, isAdded := s.added.byID[id]; isAdded {
			if t.Special && skipSpecial {
				continue
			}
			if !s.chained {
				flush()
				write(token)
				continue
			}
		}
		run = append(run, token)
	}
	flush()
	out := b.String()
	if s.decoded.CleanUp {
		out = cleanUp(out)
	}
	return out
}

// cleanUp undoes the spaces that splitting at punctuation leaves, one rule after the other (transformers,
// clean_up_tokenization).
func cleanUp(s string) string {
	for _, r := range [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"},
		{" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// addedTokens finds the tokens that are never cut.
type addedTokens struct {
	byID            map[int]pipeline.AddedToken
	raw, normalized []pipeline.AddedToken // those sought in the text as it is, and as it was normalised
	rawTrie, nTrie  *trie
}

func newAddedTokens(tokens []pipeline.AddedToken, normalize func(string, bool) string) *addedTokens {
	a := &addedTokens{byID: map[int]pipeline.AddedToken{}}
	for _, t := range tokens {
		a.byID[t.ID] = t
		if t.Content == "" {
			continue
		}
		if t.Normalized {
			a.normalized = append(a.normalized, t)
		} else {
			a.raw = append(a.raw, t)
		}
	}
	a.rawTrie, a.nTrie = newTrie(), newTrie()
	for i, t := range a.raw {
		a.rawTrie.add(t.Content, i)
	}
	for i, t := range a.normalized {
		content := t.Content
		if normalize != nil {
			content = normalize(content, false)
		}
		if content != "" {
			a.nTrie.add(content, i)
		}
	}
	return a
}

// part is a stretch of a text: a token, or text between tokens.
type part struct {
	text  string
	token bool
	id    int
}

// cut finds the leftmost, longest tokens.
func (a *addedTokens) cut(text string, normalized bool) []part {
	tokens, tr := a.raw, a.rawTrie
	if normalized {
		tokens, tr = a.normalized, a.nTrie
	}
	if len(tokens) == 0 {
		return []part{{text: text}}
	}
	var parts []part
	start := 0
	for i := 0; i < len(text); {
		which, n := tr.longest(text[i:])
		if n == 0 || tokens[which].SingleWord && !alone(text, i, i+n) {
			i++
			continue
		}
		t, from, to := tokens[which], i, i+n
		if t.LStrip {
			from = start + len(strings.TrimRightFunc(text[start:i], isSpace))
		}
		if t.RStrip {
			to = len(text) - len(strings.TrimLeftFunc(text[to:], isSpace))
		}
		if from > start || start == 0 {
			parts = append(parts, part{text: text[start:from]})
		}
		parts = append(parts, part{token: true, id: t.ID})
		i, start = to, to
	}
	if start < len(text) || len(parts) == 0 {
		parts = append(parts, part{text: text[start:]})
	}
	return parts
}

// alone reports whether no letter or digit touches text[from:to].
func alone(text string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:from])
	after, _ := utf8.DecodeRuneInString(text[to:])
	return (from == 0 || !isWordRune(before)) && (to == len(text) || !isWordRune(after))
}
