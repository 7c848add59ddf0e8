package text

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// jsonNormalizer reads the normaliser of a tokenizer.json: what becomes of a text before it is cut.
func jsonNormalizer(raw json.RawMessage, depth int, grown *growth) (func(string) string, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	if p.Type == "Sequence" {
		var all []func(string) string
		for _, raw := range p.Normalizers {
			n, err := jsonNormalizer(raw, depth+1, grown)
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
	}
	if make := jsonNormalizers[p.Type]; make != nil {
		return make(p, grown)
	}
	return nil, unsupported(p.Type)
}

// jsonNormalizers are the normalisers by type.
var jsonNormalizers = map[string]func(p *jsonPart, grown *growth) (func(string) string, error){
	"NFC": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return norm.NFC.String, nil
	},
	"NFD": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return norm.NFD.String, nil
	},
	"NFKC": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return norm.NFKC.String, nil
	},
	"NFKD": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return norm.NFKD.String, nil
	},
	"Lowercase": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return lowerEach, nil
	},
	"StripAccents": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.Is(unicode.M, r) {
					return -1
				}
				return r
			}, s)
		}, nil
	},
	"Strip": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return func(s string) string {
			if p.Left {
				s = strings.TrimLeftFunc(s, isSpace)
			}
			if p.Right {
				s = strings.TrimRightFunc(s, isSpace)
			}
			return s
		}, nil
	},
	"Prepend": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return func(s string) string {
			if s == "" {
				return s
			}
			return p.Prepend + s
		}, nil
	},
	"Replace": func(p *jsonPart, grown *growth) (func(string) string, error) {
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
	},
	"Precompiled": func(p *jsonPart, grown *growth) (func(string) string, error) {
		table, err := base64.StdEncoding.DecodeString(p.Charsmap)
		if err != nil {
			return nil, errCharsmap
		}
		c, err := newCharsmap(table)
		if err != nil {
			return nil, err
		}
		return c.graphemes, nil
	},
	"BertNormalizer": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return p.bert(), nil
	},
	"ByteLevel": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return toLetters, nil
	},
	"Nmt": func(p *jsonPart, grown *growth) (func(string) string, error) {
		return nmt, nil
	},
}

// bert is BERT's cleaning as huggingface/tokenizers does it, without NFC.
func (p *jsonPart) bert() func(string) string {
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
