package text

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.Tiktoken, openTiktoken)

// openTiktoken reads the rank files of openai/tiktoken as openai/whisper uses them (whisper/tokenizer.py): a line for each
// token, base64, and its rank, which is its id. Whisper's special tokens follow the last rank; the number of languages is
// what the model's vocabulary leaves room for.
func openTiktoken(s *source) (*stages, error) {
	raw, err := s.need("ranks")
	if err != nil {
		return nil, err
	}
	r, err := readRanks(raw, s.name("ranks"))
	if err != nil {
		return nil, err
	}
	languages := len(whisperLanguages)
	if s.p.Vocabulary > 0 {
		// end of text, start of transcript, six tasks, 1501 timestamps
		languages = s.p.Vocabulary - r.vocab.size - 8 - 1501
		if languages < 0 || languages > len(whisperLanguages) {
			return nil, fmt.Errorf("%s: %d tokens for a model of %d: its special tokens leave room for %d languages, expected 0 to %d",
				s.name("ranks"), r.vocab.size, s.p.Vocabulary, languages, len(whisperLanguages))
		}
	}
	var added []pipeline.AddedToken
	for _, content := range whisperSpecials(languages) {
		t := pipeline.AddedToken{ID: r.vocab.size, Content: content, Special: true}
		if err := r.vocab.add(content, t.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name("ranks"), err)
		}
		added = append(added, t)
	}
	return byteLevel(s.p, r.vocab, r, added), nil
}

// ranks is BPE whose order of merges is the ids of the tokens that they give.
type ranks struct{ *bpe }

// readRanks reads a rank file. Tokens are kept in the letters of byte-level vocabularies.
func readRanks(raw []byte, name string) (*ranks, error) {
	lines := strings.Split(string(bytes.TrimSpace(raw)), "\n")
	v := newVocabulary(len(lines))
	for i, line := range lines {
		code, number, ok := strings.Cut(strings.TrimSpace(line), " ")
		rank, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: line %d is %s: expected a token in base64 and its rank", name, i+1, short(line))
		}
		if code == "=" && rank >= 0 && rank < maxTokenID {
			// Whisper's multilingual file ends with an empty token: it takes up an id and is never found.
			v.size = max(v.size, rank+1)
			continue
		}
		token, err := base64.StdEncoding.DecodeString(code)
		if err != nil || len(token) == 0 {
			return nil, fmt.Errorf("%s: line %d: %s is not the base64 of a token", name, i+1, short(code))
		}
		if err := v.add(toLetters(string(token)), rank); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
	}
	m := &bpe{vocab: v, symbols: toLetters, unknown: noToken, whole: true}
	m.join = func(left, right int) (merge, bool) {
		id, ok := v.ids[v.tokens[left]+v.tokens[right]]
		return merge{id, id}, ok
	}
	return &ranks{m}, nil
}

// whisperLanguages are the codes of Whisper's languages in the order of their ids (openai/whisper, tokenizer.py).
var whisperLanguages = strings.Fields(`en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no
	th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka
	be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue`)

// whisperSpecials are Whisper's special tokens in the order of their ids.
func whisperSpecials(languages int) []string {
	out := []string{"<|endoftext|>", "<|startoftranscript|>"}
	for _, l := range whisperLanguages[:languages] {
		out = append(out, "<|"+l+"|>")
	}
	out = append(out, "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
	for i := range 1501 {
		out = append(out, timestamp(i, 0))
	}
	return out
}
