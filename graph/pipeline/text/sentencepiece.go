package text

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph/pipeline"
)

var _ = register(pipeline.SentencePiece, openSentencePiece)

// spaceMark is SentencePiece's visible space.
const spaceMark = "\u2581"

// openSentencePiece reads a SentencePiece model (Kudo and Richardson 2018), unigram or BPE.
func openSentencePiece(s *source) (*stages, error) {
	raw, err := s.need("model")
	if err != nil {
		return nil, err
	}
	m, err := readSPM(raw)
	if err == nil {
		err = m.checkKind()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name("model"), err)
	}
	v, words, err := m.build()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name("model"), err)
	}
	added, err := readAdded(s, v)
	if err != nil {
		return nil, err
	}
	chars, err := newCharsmap(m.charsmap)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name("model"), err)
	}
	n := &spmNormalizer{model: m, chars: chars, userDefined: newTrie()}
	for id, p := range m.pieces {
		if p.kind == spmUserDefined {
			n.userDefined.add(p.text, id)
		}
	}
	t := &stages{vocab: v, model: words, normalize: n.normalize, decode: m.decode, added: newAddedTokens(added, nil)}
	// Control pieces have no text, whether a configuration lists them or not.
	for id, p := range m.pieces {
		if _, known := t.added.byID[id]; !known && (p.kind == spmControl) {
			t.added.byID[id] = pipeline.AddedToken{ID: id, Content: p.text, Special: true}
		}
	}
	if s.p.Clean == pipeline.CleanCanonical {
		t.normalize = n.siglip(s.p.Lower)
		return t, nil
	}
	if clean := cleaner(s.p); s.p.Clean != pipeline.CleanNone || s.p.Lower {
		t.normalize = func(text string, first bool) string { return n.normalize(clean(text, first), first) }
	}
	return t, nil
}

func (m *spmModel) checkKind() error {
	if m.modelType != spmUnigram && m.modelType != spmBPE {
		return fmt.Errorf("model type %d: expected unigram (%d) or BPE (%d)", m.modelType, spmUnigram, spmBPE)
	}
	return nil
}

// build makes the vocabulary and the model that cuts text.
func (m *spmModel) build() (*vocabulary, model, error) {
	v, unknown := newVocabulary(len(m.pieces)), noToken
	scores, found := make([]float64, len(m.pieces)), newTrie()
	worst, most := math.Inf(1), math.Inf(-1)
	for id, p := range m.pieces {
		if err := v.add(p.text, id); err != nil {
			return nil, nil, err
		}
		scores[id] = float64(p.score)
		switch p.kind {
		case spmUnknown:
			if unknown != noToken {
				return nil, nil, fmt.Errorf("pieces %d and %d are both for what is unknown", unknown, id)
			}
			unknown = id
		case spmNormal:
			worst, most = min(worst, scores[id]), max(most, scores[id])
			found.add(p.text, id)
		case spmUserDefined:
			found.add(p.text, id)
		}
	}
	if unknown == noToken {
		return nil, nil, fmt.Errorf("no piece for what is unknown")
	}
	if m.modelType == spmBPE {
		return v, newSPMBPE(m, v, unknown), nil
	}
	for id, p := range m.pieces {
		if p.kind == spmUserDefined {
			// Longer ones win, and all win over other pieces (unigram_model.cc).
			scores[id] = float64(float32(len(p.text))*float32(most) - 0.1)
		}
	}
	u := &unigram{vocab: v, pieces: found, scores: scores, unknown: unknown, byteFallback: m.byteFallback, single: true}
	u.setPenalty(worst)
	return v, u, nil
}

// newSPMBPE makes SentencePiece's BPE: any two neighbours whose text is a piece may be merged, the best score first.
func newSPMBPE(m *spmModel, v *vocabulary, unknown int) model {
	b := &bpe{vocab: v, unknown: unknown, fuse: true, byteFallback: m.byteFallback, unsplit: newTrie()}
	order := scoreOrder(m.pieces)
	b.join = func(left, right int) (merge, bool) {
		id, ok := v.ids[v.tokens[left]+v.tokens[right]]
		if !ok || m.pieces[id].kind != spmNormal {
			return merge{}, false
		}
		for _, part := range []int{left, right} {
			if m.pieces[part].kind != spmNormal {
				return merge{}, false
			}
		}
		return merge{order[id], id}, true
	}
	for id, p := range m.pieces {
		if p.kind == spmUserDefined {
			b.unsplit.add(p.text, id)
		}
	}
	return b
}

// scoreOrder ranks pieces by their scores, the best first; equal scores have equal ranks.
func scoreOrder(pieces []spmPiece) []int {
	scores := make([]float32, len(pieces))
	for i, p := range pieces {
		scores[i] = p.score
	}
	slices.Sort(scores)
	scores = slices.Compact(scores)
	order := make([]int, len(pieces))
	for i, p := range pieces {
		at, _ := slices.BinarySearch(scores, p.score)
		order[i] = len(scores) - 1 - at
	}
	return order
}

// spmNormalizer rewrites text as SentencePiece does before it cuts it (src/normalizer.cc).
type spmNormalizer struct {
	model       *spmModel
	chars       *charsmap
	userDefined *trie
}

func (n *spmNormalizer) normalize(text string, _ bool) string {
	m := n.model
	out := n.rewrite(text, m.removeExtra)
	if out == "" {
		return ""
	}
	if m.dummyPrefix {
		if m.suffixSpace {
			return out + n.space()
		}
		return n.space() + out
	}
	return out
}

func (n *spmNormalizer) space() string {
	if n.model.escape {
		return spaceMark
	}
	return " "
}

// rewrite replaces characters and, where the model says so, makes runs of spaces one and drops those at the end; atStart
// drops those at the start, too.
func (n *spmNormalizer) rewrite(text string, atStart bool) string {
	var b strings.Builder
	b.Grow(len(text))
	afterSpace := atStart
	for len(text) > 0 {
		var part string
		var size int
		if _, size = n.userDefined.longest(text); size > 0 {
			part = text[:size]
		} else {
			part, size = n.chars.longest(text)
		}
		text = text[size:]
		for afterSpace && strings.HasPrefix(part, " ") {
			part = part[1:]
		}
		if part != "" {
			afterSpace = strings.HasSuffix(part, " ")
			if n.model.escape {
				part = strings.ReplaceAll(part, " ", spaceMark)
			}
			b.WriteString(part)
		}
		afterSpace = afterSpace && n.model.removeExtra
	}
	out := b.String()
	if n.model.removeExtra {
		for strings.HasSuffix(out, n.space()) {
			out = strings.TrimSuffix(out, n.space())
		}
	}
	return out
}

// siglip prepares a text as transformers' SiglipTokenizer does: small letters, a space in front that is not the model's
// own, no ASCII punctuation (the canonical form of big_vision), and then what the model does.
func (n *spmNormalizer) siglip(small bool) func(string, bool) string {
	return func(text string, first bool) string {
		if small {
			text = PythonLower(text)
		}
		text = strings.ReplaceAll(text, spaceMark, " ")
		if first {
			text = spaceMark + text
		}
		return n.rewrite(canonical(text), false)
	}
}

// decode joins pieces: marks become spaces, byte pieces bytes, and the space that encoding put in front goes.
func (m *spmModel) decode(tokens []string) string {
	var raw []byte
	for i, t := range tokens {
		if b, ok := byteToken(t); ok && m.byteFallback {
			raw = append(raw, b)
			continue
		}
		if t == m.unknownPiece() {
			t = m.unkSurface
		}
		t = strings.ReplaceAll(t, spaceMark, " ")
		if i == 0 && (m.dummyPrefix || m.removeExtra) {
			t = strings.TrimPrefix(t, " ")
		}
		raw = append(raw, t...)
	}
	return decodeBytes(raw)
}

func (m *spmModel) unknownPiece() string {
	for _, p := range m.pieces {
		if p.kind == spmUnknown {
			return p.text
		}
	}
	return ""
}

// byteToken reads "<0x41>".
func byteToken(t string) (byte, bool) {
	if len(t) != 6 || !strings.HasPrefix(t, "<0x") || t[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(t[3:5], 16, 8)
	return byte(n), err == nil
}
