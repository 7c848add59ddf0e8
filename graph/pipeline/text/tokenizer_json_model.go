package text

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/mmconv/mmconv/formats"
)

func jsonModel(raw json.RawMessage) (*vocabulary, model, error) {
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
	if err := formats.JSON("", raw, &f); err != nil {
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
		return jsonUnigram(f.Vocab, f.UnkID, f.Bytes)
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
		return v, b, b.jsonMerges(f.Merges)
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

// jsonMerges reads merges as strings with a space or as pairs.
func (b *bpe) jsonMerges(raw json.RawMessage) error {
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		return b.addMerges(lines, "merges")
	}
	var pairs [][]string
	if err := formats.JSON("", raw, &pairs); err != nil {
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

func jsonUnigram(raw json.RawMessage, unknown *int, bytes bool) (*vocabulary, model, error) {
	var list [][]json.RawMessage
	if err := formats.JSON("vocab", raw, &list); err != nil {
		return nil, nil, err
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
