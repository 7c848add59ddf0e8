package text

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.TokenizerJSON, openTokenizerJSON)

// maxNesting bounds sequences of sequences in a tokenizer.json.
const maxNesting = 8

// openTokenizerJSON reads a tokenizer.json of huggingface/tokenizers: a normaliser, a pre-tokeniser, a model, a
// post-processor and a decoder, each an object with its type, or a sequence of such.
func openTokenizerJSON(s *source) (*stages, error) {
	raw, err := s.need("tokenizer")
	if err != nil {
		return nil, err
	}
	t, err := readTokenizerJSON(raw, s.p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name("tokenizer"), err)
	}
	return t, nil
}

func readTokenizerJSON(raw []byte, p *pipeline.Text) (*stages, error) {
	var f struct {
		Added         []pipeline.AddedToken `json:"added_tokens"`
		Normalizer    json.RawMessage       `json:"normalizer"`
		PreTokenizer  json.RawMessage       `json:"pre_tokenizer"`
		Model         json.RawMessage       `json:"model"`
		PostProcessor json.RawMessage       `json:"post_processor"`
		Decoder       json.RawMessage       `json:"decoder"`
	}
	if err := formats.JSON("", raw, &f); err != nil {
		return nil, err
	}
	v, m, err := jsonModel(f.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	for _, t := range f.Added {
		if err := v.add(t.Content, t.ID); err != nil {
			return nil, fmt.Errorf("added_tokens: %w", err)
		}
	}
	t := &stages{vocab: v, model: m, chained: true}
	normalize, err := jsonNormalizer(f.Normalizer, 0, new(growth(1)))
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	split, err := jsonPreTokenizer(f.PreTokenizer, 0)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if split != nil {
		t.split = split
	}
	if err := t.jsonPostProcessor(f.PostProcessor, 0); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	decode, err := jsonDecoder(f.Decoder, 0, new(growth(1)))
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if decode == nil {
		// Without a decoder, tokens are words.
		decode = func(tokens []string) []string { return []string{strings.Join(tokens, " ")} }
	}
	t.decode = func(tokens []string) string { return strings.Join(decode(tokens), "") }
	if b, ok := m.(*bpe); ok && b.suffix == "</w>" && !strings.Contains(string(f.Decoder), "BPEDecoder") {
		// transformers' CLIPTokenizerFast makes spaces of the ends of words, which the byte-level decoder leaves.
		t.decode = func(tokens []string) string {
			return strings.TrimSpace(strings.ReplaceAll(strings.Join(decode(tokens), ""), "</w>", " "))
		}
	}
	own := cleaner(p)
	if p.Clean == pipeline.CleanNone && !p.Lower {
		own = nil
	}
	t.normalize = func(text string, first bool) string {
		if own != nil {
			text = own(text, first)
		}
		if normalize != nil {
			text = normalize(text)
		}
		return text
	}
	slices.SortFunc(f.Added, func(a, b pipeline.AddedToken) int { return a.ID - b.ID })
	t.added = newAddedTokens(f.Added, t.normalize)
	return t, nil
}

// jsonPart is one object of the file, with every option that some type has.
type jsonPart struct {
	Type string `json:"type"`

	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Decoders      []json.RawMessage `json:"decoders"`

	Pattern     *jsonPattern    `json:"pattern"`
	Content     json.RawMessage `json:"content"`
	Behavior    string          `json:"behavior"`
	Invert      bool            `json:"invert"`
	Prepend     string          `json:"prepend"`
	Left        bool            `json:"strip_left"`
	Right       bool            `json:"strip_right"`
	Charsmap    string          `json:"precompiled_charsmap"`
	CleanText   *bool           `json:"clean_text"`
	CJK         *bool           `json:"handle_chinese_chars"`
	Accents     *bool           `json:"strip_accents"`
	Lowercase   *bool           `json:"lowercase"`
	PrefixSpace *bool           `json:"add_prefix_space"`
	UseRegex    *bool           `json:"use_regex"`
	Replacement string          `json:"replacement"`
	Scheme      string          `json:"prepend_scheme"`
	Split       *bool           `json:"split"`
	Individual  bool            `json:"individual_digits"`
	Delimiter   string          `json:"delimiter"`

	Single        []jsonTemplate `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
	SEP *jsonToken `json:"sep"`
	CLS *jsonToken `json:"cls"`

	Prefix  *string `json:"prefix"`
	Suffix  string  `json:"suffix"`
	CleanUp *bool   `json:"cleanup"`
	Start   int     `json:"start"`
	Stop    int     `json:"stop"`
	Pad     string  `json:"pad_token"`
	Word    string  `json:"word_delimiter_token"`
}

// jsonTemplate is a part of a template: the text, or a special token.
type jsonTemplate struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

// jsonToken is ["[SEP]", 102].
type jsonToken struct{ id int }

func (t *jsonToken) UnmarshalJSON(raw []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("expected a token and its id, found %s", short(string(raw)))
	}
	return formats.JSON("", parts[1], &t.id)
}

// jsonPattern is {"String": …} or {"Regex": …}.
type jsonPattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// each compiles the pattern.
func (p *jsonPattern) each() (func(string, func(from, to int)), error) {
	switch {
	case p == nil || p.String == nil && p.Regex == nil:
		return nil, fmt.Errorf("a pattern is missing")
	case p.String != nil:
		return eachString(*p.String), nil
	}
	re, err := compilePattern(*p.Regex)
	if err != nil {
		return nil, err
	}
	return re.each, nil
}

// readPart reads an object; nil if there is none.
func readPart(raw json.RawMessage, depth int) (*jsonPart, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("sequences nested deeper than %d", maxNesting)
	}
	var p jsonPart
	if err := formats.JSON("", raw, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *jsonPart) text() (string, error) {
	var s string
	if err := formats.JSON("", p.Content, &s); err != nil {
		return "", fmt.Errorf("%s: content: %w", p.Type, err)
	}
	return s, nil
}

func unsupported(kind string) error { return fmt.Errorf("type %q is not supported", kind) }

func yes(b *bool) bool { return b == nil || *b }
