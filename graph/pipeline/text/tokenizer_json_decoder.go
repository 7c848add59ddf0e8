package text

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// jsonDecoder reads the decoder of a tokenizer.json: what makes text of tokens.
func jsonDecoder(raw json.RawMessage, depth int, grown *growth) (func([]string) []string, error) {
	p, err := readPart(raw, depth)
	if p == nil || err != nil {
		return nil, err
	}
	if p.Type == "Sequence" {
		var all []func([]string) []string
		for _, raw := range p.Decoders {
			d, err := jsonDecoder(raw, depth+1, grown)
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
	}
	if make := jsonDecoders[p.Type]; make != nil {
		return make(p, grown)
	}
	return nil, unsupported(p.Type)
}

// eachToken applies a function to every token and its place.
func eachToken(f func(i int, token string) string) func([]string) []string {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			out[i] = f(i, t)
		}
		return out
	}
}

// jsonDecoders are the decoders by type.
var jsonDecoders = map[string]func(p *jsonPart, grown *growth) (func([]string) []string, error){
	"ByteLevel": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		return func(tokens []string) []string {
			return []string{decodeBytes(fromLetters(strings.Join(tokens, "")))}
		}, nil
	},
	"WordPiece": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		prefix := "##"
		if p.Prefix != nil {
			prefix = *p.Prefix
		}
		return eachToken(func(i int, t string) string {
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
	},
	"Metaspace": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		mark, scheme, err := p.metaspace()
		return eachToken(func(i int, t string) string {
			if i == 0 && scheme != "never" {
				return strings.ReplaceAll(t, mark, "")
			}
			return strings.ReplaceAll(t, mark, " ")
		}), err
	},
	"BPEDecoder": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		suffix := p.Suffix
		if suffix == "" {
			suffix = "</w>"
		}
		return func(tokens []string) []string {
			return eachToken(func(i int, t string) string {
				space := " "
				if i == len(tokens)-1 {
					space = ""
				}
				return strings.ReplaceAll(t, suffix, space)
			})(tokens)
		}, nil
	},
	"Replace": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
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
		return eachToken(func(_ int, t string) string { return replace(t) }), nil
	},
	"Fuse": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	},
	"Strip": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		content, err := p.text()
		if err != nil {
			return nil, err
		}
		return eachToken(func(_ int, t string) string {
			for range min(max(p.Start, 0), len(t)) {
				t = strings.TrimPrefix(t, content)
			}
			for range min(max(p.Stop, 0), len(t)) {
				t = strings.TrimSuffix(t, content)
			}
			return t
		}), nil
	},
	"ByteFallback": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		return decodeByteTokens, nil
	},
	"CTC": func(p *jsonPart, grown *growth) (func([]string) []string, error) {
		return p.ctc, nil
	},
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
func (p *jsonPart) ctc(tokens []string) []string {
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
