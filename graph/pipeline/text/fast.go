package text

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

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
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	v, m, err := fastModel(f.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	for _, t := range f.Added {
		if err := v.add(t.Content, t.ID); err != nil {
			return nil, fmt.Errorf("added_tokens: %w", err)
		}
	}
	t := &stages{vocab: v, model: m, chained: true}
	normalize, err := fastNormalizer(f.Normalizer, 0, new(growth(1)))
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	split, err := fastSplitter(f.PreTokenizer, 0)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if split != nil {
		t.split = split
	}
	if err := t.fastFrame(f.PostProcessor, 0); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	decode, err := fastDecoder(f.Decoder, 0, new(growth(1)))
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

// fastPart is one object of the file, with every option that some type has.
type fastPart struct {
	Type string `json:"type"`

	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Decoders      []json.RawMessage `json:"decoders"`

	Pattern     *fastPattern    `json:"pattern"`
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

	Single        []fastTemplate `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
	SEP *fastToken `json:"sep"`
	CLS *fastToken `json:"cls"`

	Prefix  *string `json:"prefix"`
	Suffix  string  `json:"suffix"`
	CleanUp *bool   `json:"cleanup"`
	Start   int     `json:"start"`
	Stop    int     `json:"stop"`
	Pad     string  `json:"pad_token"`
	Word    string  `json:"word_delimiter_token"`
}

// fastTemplate is a part of a template: the text, or a special token.
type fastTemplate struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

// fastToken is ["[SEP]", 102].
type fastToken struct{ id int }

func (t *fastToken) UnmarshalJSON(raw []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("expected a token and its id, found %s", short(string(raw)))
	}
	return json.Unmarshal(parts[1], &t.id)
}

// fastPattern is {"String": …} or {"Regex": …}.
type fastPattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// each compiles the pattern.
func (p *fastPattern) each() (func(string, func(from, to int)), error) {
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
func readPart(raw json.RawMessage, depth int) (*fastPart, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("sequences nested deeper than %d", maxNesting)
	}
	var p fastPart
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *fastPart) text() (string, error) {
	var s string
	if err := json.Unmarshal(p.Content, &s); err != nil {
		return "", fmt.Errorf("%s: content: %w", p.Type, err)
	}
	return s, nil
}

func unsupported(kind string) error { return fmt.Errorf("type %q is not supported", kind) }

func yes(b *bool) bool { return b == nil || *b }

// replaceEach puts content in the place of every match.
func replaceEach(each func(string, func(from, to int)), content string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for _, s := range spans(text, each) {
			if s.match {
				b.WriteString(content)
			} else {
				b.WriteString(text[s.from:s.to])
			}
		}
		return b.String()
	}
}

// maxGrowth bounds how much longer a file's replacements may make a text, all together: a chain of them would otherwise
// double it time after time.
const maxGrowth = 1 << 12

// growth is the product of the lengths that replacements give what they replace.
type growth int

func (g *growth) by(n int) error {
	*g = growth(min(int(*g)*max(n, 1), maxGrowth+1))
	if *g > maxGrowth {
		return fmt.Errorf("its replacements could make a text more than %d times longer", maxGrowth)
	}
	return nil
}

func fastNormalizer(raw json.RawMessage, depth int, grown *growth) (func(string) string, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	switch p.Type {
	case "Sequence":
		var all []func(string) string
		for _, raw := range p.Normalizers {
			n, err := fastNormalizer(raw, depth+1, grown)
			if err != nil {
				return nil, err
			}
			if n != nil {
				all = append(all, n)
			}
		}
		return func(s string) string {
			for _, n := range all {
				s = n(s)
			}
			return s
		}, nil
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "Lowercase":
		return lowerEach, nil
	case "StripAccents":
		return func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.Is(unicode.M, r) {
					return -1
				}
				return r
			}, s)
		}, nil
	case "Strip":
		return func(s string) string {
			if p.Left {
				s = strings.TrimLeftFunc(s, isSpace)
			}
			if p.Right {
				s = strings.TrimRightFunc(s, isSpace)
			}
			return s
		}, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return p.Prepend + s
		}, nil
	case "Replace":
		each, err := p.Pattern.each()
		if err != nil {
			return nil, err
		}
		content, err := p.text()
		if err == nil {
			err = grown.by(len(content))
		}
		if err != nil {
			return nil, err
		}
		return replaceEach(each, content), nil
	case "Precompiled":
		table, err := base64.StdEncoding.DecodeString(p.Charsmap)
		if err != nil {
			return nil, errCharsmap
		}
		c, err := newCharsmap(table)
		if err != nil {
			return nil, err
		}
		return c.graphemes, nil
	case "BertNormalizer":
		return p.bert(), nil
	case "ByteLevel":
		return toLetters, nil
	case "Nmt":
		return nmt, nil
	}
	return nil, unsupported(p.Type)
}

// bert is BERT's cleaning as huggingface/tokenizers does it, without NFC.
func (p *fastPart) bert() func(string) string {
	small := yes(p.Lowercase)
	accents := small
	if p.Accents != nil {
		accents = *p.Accents
	}
	return func(s string) string {
		if yes(p.CleanText) {
			s = strings.Map(func(r rune) rune {
				switch {
				case r == 0 || r == 0xfffd || isBertControl(r):
					return -1
				case isSpace(r):
					return ' '
				}
				return r
			}, s)
		}
		if yes(p.CJK) {
			var b strings.Builder
			for _, r := range s {
				if isIdeograph(r) {
					b.WriteString(" " + string(r) + " ")
				} else {
					b.WriteRune(r)
				}
			}
			s = b.String()
		}
		if accents {
			s = stripAccents(s)
		}
		if small {
			s = lowerEach(s)
		}
		return s
	}
}

// nmt drops control characters and makes white space spaces (sentencepiece's nmt rules).
func nmt(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 1 && r <= 8 || r == 0xb || r >= 0xe && r <= 0x1f || r == 0x7f || r == 0x8f || r == 0x9f:
			return -1
		case r == 9 || r == 0xa || r == 0xc || r == 0xd || r == 0x1680 || r >= 0x200b && r <= 0x200f || r == 0x2028 || r == 0x2029 ||
			r == 0x2581 || r == 0xfeff || r == 0xfffd:
			return ' '
		}
		return r
	}, s)
}

func fastSplitter(raw json.RawMessage, depth int) (splitter, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	switch p.Type {
	case "Sequence":
		var all splitter
		for _, raw := range p.PreTokenizers {
			s, err := fastSplitter(raw, depth+1)
			if err != nil {
				return nil, err
			}
			if s != nil {
				all = all.then(s)
			}
		}
		return all, nil
	case "ByteLevel":
		words := mustPattern(gpt2Pattern).words
		return func(text string, first bool) []string {
			if yes(p.PrefixSpace) && !strings.HasPrefix(text, " ") {
				text = " " + text
			}
			out := []string{text}
			if yes(p.UseRegex) {
				out = words(text, first)
			}
			for i := range out {
				out[i] = toLetters(out[i])
			}
			return out
		}, nil
	case "Split":
		each, err := p.Pattern.each()
		if err != nil {
			return nil, err
		}
		return splitAt(each, p.Behavior, p.Invert)
	case "BertPreTokenizer":
		space, err := splitAt(eachRune(isSpace), splitRemoved, false)
		if err != nil {
			return nil, err
		}
		punctuation, err := splitAt(eachRune(isBertPunctuation), splitIsolated, false)
		return space.then(punctuation), err
	case "Whitespace":
		return mustPattern(`\w+|[^\w\s]+`).words, nil
	case "WhitespaceSplit":
		return splitAt(eachRune(isSpace), splitRemoved, false)
	case "Punctuation":
		behaviour := p.Behavior
		if behaviour == "" {
			behaviour = splitIsolated
		}
		return splitAt(eachRune(isBertPunctuation), behaviour, false)
	case "Digits":
		behaviour := splitContiguous
		if p.Individual {
			behaviour = splitIsolated
		}
		return splitAt(eachRune(unicode.IsNumber), behaviour, false)
	case "CharDelimiterSplit":
		return splitAt(eachString(p.Delimiter), splitRemoved, false)
	case "Metaspace":
		mark, scheme, err := p.metaspace()
		return metaspace(mark, scheme, yes(p.Split)), err
	}
	return nil, unsupported(p.Type)
}

func (p *fastPart) metaspace() (mark, scheme string, err error) {
	mark, scheme = p.Replacement, p.Scheme
	if utf8.RuneCountInString(mark) != 1 {
		return "", "", fmt.Errorf("replacement %q of the Metaspace: expected one character", mark)
	}
	if scheme == "" {
		scheme = "always"
	}
	if p.PrefixSpace != nil && !*p.PrefixSpace {
		scheme = "never"
	}
	if scheme != "always" && scheme != "first" && scheme != "never" {
		return "", "", fmt.Errorf("prepend_scheme %q of the Metaspace: expected always, first or never", scheme)
	}
	return mark, scheme, nil
}

// fastFrame sets the special tokens around a text.
func (s *stages) fastFrame(raw json.RawMessage, depth int) error {
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
			if err := s.fastFrame(raw, depth+1); err != nil {
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

func fastDecoder(raw json.RawMessage, depth int, grown *growth) (func([]string) []string, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	each := func(f func(i int, token string) string) func([]string) []string {
		return func(tokens []string) []string {
			out := make([]string, len(tokens))
			for i, t := range tokens {
				out[i] = f(i, t)
			}
			return out
		}
	}
	switch p.Type {
	case "Sequence":
		var all []func([]string) []string
		for _, raw := range p.Decoders {
			d, err := fastDecoder(raw, depth+1, grown)
			if err != nil {
				return nil, err
			}
			if d != nil {
				all = append(all, d)
			}
		}
		return func(tokens []string) []string {
			for _, d := range all {
				tokens = d(tokens)
			}
			return tokens
		}, nil
	case "ByteLevel":
		return func(tokens []string) []string {
			return []string{decodeBytes(fromLetters(strings.Join(tokens, "")))}
		}, nil
	case "WordPiece":
		prefix := "##"
		if p.Prefix != nil {
			prefix = *p.Prefix
		}
		return each(func(i int, t string) string {
			if i > 0 {
				if rest, ok := strings.CutPrefix(t, prefix); ok {
					t = rest
				} else {
					t = " " + t
				}
			}
			if yes(p.CleanUp) {
				t = cleanUp(t)
			}
			return t
		}), nil
	case "Metaspace":
		mark, scheme, err := p.metaspace()
		return each(func(i int, t string) string {
			if i == 0 && scheme != "never" {
				return strings.ReplaceAll(t, mark, "")
			}
			return strings.ReplaceAll(t, mark, " ")
		}), err
	case "BPEDecoder":
		suffix := p.Suffix
		if suffix == "" {
			suffix = "</w>"
		}
		return func(tokens []string) []string {
			return each(func(i int, t string) string {
				space := " "
				if i == len(tokens)-1 {
					space = ""
				}
				return strings.ReplaceAll(t, suffix, space)
			})(tokens)
		}, nil
	case "Replace":
		find, err := p.Pattern.each()
		if err != nil {
			return nil, err
		}
		content, err := p.text()
		if err == nil {
			err = grown.by(len(content))
		}
		if err != nil {
			return nil, err
		}
		replace := replaceEach(find, content)
		return each(func(_ int, t string) string { return replace(t) }), nil
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	case "Strip":
		content, err := p.text()
		if err != nil {
			return nil, err
		}
		return each(func(_ int, t string) string {
			for range min(max(p.Start, 0), len(t)) {
				t = strings.TrimPrefix(t, content)
			}
			for range min(max(p.Stop, 0), len(t)) {
				t = strings.TrimSuffix(t, content)
			}
			return t
		}), nil
	case "ByteFallback":
		return decodeByteTokens, nil
	case "CTC":
		return p.ctc, nil
	}
	return nil, unsupported(p.Type)
}

// decodeByteTokens makes text of runs of byte tokens; bytes that are none become U+FFFD each.
func decodeByteTokens(tokens []string) []string {
	var out []string
	var raw []byte
	flush := func() {
		if utf8.Valid(raw) {
			out = append(out, string(raw))
		} else {
			out = append(out, strings.Repeat("\ufffd", len(raw)))
		}
		raw = nil
	}
	for _, t := range tokens {
		if b, ok := byteToken(t); ok {
			raw = append(raw, b)
			continue
		}
		if raw != nil {
			flush()
		}
		out = append(out, t)
	}
	if raw != nil {
		flush()
	}
	return out
}

// ctc drops repetitions and blanks.
func (p *fastPart) ctc(tokens []string) []string {
	var out []string
	for _, t := range slices.Compact(slices.Clone(tokens)) {
		t = strings.ReplaceAll(t, p.Pad, "")
		if yes(p.CleanUp) {
			t = strings.ReplaceAll(cleanUp(t), p.Word, " ")
		}
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func fastModel(raw json.RawMessage) (*vocabulary, model, error) {
	var f struct {
		Type    string          `json:"type"`
		Vocab   json.RawMessage `json:"vocab"`
		Merges  json.RawMessage `json:"merges"`
		Unknown *string         `json:"unk_token"`
		UnkID   *int            `json:"unk_id"`
		Prefix  *string         `json:"continuing_subword_prefix"`
		Suffix  string          `json:"end_of_word_suffix"`
		Fuse    bool            `json:"fuse_unk"`
		Bytes   bool            `json:"byte_fallback"`
		Ignore  bool            `json:"ignore_merges"`
		Dropout *float64        `json:"dropout"`
		Longest *int            `json:"max_input_chars_per_word"`
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil, fmt.Errorf("it is missing")
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, nil, err
	}
	if f.Dropout != nil && *f.Dropout != 0 {
		return nil, nil, fmt.Errorf("dropout %g makes tokens random: set it to null", *f.Dropout)
	}
	if f.Type == "" {
		switch {
		case len(f.Merges) > 0:
			f.Type = "BPE"
		case len(f.Vocab) > 0 && f.Vocab[0] == '[':
			f.Type = "Unigram"
		case f.Longest != nil:
			f.Type = "WordPiece"
		default:
			f.Type = "WordLevel"
		}
	}
	if f.Type == "Unigram" {
		return fastUnigram(f.Vocab, f.UnkID, f.Bytes)
	}
	v, err := readVocabJSON(f.Vocab, "vocab")
	if err != nil {
		return nil, nil, err
	}
	unknown, prefix := noToken, ""
	if f.Unknown != nil {
		if id, ok := v.ids[*f.Unknown]; ok {
			unknown = id
		}
	}
	if f.Prefix != nil {
		prefix = *f.Prefix
	}
	switch f.Type {
	case "BPE":
		b := &bpe{vocab: v, merges: map[pair]merge{}, prefix: prefix, suffix: f.Suffix, unknown: unknown, drop: unknown == noToken,
			fuse: f.Fuse, byteFallback: f.Bytes, whole: f.Ignore}
		return v, b, b.fastMerges(f.Merges)
	case "WordPiece":
		if f.Prefix == nil {
			prefix = "##"
		}
		longest := maxWordPieceChars
		if f.Longest != nil {
			longest = *f.Longest
		}
		return v, &wordPiece{vocab: v, prefix: prefix, unknown: unknown, longest: longest}, nil
	case "WordLevel":
		return v, &wordLevel{v, unknown}, nil
	}
	return nil, nil, unsupported(f.Type)
}

// fastMerges reads merges as strings with a space or as pairs.
func (b *bpe) fastMerges(raw json.RawMessage) error {
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		return b.addMerges(lines, "merges")
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return fmt.Errorf("merges: expected strings or pairs of strings: %w", err)
	}
	for i, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("merges: merge %d has %d tokens: expected 2", i+1, len(p))
		}
		if err := b.addMerge(p[0], p[1], i, "merges"); err != nil {
			return err
		}
	}
	return nil
}

func fastUnigram(raw json.RawMessage, unknown *int, bytes bool) (*vocabulary, model, error) {
	var list [][]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, nil, fmt.Errorf("vocab: expected a list of pieces and scores: %w", err)
	}
	if len(list) == 0 || len(list) > maxPieces {
		return nil, nil, fmt.Errorf("vocab: %d pieces: expected 1 to %d", len(list), maxPieces)
	}
	v := newVocabulary(len(list))
	u := &unigram{vocab: v, pieces: newTrie(), scores: make([]float64, len(list)), unknown: noToken, byteFallback: bytes}
	worst := math.Inf(1)
	for id, entry := range list {
		var piece string
		if len(entry) != 2 || json.Unmarshal(entry[0], &piece) != nil || json.Unmarshal(entry[1], &u.scores[id]) != nil {
			return nil, nil, fmt.Errorf("vocab: entry %d: expected a piece and its score", id)
		}
		if err := v.add(piece, id); err != nil {
			return nil, nil, fmt.Errorf("vocab: %w", err)
		}
		if piece != "" {
			u.pieces.add(piece, id)
		}
		worst = min(worst, u.scores[id])
	}
	if unknown != nil {
		if *unknown < 0 || *unknown >= len(list) {
			return nil, nil, fmt.Errorf("unk_id %d: expected 0 to %d", *unknown, len(list)-1)
		}
		u.unknown = *unknown
	}
	u.setPenalty(worst)
	return v, u, nil
}

// wordLevel takes whole words.
type wordLevel struct {
	vocab   *vocabulary
	unknown int
}

func (w *wordLevel) encode(dst []int, word string) ([]int, error) {
	id, ok := w.vocab.ids[word]
	if !ok {
		if id = w.unknown; id < 0 {
			return dst, fmt.Errorf("the vocabulary has no word %s, and no token for what is unknown", short(word))
		}
	}
	return append(dst, id), nil
}
