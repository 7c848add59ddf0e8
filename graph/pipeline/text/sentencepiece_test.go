package text

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// proto writes the fields of a protocol buffer.
type proto []byte

func (p proto) number(field int, n uint64) proto {
	return binary.AppendUvarint(binary.AppendUvarint(p, uint64(field)<<3), n)
}

func (p proto) bytes(field int, b []byte) proto {
	p = binary.AppendUvarint(binary.AppendUvarint(p, uint64(field)<<3|2), uint64(len(b)))
	return append(p, b...)
}

func (p proto) float(field int, f float32) proto {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(p, uint64(field)<<3|5), math.Float32bits(f))
}

// spmFile writes a SentencePiece model.
func spmFile(pieces []spmPiece, modelType int, charsmap []byte, dummy, extra bool) []byte {
	var p proto
	for _, piece := range pieces {
		p = p.bytes(1, proto{}.bytes(1, []byte(piece.text)).float(2, piece.score).number(3, uint64(piece.kind)))
	}
	p = p.bytes(2, proto{}.number(3, uint64(modelType)))
	flag := map[bool]uint64{true: 1}
	n := proto{}.number(3, flag[dummy]).number(4, flag[extra])
	if charsmap != nil {
		n = n.bytes(2, charsmap)
	}
	return p.bytes(3, n)
}

// charsmapFile writes a double array of replacements in which every node has a block of 256 units of its own.
func charsmapFile(replace map[string]string) []byte {
	type node struct {
		children map[byte]*node
		value    int
		leaf     bool
	}
	root := &node{children: map[byte]*node{}}
	var texts []byte
	keys := make([]string, 0, len(replace))
	for k := range replace {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		n := root
		for i := range len(k) {
			if n.children[k[i]] == nil {
				n.children[k[i]] = &node{children: map[byte]*node{}}
			}
			n = n.children[k[i]]
		}
		n.leaf, n.value = true, len(texts)
		texts = append(append(texts, replace[k]...), 0)
	}
	units := make([]uint32, 256)
	var place func(n *node, at uint32)
	place = func(n *node, at uint32) {
		block := uint32(len(units))
		units = append(units, make([]uint32, 256)...)
		units[at] |= (at ^ block) << 10
		if n.leaf {
			units[at] |= 1 << 8
			units[block] = uint32(n.value) | 1<<31
		}
		for b := range 256 {
			if c := n.children[byte(b)]; c != nil {
				child := block ^ uint32(b)
				units[child] |= uint32(b)
				place(c, child)
			}
		}
	}
	place(root, 0)
	out := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		out = binary.LittleEndian.AppendUint32(out, u)
	}
	return append(out, texts...)
}

func openSPM(t *testing.T, raw []byte, p pipeline.Text) Tokenizer {
	t.Helper()
	p.Kind, p.Files = pipeline.SentencePiece, map[string]string{"model": "spiece.model"}
	tok, err := Open(&p, reader(map[string][]byte{"spiece.model": raw}))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

var spmSpecials = []spmPiece{{"<unk>", 0, spmUnknown}, {"<s>", 0, spmControl}, {"</s>", 0, spmControl}}

// randomPieces are pieces of few letters, so that texts can be cut in many ways. Scores are sums of powers of two: no two
// ways to cut have the same score by rounding alone.
func randomPieces(rnd *rand.Rand, n int) []spmPiece {
	letters := []string{"a", "b", "c", "é", spaceMark}
	pieces, seen := slices.Clone(spmSpecials), map[string]bool{}
	for len(pieces) < n {
		var s string
		for range 1 + rnd.IntN(4) {
			s += letters[rnd.IntN(len(letters))]
		}
		if !seen[s] {
			seen[s] = true
			pieces = append(pieces, spmPiece{s, -float32(rnd.IntN(1<<16)) / 1024, spmNormal})
		}
	}
	return pieces
}

func randomText(rnd *rand.Rand, letters []string, n int) string {
	var s string
	for range n {
		s += letters[rnd.IntN(len(letters))]
	}
	return s
}

// bestScore is the score of the best way to cut s, by trying all ways.
func bestScore(s string, score map[string]float64, unknown float64) float64 {
	if s == "" {
		return 0
	}
	best := math.Inf(-1)
	_, n := utf8.DecodeRuneInString(s)
	if _, ok := score[s[:n]]; !ok {
		best = unknown + bestScore(s[n:], score, unknown)
	}
	for piece, sc := range score {
		if strings.HasPrefix(s, piece) {
			best = max(best, sc+bestScore(s[len(piece):], score, unknown))
		}
	}
	return best
}

func TestUnigramEqualsBruteForce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		pieces := randomPieces(rnd, 3+5+rnd.IntN(20))
		for _, letter := range []string{"a", "b", "c", "é"} {
			// Every letter but x is a piece, so that it is clear which ones an unknown stands for.
			if !slices.ContainsFunc(pieces, func(p spmPiece) bool { return p.text == letter }) {
				pieces = append(pieces, spmPiece{letter, -float32(rnd.IntN(1<<16)) / 1024, spmNormal})
			}
		}
		score, worst := map[string]float64{}, 0.0
		for _, p := range pieces[3:] {
			score[p.text], worst = float64(p.score), min(worst, float64(p.score))
		}
		tok := openSPM(t, spmFile(pieces, spmUnigram, nil, false, false), pipeline.Text{})
		for range 10 {
			text := randomText(rnd, []string{"a", "b", "c", "é", "x"}, rnd.IntN(9))
			ids, err := tok.Encode(text)
			if err != nil {
				t.Fatal(err)
			}
			got, rest := 0.0, text
			for _, id := range ids {
				if id != 0 {
					got += float64(pieces[id].score)
					if !strings.HasPrefix(rest, pieces[id].text) {
						t.Fatalf("%q: %s does not spell it", text, names(tok, ids))
					}
					rest = rest[len(pieces[id].text):]
					continue
				}
				// One id stands for a run of unknown characters, each of them with the penalty.
				for rest != "" {
					_, n := utf8.DecodeRuneInString(rest)
					if _, known := score[rest[:n]]; known {
						break
					}
					got, rest = got+worst-unknownPenalty, rest[n:]
				}
			}
			if want := bestScore(text, score, worst-unknownPenalty); rest != "" || math.Abs(got-want) > 1e-3 {
				t.Errorf("%q cut as %s scores %g, the best is %g", text, names(tok, ids), got, want)
			}
		}
	}
}

// slowSPMBPE merges the best pair, the leftmost of equals, until none is left.
func slowSPMBPE(text string, pieces []spmPiece) (out []string) {
	score := map[string]float32{}
	for _, p := range pieces[3:] {
		score[p.text] = p.score
	}
	for _, r := range text {
		out = append(out, string(r))
	}
	for {
		best := -1
		for i := 0; i+1 < len(out); i++ {
			s, ok := score[out[i]+out[i+1]]
			if ok && (best < 0 || s > score[out[best]+out[best+1]]) {
				best = i
			}
		}
		if best < 0 {
			return out
		}
		out = slices.Replace(out, best, best+2, out[best]+out[best+1])
	}
}

func TestSentencePieceBPEEqualsDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		pieces := slices.Clone(spmSpecials)
		for _, l := range []string{"a", "b", "c", "é", spaceMark} {
			pieces = append(pieces, spmPiece{l, -1000, spmNormal})
		}
		for _, p := range randomPieces(rnd, 25)[3:] {
			if utf8.RuneCountInString(p.text) > 1 {
				p.score = float32(rnd.IntN(12))
				pieces = append(pieces, p)
			}
		}
		tok := openSPM(t, spmFile(pieces, spmBPE, nil, true, true), pipeline.Text{})
		for range 20 {
			text := strings.TrimSpace(randomText(rnd, []string{"a", "b", "c", "é"}, 1+rnd.IntN(20)))
			ids, err := tok.Encode(text)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(slowSPMBPE(spaceMark+text, pieces), " "); names(tok, ids) != want {
				t.Errorf("%q: %s, want %s", text, names(tok, ids), want)
			}
			if got := tok.Decode(ids, true); got != text {
				t.Errorf("%q comes back as %q", text, got)
			}
		}
	}
}

// sentencePieces is a small unigram model of words.
func sentencePieces() []spmPiece {
	pieces := slices.Clone(spmSpecials)
	for i, p := range strings.Fields("▁a ▁photo ▁of ▁cat ▁ a b c d e f g h i o p t s ▁cats ▁dog fi ▁the 1 2 ! .") {
		pieces = append(pieces, spmPiece{p, -1 - float32(i)/8, spmNormal})
	}
	return append(pieces, spmPiece{"<mark>", 0, spmUserDefined})
}

func TestSentencePieceNormalizes(t *testing.T) {
	table := charsmapFile(map[string]string{"ﬁ": "fi", "\u00a0": " ", "\u3000": " ", "Ａ": "a", "\t": " ", "e\u0301": "é", "\u200b": ""})
	tok := openSPM(t, spmFile(sentencePieces(), spmUnigram, table, true, true), pipeline.Text{Suffix: []string{"</s>"}})
	for text, want := range map[string]string{
		"a photo of a cat":          "▁a ▁photo ▁of ▁a ▁cat",
		"  a \u00a0 photo\t":        "▁a ▁photo",
		"ﬁ":                         "▁ fi",
		"Ａ cat\u200bs":              "▁a ▁cats",
		"":                          "",
		"   ":                       "",
		"a 日本 cat":                  "▁a ▁ <unk> ▁cat",
		"a<mark>dog":                "▁a <mark> d o g",
		"the dog!":                  "▁the ▁dog !",
		"a </s> cat":                "▁a ▁ <unk> s <unk> ▁cat", // control pieces are not read from text
		"\u3000\u3000photo\u3000of": "▁photo ▁of",
	} {
		ids, err := tok.Encode(text)
		if err != nil || names(tok, ids) != want {
			t.Errorf("%q: %s, %v; want %s", text, names(tok, ids), err, want)
		}
	}
	ids, _ := tok.Encode("the cats")
	if got := tok.Decode(tok.Frame(ids), true); got != "the cats" {
		t.Errorf("decoded: %q", got)
	}
	if got := tok.Decode(tok.Frame(ids), false); got != "the cats</s>" {
		t.Errorf("decoded with specials: %q", got)
	}
}

func TestSiglip(t *testing.T) {
	files := map[string][]byte{
		"spiece.model":          spmFile(sentencePieces(), spmUnigram, nil, true, true),
		"tokenizer_config.json": []byte(`{"tokenizer_class": "SiglipTokenizer", "model_max_length": 8}`),
	}
	p, err := pipeline.TextFromFiles(reader(files), "", "", 64)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Open(p, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"A photo, of a CAT!":    "▁a ▁photo ▁of ▁a ▁cat",
		"(a)  photo-of\ncats.":  "▁a ▁photo o f ▁cats",
		"":                      "",
		"!!!":                   "",
		"the dog 1.2":           "▁the ▁dog ▁ 1 2",
		"</s> cat":              "</s> c a t", // only the text's own start gets a space
		"photo\u2581of":         "▁photo ▁of",
		"ﬁ a":                   "▁ <unk> ▁a",
		"a cat</s>":             "▁a ▁cat </s>",
		" a":                    "▁ ▁a", // the original keeps the space beside the one that it puts there
		"dog\u3000the\u00a0cat": "▁dog ▁the ▁cat",
	} {
		ids, err := tok.Encode(text)
		if got := names(tok, ids); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	rows, mask, err := Batch(tok, p, []string{"a cat", strings.Repeat("cat ", 20)})
	if err != nil {
		t.Fatal(err)
	}
	id := func(s string) int { n, _ := tok.ID(s); return n }
	if want := []int{id("▁a"), id("▁cat"), 2, 2, 2, 2, 2, 2}; !slices.Equal(rows[0], want) || !slices.Equal(mask[0], []int{1, 1, 1, 0, 0, 0, 0, 0}) {
		t.Errorf("%v, mask %v; want %v", rows[0], mask[0], want)
	}
	if len(rows[1]) != 8 || rows[1][7] != 2 || rows[1][6] != id("▁cat") {
		t.Errorf("cut to %v: want seven cats and the end", rows[1])
	}
}

func TestUnigramJSONEqualsModel(t *testing.T) {
	pieces := sentencePieces()
	pieces = pieces[:len(pieces)-1]
	var vocab [][]any
	for _, p := range pieces {
		vocab = append(vocab, []any{p.text, p.score})
	}
	table := charsmapFile(map[string]string{"ﬁ": "fi", "\u00a0": " ", "Ａ": "a"})
	raw, err := json.Marshal(map[string]any{
		"added_tokens": []map[string]any{{"id": 2, "content": "</s>", "special": true}},
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(table)},
			map[string]any{"type": "Replace", "pattern": map[string]any{"Regex": " {2,}"}, "content": " "},
			map[string]any{"type": "Strip", "strip_left": true, "strip_right": true}}},
		"pre_tokenizer": map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
		"post_processor": map[string]any{"type": "TemplateProcessing",
			"single":         []any{map[string]any{"Sequence": map[string]any{"id": "A"}}, map[string]any{"SpecialToken": map[string]any{"id": "</s>"}}},
			"special_tokens": map[string]any{"</s>": map[string]any{"id": "</s>", "ids": []int{2}, "tokens": []string{"</s>"}}}},
		"decoder": map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
		"model":   map[string]any{"type": "Unigram", "unk_id": 0, "vocab": vocab},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"tokenizer.json": raw}
	p, err := pipeline.TextFromFiles(reader(files), "", "T5Tokenizer", 0)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := Open(p, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	slow := openSPM(t, spmFile(pieces, spmUnigram, table, true, true), pipeline.Text{})
	for _, text := range []string{"a photo of a cat", "  the   dogs ", "ﬁ Ａ\u00a0cats", "photo日本of", "", "catscats cat"} {
		a, errA := slow.Encode(text)
		b, errB := fast.Encode(text)
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Errorf("%q: %s (%v) of the model, %s (%v) of tokenizer.json", text, names(slow, a), errA, names(fast, b), errB)
		}
	}
	ids, _ := fast.Encode("a cat")
	if got := fast.Decode(fast.Frame(ids), true); got != "a cat" {
		t.Errorf("decoded: %q", got)
	}
	if framed := fast.Frame(ids); framed[len(framed)-1] != 2 {
		t.Errorf("framed: %v", framed)
	}
}

func TestSPMRefused(t *testing.T) {
	good := spmFile(sentencePieces(), spmUnigram, nil, true, true)
	for name, raw := range map[string][]byte{
		"empty":          {},
		"cut":            good[:len(good)/2],
		"no pieces":      proto{}.bytes(2, proto{}.number(3, 1)),
		"no unknown":     spmFile([]spmPiece{{"a", 0, spmNormal}}, spmUnigram, nil, true, true),
		"two of a text":  spmFile(append(slices.Clone(spmSpecials), spmPiece{"a", 0, spmNormal}, spmPiece{"a", 0, spmNormal}), spmUnigram, nil, true, true),
		"word model":     spmFile(spmSpecials, 3, nil, true, true),
		"NaN":            spmFile(append(slices.Clone(spmSpecials), spmPiece{"a", float32(math.NaN()), spmNormal}), spmUnigram, nil, true, true),
		"long charsmap":  spmFile(spmSpecials, spmUnigram, []byte{255, 255, 255, 255, 0}, true, true),
		"huge length":    {1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"group":          {1<<3 | 3},
		"type of pieces": spmFile([]spmPiece{{"a", 0, 9}}, spmUnigram, nil, true, true),
	} {
		p := pipeline.Text{Kind: pipeline.SentencePiece, Files: map[string]string{"model": "spiece.model"}}
		if _, err := Open(&p, reader(map[string][]byte{"spiece.model": raw})); err == nil {
			t.Errorf("%s: no error", name)
		} else if !strings.HasPrefix(err.Error(), "spiece.model: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v: want one line that names the file", name, err)
		}
	}
}

func FuzzSentencePiece(f *testing.F) {
	table := charsmapFile(map[string]string{"ﬁ": "fi", "\u00a0": " "})
	f.Add(spmFile(sentencePieces(), spmUnigram, table, true, true), "a photo of ﬁ")
	f.Add(spmFile(sentencePieces(), spmBPE, nil, true, false), " the cats  <mark>")
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		p := pipeline.Text{Kind: pipeline.SentencePiece, Files: map[string]string{"model": "m"}}
		tok, err := Open(&p, reader(map[string][]byte{"m": raw}))
		if err != nil {
			return
		}
		checkEncode(t, tok, text)
	})
}

// checkEncode holds what is true of every tokenizer and text.
func checkEncode(t *testing.T, tok Tokenizer, text string) {
	ids, err := tok.Encode(text)
	if !utf8.ValidString(text) {
		if err == nil {
			t.Fatalf("%q was encoded", text)
		}
		return
	}
	if err != nil {
		return
	}
	for _, id := range ids {
		if _, ok := tok.Token(id); !ok || id < 0 || id >= tok.VocabSize() {
			t.Fatalf("%q has id %d, which the vocabulary lacks", text, id)
		}
	}
	again, err := tok.Encode(text)
	if err != nil || !slices.Equal(ids, again) {
		t.Fatalf("%q: %v, then %v, %v", text, ids, again, err)
	}
	if s := tok.Decode(ids, false); !utf8.ValidString(s) {
		t.Fatalf("%q comes back as %q", text, s)
	}
	_ = fmt.Sprint(tok.Decode(append(ids, -1, 1<<30), true))
}
