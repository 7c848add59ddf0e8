package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// jsonPreTokenizer reads the pre-tokeniser of a tokenizer.json: what cuts a text into words.
func jsonPreTokenizer(raw json.RawMessage, depth int) (splitter, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	if p.Type == "Sequence" {
		var all splitter
		for _, raw := range p.PreTokenizers {
			s, err := jsonPreTokenizer(raw, depth+1)
			if err != nil {
				return nil, err
			}
			if s != nil {
				all = all.then(s)
			}
		}
		return all, nil
	}
	if make := jsonPreTokenizers[p.Type]; make != nil {
		return make(p)
	}
	return nil, unsupported(p.Type)
}

// jsonPreTokenizers are the pre-tokenisers by type.
var jsonPreTokenizers = map[string]func(p *jsonPart) (splitter, error){
	"ByteLevel": func(p *jsonPart) (splitter, error) {
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
	},
	"Split": func(p *jsonPart) (splitter, error) {
		each, err := p.Pattern.each()
		if err != nil {
			return nil, err
		}
		return splitAt(each, p.Behavior, p.Invert)
	},
	"BertPreTokenizer": func(p *jsonPart) (splitter, error) {
		space, err := splitAt(eachRune(isSpace), splitRemoved, false)
		if err != nil {
			return nil, err
		}
		punctuation, err := splitAt(eachRune(isBertPunctuation), splitIsolated, false)
		return space.then(punctuation), err
	},
	"Whitespace": func(p *jsonPart) (splitter, error) {
		return mustPattern(`\w+|[^\w\s]+`).words, nil
	},
	"WhitespaceSplit": func(p *jsonPart) (splitter, error) {
		return splitAt(eachRune(isSpace), splitRemoved, false)
	},
	"Punctuation": func(p *jsonPart) (splitter, error) {
		behaviour := p.Behavior
		if behaviour == "" {
			behaviour = splitIsolated
		}
		return splitAt(eachRune(isBertPunctuation), behaviour, false)
	},
	"Digits": func(p *jsonPart) (splitter, error) {
		behaviour := splitContiguous
		if p.Individual {
			behaviour = splitIsolated
		}
		return splitAt(eachRune(unicode.IsNumber), behaviour, false)
	},
	"CharDelimiterSplit": func(p *jsonPart) (splitter, error) {
		return splitAt(eachString(p.Delimiter), splitRemoved, false)
	},
	"Metaspace": func(p *jsonPart) (splitter, error) {
		mark, scheme, err := p.metaspace()
		return metaspace(mark, scheme, yes(p.Split)), err
	},
}

func (p *jsonPart) metaspace() (mark, scheme string, err error) {
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
