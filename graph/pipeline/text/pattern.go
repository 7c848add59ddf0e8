package text

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The patterns by which byte-level tokenizers cut text into words.
const (
	// clipPattern is openai/CLIP's (simple_tokenizer.py), its literals without regard to case. The original disregards case
	// everywhere; of the classes that matters for U+0345 alone, a mark whose capital is a letter: nothing matches it.
	clipPattern = `(?i:<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+`
	// gpt2Pattern is openai/gpt-2's (encoder.py); tiktoken, Whisper and RoBERTa share it.
	gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
)

// pattern is a regular expression as tokenizers write them: Unicode's \s, \w and \d, and the one lookahead that they use.
type pattern struct {
	re *regexp.Regexp
	// gap is the group of `\s+(?!\S)|\s+`: white space that leaves its last character to the word that follows. Go's
	// expressions, which take linear time, have no lookahead.
	gap int
}

// maxPattern bounds the length of a pattern from a file.
const maxPattern = 1 << 12

const (
	lookahead = `\s+(?!\S)|\s+`
	spaceSet  = `\t-\r\x{85}\p{Z}`
	wordSet   = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}`
)

func compilePattern(source string) (*pattern, error) {
	if len(source) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes: expected at most %d", len(source), maxPattern)
	}
	p, s := &pattern{}, source
	if at := strings.Index(s, lookahead); at >= 0 {
		// Only literal parentheses come before it in practice; a named group cannot be confused with any.
		s = s[:at] + `(?P<gap>\s+)` + s[at+len(lookahead):]
	}
	s, err := unicodeClasses(s)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	if p.re, err = regexp.Compile(s); err != nil {
		return nil, fmt.Errorf("pattern %q cannot be carried out: %w", source, err)
	}
	p.gap = max(p.re.SubexpIndex("gap"), 0)
	return p, nil
}

func mustPattern(source string) *pattern {
	p, err := compilePattern(source)
	if err != nil {
		panic(err)
	}
	return p
}

// unicodeClasses writes \s, \w and \d out, which are ASCII's in Go.
func unicodeClasses(s string) (string, error) {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			sets := map[byte]string{'s': spaceSet, 'w': wordSet, 'd': `\p{Nd}`}
			set, negated := sets[s[i]], false
			if set == "" {
				set, negated = sets[s[i]|0x20], s[i] < 'a'
			}
			switch {
			case set == "" || s[i]|0x20 != 's' && s[i]|0x20 != 'w' && s[i]|0x20 != 'd':
				b.WriteByte('\\')
				b.WriteByte(s[i])
			case inClass && negated:
				return "", fmt.Errorf(`\%c inside [] is not supported`, s[i])
			case inClass:
				b.WriteString(set)
			case negated:
				b.WriteString("[^" + set + "]")
			default:
				b.WriteString("[" + set + "]")
			}
			continue
		case c == '[' && !inClass:
			inClass = true
		case c == ']':
			inClass = false
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// each calls found with the start and end of every match, in order. Empty matches are passed over.
func (p *pattern) each(text string, found func(from, to int)) {
	for at := 0; at < len(text); {
		m := p.re.FindStringSubmatchIndex(text[at:])
		if m == nil {
			return
		}
		from, to := at+m[0], at+m[1]
		if p.gap > 0 && m[2*p.gap] >= 0 && to < len(text) {
			if _, n := utf8.DecodeLastRuneInString(text[from:to]); to-n > from {
				to -= n
			}
		}
		if to == from {
			_, n := utf8.DecodeRuneInString(text[from:])
			at = from + max(n, 1)
			continue
		}
		found(from, to)
		at = to
	}
}

// words returns the matches in text.
func (p *pattern) words(text string, _ bool) []string {
	var words []string
	p.each(text, func(from, to int) { words = append(words, text[from:to]) })
	return words
}
