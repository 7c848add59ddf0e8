package text

import (
	"html"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// cleaner returns the function that cleans a text as p says, letters made small included.
func cleaner(p *pipeline.Text) func(string, bool) string {
	clean := func(s string) string { return s }
	switch p.Clean {
	case pipeline.CleanHTML:
		clean = func(s string) string { return squeeze(html.UnescapeString(html.UnescapeString(s))) }
	case pipeline.CleanBasic:
		b := basic{lower: p.Lower, cjk: !p.NoCJK}
		return func(s string, _ bool) string { return strings.Join(b.words(s), " ") }
	case pipeline.CleanNFC:
		clean = func(s string) string { return squeeze(norm.NFC.String(s)) }
	case pipeline.CleanCanonical:
		clean = canonical
	case pipeline.CleanHTMLCanonical:
		clean = func(s string) string {
			return canonical(strings.ReplaceAll(html.UnescapeString(html.UnescapeString(s)), "_", " "))
		}
	}
	if !p.Lower {
		return func(s string, _ bool) string { return clean(s) }
	}
	if p.Clean == pipeline.CleanCanonical || p.Clean == pipeline.CleanHTMLCanonical {
		return func(s string, _ bool) string { return clean(PythonLower(s)) }
	}
	return func(s string, _ bool) string { return PythonLower(clean(s)) }
}

// canonical removes ASCII punctuation and makes white space single spaces (big_vision, pp/tokenizer-based canonicalize;
// transformers, SiglipTokenizer.canonicalize_text).
func canonical(s string) string {
	return squeeze(strings.Map(func(r rune) rune {
		if r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~' {
			return -1
		}
		return r
	}, s))
}

// basic is BERT's first pass over a text (google-research/bert, tokenization.py BasicTokenizer, with the NFC that
// transformers adds).
type basic struct {
	lower, accents, punctuation, cjk bool // accents: remove them; punctuation: split at it
}

// words cleans a text and cuts it at white space, and at punctuation where that is asked for.
func (b basic) words(s string) []string {
	var words []string
	for _, w := range strings.FieldsFunc(norm.NFC.String(b.clean(s)), IsPythonSpace) {
		if b.lower {
			w = PythonLower(w)
		}
		if b.accents {
			w = stripAccents(w)
		}
		if b.punctuation {
			words = append(words, splitPunctuation(w)...)
		} else {
			words = append(words, w)
		}
	}
	return words
}

func (b basic) clean(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	for _, r := range s {
		switch {
		case r == 0 || r == 0xfffd || isBertControl(r):
		case isSpace(r):
			out.WriteByte(' ')
		case b.cjk && isIdeograph(r):
			out.WriteByte(' ')
			out.WriteRune(r)
			out.WriteByte(' ')
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// splitPunctuation makes every punctuation character a word.
func splitPunctuation(w string) []string {
	var words []string
	start := 0
	for i, r := range w {
		if !isBertPunctuation(r) {
			continue
		}
		if i > start {
			words = append(words, w[start:i])
		}
		end := i + len(string(r))
		words = append(words, w[i:end])
		start = end
	}
	if start < len(w) {
		words = append(words, w[start:])
	}
	return words
}
