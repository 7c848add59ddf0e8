package text

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.CLIPBPE, openCLIP)

// clipMerges are the 48,894 merges that openai/CLIP uses of its bpe_simple_vocab_16e6.txt.gz (MIT licence, Copyright (c)
// 2021 OpenAI): checkpoints in openai/CLIP's and open_clip's naming come without a tokenizer, since their code has it.
//
//go:embed clip_merges.txt.gz
var clipMerges []byte

const (
	clipStart = "<|startoftext|>"
	clipEnd   = "<|endoftext|>"
	// clipMergeCount is the number of merges that the original reads, whatever the file has.
	clipMergeCount = 49152 - 256 - 2
)

// openCLIP makes CLIP's byte-level BPE (openai/CLIP, clip/simple_tokenizer.py; transformers, CLIPTokenizer): words end in
// </w>, and there are no spaces in tokens.
func openCLIP(s *source) (*stages, error) {
	var v *vocabulary
	raw, haveVocab, err := s.file("vocab")
	if err != nil {
		return nil, err
	}
	lines, name, err := clipMergeLines(s)
	if err != nil {
		return nil, err
	}
	if haveVocab {
		v, err = readVocabJSON(raw, s.name("vocab"))
	} else {
		v, err = clipVocabulary(lines)
	}
	if err != nil {
		return nil, err
	}
	added, err := readAdded(s, v)
	if err != nil {
		return nil, err
	}
	m := &bpe{vocab: v, merges: make(map[pair]merge, len(lines)), symbols: toLetters, suffix: "</w>", unknown: noToken, sweep: true}
	if err := m.addMerges(lines, name); err != nil {
		return nil, err
	}
	if m.unknown, err = v.unknown(s.p); err != nil {
		return nil, err
	}
	normalize := cleaner(s.p)
	t := &stages{vocab: v, added: newAddedTokens(added, nil), normalize: normalize, split: mustPattern(clipPattern).words,
		model: &clipWords{m}, decode: decodeCLIP, chained: true}
	// Special tokens are left out of decoded text wherever they come from.
	for _, token := range []string{clipStart, clipEnd} {
		if id, ok := v.ids[token]; ok {
			t.added.byID[id] = pipeline.AddedToken{ID: id, Content: token, Special: true}
		}
	}
	return t, nil
}

// clipWords lets the two special tokens pass as a whole, which the pattern finds inside text.
type clipWords struct{ *bpe }

func (c *clipWords) encode(dst []int, word string) ([]int, error) {
	if word == clipStart || word == clipEnd {
		if id, ok := c.vocab.ids[word]; ok {
			return append(dst, id), nil
		}
	}
	return c.bpe.encode(dst, word)
}

// decodeCLIP joins tokens and makes spaces of the ends of words.
func decodeCLIP(tokens []string) string {
	return strings.TrimSpace(strings.ReplaceAll(decodeBytes(fromLetters(strings.Join(tokens, ""))), "</w>", " "))
}

// clipMergeLines returns the merges of the checkpoint, or those that openai/CLIP's code comes with.
func clipMergeLines(s *source) (lines []string, name string, err error) {
	raw, ok, err := s.file("merges")
	if err != nil {
		return nil, "", err
	}
	name = s.name("merges")
	if !ok {
		raw, name = clipMerges, "openai/CLIP's merges"
	}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		if raw, err = gunzip(raw); err != nil {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	lines, err = mergeLines(raw, name)
	return lines[:min(len(lines), clipMergeCount)], name, err
}

// gunzip decompresses at most maxFile bytes.
func gunzip(raw []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxFile+1))
	if err == nil && len(out) > maxFile {
		err = fmt.Errorf("decompresses to more than %d bytes", maxFile)
	}
	return out, err
}

// mergeLines cuts a merges file into lines. The first line is a heading, as in every reader of these files.
func mergeLines(raw []byte, name string) ([]string, error) {
	if i := invalidUTF8(string(raw)); i >= 0 {
		return nil, fmt.Errorf("%s: not UTF-8 at byte %d", name, i)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if !strings.Contains(lines[0], "#version") {
		return nil, fmt.Errorf("%s: the first line is %s: expected a heading like \"#version: 0.2\"", name, short(lines[0]))
	}
	lines = lines[1:]
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\r")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines, nil
}

// clipVocabulary derives the vocabulary from the merges, as the original does: the bytes' letters, these at the end of a
// word, the merges, start and end of text.
func clipVocabulary(lines []string) (*vocabulary, error) {
	v := newVocabulary(512 + len(lines) + 2)
	var tokens []string
	for _, visible := range []bool{true, false} {
		for _, r := range byteLetters {
			if visible == (r < 0x100) {
				tokens = append(tokens, string(r))
			}
		}
	}
	for _, t := range tokens[:256] {
		tokens = append(tokens, t+"</w>")
	}
	for _, line := range lines {
		tokens = append(tokens, strings.Replace(line, " ", "", 1))
	}
	for id, t := range append(tokens, clipStart, clipEnd) {
		if _, twice := v.ids[t]; twice {
			// Two merges give the same token: the original's table then holds the later id.
			delete(v.tokens, v.ids[t])
			delete(v.ids, t)
		}
		if err := v.add(t, id); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// readVocabJSON reads a vocab.json: an object of tokens and their ids.
func readVocabJSON(raw []byte, name string) (*vocabulary, error) {
	var ids map[string]int
	if err := formats.JSON(name, raw, &ids); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: an empty vocabulary", name)
	}
	v := newVocabulary(len(ids))
	for token, id := range ids {
		if err := v.add(token, id); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return v, nil
}
