package text

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// Tokenizer turns text into ids and back.
type Tokenizer interface {
	// Encode returns the ids of a text, without the special tokens around an input.
	Encode(text string) ([]int, error)
	// Frame puts the special tokens of an input around ids.
	Frame(ids []int) []int
	// Decode returns the text of ids. skipSpecial leaves special tokens out. An id that the vocabulary lacks has no text.
	Decode(ids []int, skipSpecial bool) string
	// VocabSize is the largest id and one.
	VocabSize() int
	// ID returns the id of a token as the vocabulary writes it.
	ID(token string) (id int, ok bool)
	// Token returns the token of an id as the vocabulary writes it.
	Token(id int) (token string, ok bool)
}

// MissingError says that a model came without the files of its tokenizer: what does not need text can still be verified.
type MissingError struct {
	Looked []string // the files that were looked for
}

func (e *MissingError) Error() string {
	if len(e.Looked) == 0 {
		return "text was not verified: no tokenizer files"
	}
	return "text was not verified: no tokenizer files; looked for " + strings.Join(e.Looked, ", ")
}

// maxFile bounds a tokenizer file: far above every published one (Gemma's tokenizer.json has 34 MB).
const maxFile = 256 << 20

// source gives a kind the files that its description names.
type source struct {
	p    *pipeline.Text
	read func(name string) ([]byte, error)
}

// file reads the file of a role. ok is false where the description names none.
func (s *source) file(role string) (raw []byte, ok bool, err error) {
	name := s.p.Files[role]
	if name == "" {
		return nil, false, nil
	}
	raw, err = s.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, &MissingError{Looked: []string{name}}
	case err != nil:
		return nil, false, err
	case len(raw) > maxFile:
		return nil, false, fmt.Errorf("%s: %d bytes: a tokenizer's file has at most %d", name, len(raw), maxFile)
	}
	return raw, true, nil
}

// need reads a file that the kind cannot do without.
func (s *source) need(role string) ([]byte, error) {
	raw, ok, err := s.file(role)
	if err == nil && !ok {
		err = fmt.Errorf("the %s tokenizer's description names no file for its %s", s.p.Kind, role)
	}
	return raw, err
}

// name is how messages call a role's file.
func (s *source) name(role string) string { return s.p.Files[role] }

// kinds are the makers of tokenizers, each registered from its own file.
var kinds = map[pipeline.TextKind]func(*source) (*stages, error){}

func register(kind pipeline.TextKind, open func(*source) (*stages, error)) (none struct{}) {
	kinds[kind] = open
	return none
}

// Open makes the tokenizer that p describes; read reads a file of the model's folder. The error is a *MissingError where
// there is no tokenizer or its files are gone.
func Open(p *pipeline.Text, read func(name string) ([]byte, error)) (Tokenizer, error) {
	if p == nil {
		return nil, &MissingError{}
	}
	if p.Kind == "" {
		return nil, &MissingError{Looked: p.Looked}
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	open, ok := kinds[p.Kind]
	if !ok {
		return nil, fmt.Errorf("tokenizer %q: no such kind", p.Kind)
	}
	t, err := open(&source{p: p, read: read})
	if err != nil {
		return nil, err
	}
	if err := t.frame(p); err != nil {
		return nil, err
	}
	return t, nil
}

// Batch makes the inputs of texts: encoded, framed, cut and padded as p says. ids and mask have a row for each text; mask
// is 1 where ids come from the text and 0 where they are padding.
func Batch(t Tokenizer, p *pipeline.Text, texts []string) (ids, mask [][]int, err error) {
	pad, err := padID(t, p)
	if err != nil {
		return nil, nil, err
	}
	longest := 0
	if p.Pad.ToContext {
		longest = p.Context
	}
	for _, text := range texts {
		row, err := input(t, p, text)
		if err != nil {
			return nil, nil, err
		}
		ids, longest = append(ids, row), max(longest, len(row))
	}
	mask = make([][]int, len(ids))
	for i, row := range ids {
		ids[i], mask[i] = make([]int, 0, longest), make([]int, longest)
		start := 0
		if p.Pad.Left {
			start = longest - len(row)
		}
		for j := range longest {
			if j < start || j >= start+len(row) {
				ids[i] = append(ids[i], pad)
				continue
			}
			ids[i], mask[i][j] = append(ids[i], row[j-start]), 1
		}
	}
	return ids, mask, nil
}

func padID(t Tokenizer, p *pipeline.Text) (int, error) {
	id := p.Pad.ID
	if p.Pad.Token != "" {
		var ok bool
		if id, ok = t.ID(p.Pad.Token); !ok {
			return 0, fmt.Errorf("padding token %q is not in the vocabulary", p.Pad.Token)
		}
	}
	return id, checkID(p, id, "padding")
}

func checkID(p *pipeline.Text, id int, what string) error {
	if p.Vocabulary > 0 && id >= p.Vocabulary {
		return fmt.Errorf("id %d of %s: the model's table has %d rows; tokenizer and model do not belong together", id, what, p.Vocabulary)
	}
	return nil
}

// input encodes one text and cuts it to the context before the closing tokens.
func input(t Tokenizer, p *pipeline.Text, text string) ([]int, error) {
	ids, err := t.Encode(text)
	if err != nil {
		return nil, fmt.Errorf("text %s: %w", short(text), err)
	}
	if room := p.Context - len(t.Frame(nil)); p.Context > 0 && len(ids) > room {
		if !p.Truncate {
			return nil, fmt.Errorf("text %s: %d tokens and %d around them, for a context of %d", short(text), len(ids), len(t.Frame(nil)), p.Context)
		}
		ids = ids[:max(room, 0)]
	}
	ids = t.Frame(ids)
	for _, id := range ids {
		if err := checkID(p, id, "text "+short(text)); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// short quotes the start of a text for a message.
func short(text string) string {
	const most = 40
	if len(text) <= most {
		return fmt.Sprintf("%q", text)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%q…", text[:cut])
}
