package text

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.CTC, openCTC)

// openCTC makes the alphabet of a model that was trained by connectionist temporal classification (Graves et al. 2006):
// vocab.json as of transformers' Wav2Vec2CTCTokenizer, whose padding token is the blank, or fairseq's dict.ltr.txt.
func openCTC(s *source) (*stages, error) {
	raw, ok, err := s.file("vocab")
	if err != nil {
		return nil, err
	}
	var v *vocabulary
	blank := s.p.Pad.Token
	if ok {
		if raw, err = alphabet(raw, s.name("vocab"), s.p.Language); err == nil {
			v, err = readVocabJSON(raw, s.name("vocab"))
		}
	} else if raw, err = s.need("dict"); err == nil {
		v, err = readDict(raw, s.name("dict"))
		blank = fairseqBlank
	}
	if err != nil {
		return nil, err
	}
	added, err := readAdded(s, v)
	if err != nil {
		return nil, err
	}
	id, ok := v.ids[blank]
	if !ok {
		return nil, fmt.Errorf("%s: the blank, %q, is not in the vocabulary", strings.Join(s.p.Paths(), ", "), blank)
	}
	unknown, err := v.unknown(s.p)
	if err != nil {
		return nil, err
	}
	c := &ctc{blank: id, delimiter: s.p.Delimiter, lower: s.p.Lower}
	return &stages{vocab: v, added: newAddedTokens(added, nil), normalize: c.normalize,
		model:    &bpe{vocab: v, unknown: unknown},
		collapse: c.collapse, decode: c.decode}, nil
}

// alphabet returns the tokens and ids of one language where a vocabulary is nested by language, as MMS's is.
func alphabet(raw []byte, name, language string) ([]byte, error) {
	var nested map[string]json.RawMessage
	if json.Unmarshal(raw, &nested) != nil {
		return raw, nil // its reader says what is wrong
	}
	for _, v := range nested {
		if !strings.HasPrefix(string(v), "{") {
			return raw, nil
		}
	}
	if one, ok := nested[language]; ok {
		return one, nil
	}
	known := slices.Sorted(maps.Keys(nested))
	const most = 12
	list := strings.Join(known[:min(most, len(known))], ", ")
	if len(known) > most {
		list += ", …"
	}
	if len(known) == 0 {
		return raw, nil
	}
	return nil, fmt.Errorf("%s: has an alphabet for each of %d languages (%s), and target_lang of tokenizer_config.json is %q: set it to the one that the weights are for",
		name, len(known), list, language)
}

// fairseqBlank is the token that fairseq's CTC criterion takes for the blank.
const fairseqBlank = "<s>"

type ctc struct {
	blank     int
	delimiter string
	lower     bool
}

// normalize writes spaces as the alphabet does. Published alphabets have capitals where texts do not.
func (c *ctc) normalize(text string, _ bool) string {
	if c.delimiter != "" {
		text = strings.ReplaceAll(text, " ", c.delimiter)
	}
	return text
}

// collapse makes runs of an id one and drops blanks.
func (c *ctc) collapse(ids []int) []int {
	var out []int
	for i, id := range ids {
		if id != c.blank && (i == 0 || id != ids[i-1]) {
			out = append(out, id)
		}
	}
	return out
}

func (c *ctc) decode(tokens []string) string {
	text := strings.Join(tokens, "")
	if c.delimiter != "" {
		text = strings.ReplaceAll(text, c.delimiter, " ")
	}
	if c.lower {
		text = PythonLower(text)
	}
	return text
}

// readDict reads a dictionary of fairseq: a token and its count a line, after four special tokens that no file lists.
func readDict(raw []byte, name string) (*vocabulary, error) {
	v := newVocabulary(0)
	for id, token := range []string{"<s>", "<pad>", "</s>", "<unk>"} {
		if err := v.add(token, id); err != nil {
			return nil, err
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		token, _, ok := strings.Cut(line, " ")
		if !ok || token == "" {
			return nil, fmt.Errorf("%s: line %d is %s: expected a token and its count", name, i+1, short(line))
		}
		if strings.HasPrefix(token, "madeupword") {
			// Padding of the table: a row with no text.
			v.size++
			continue
		}
		if err := v.add(token, v.size); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
	}
	return v, nil
}
