package text

import (
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

func openBert(t *testing.T, config string, tokens ...string) Tokenizer {
	t.Helper()
	files := map[string][]byte{
		"vocab.txt":             []byte(strings.Join(append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, tokens...), "\n") + "\n"),
		"tokenizer_config.json": []byte(config),
	}
	p, err := pipeline.TextFromFiles(reader(files), "", "BertTokenizer", 0)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Open(p, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// names writes ids as tokens.
func names(tok Tokenizer, ids []int) string {
	var out []string
	for _, id := range ids {
		token, _ := tok.Token(id)
		out = append(out, token)
	}
	return strings.Join(out, " ")
}

func TestWordPiece(t *testing.T) {
	// The first cases are those of google-research/bert's own test of its tokenizer.
	tok := openBert(t, `{}`, "want", "##want", "##ed", "wa", "un", "runn", "##ing", ",", "low", "lowest", "hello", "!", "how", "are",
		"you", "?", "h", "##e", "博", "推", "cafe", "i", "'", "m", "$", "^")
	for text, want := range map[string]string{
		"unwanted running":               "un ##want ##ed runn ##ing",
		"unwantedX running":              "[UNK] runn ##ing",
		"UNwantéd,running":               "un ##want ##ed , runn ##ing",
		" \tHeLLo!how  \n Are yoU?  ":    "hello ! how are you ?",
		"h\u00e9":                        "h ##e",
		"ah\u535a\u63a8zz":               "[UNK] 博 推 [UNK]",
		"":                               "",
		"  ":                             "",
		"CAFÉ":                           "cafe",
		"I'm":                            "i ' m",
		"$^":                             "$ ^",
		"lowest low":                     "lowest low",
		"hello [SEP] you":                "hello [SEP] you",
		"hello[MASK]!":                   "hello [MASK] !",
		"you\u200b\u00adhow are\u0000!":  "[UNK] are !",
		strings.Repeat("h", 101):         "[UNK]",
		"h" + strings.Repeat("e", 99):    "h" + strings.Repeat(" ##e", 99),
		"h" + strings.Repeat("e", 100):   "[UNK]",
		"\ufffdhello\u00a0you\u3000how?": "hello you how ?",
	} {
		ids, err := tok.Encode(text)
		if err != nil || names(tok, ids) != want {
			t.Errorf("%q: %s, %v; want %s", text, names(tok, ids), err, want)
		}
	}
	if got := names(tok, tok.Frame([]int{5})); got != "[CLS] want [SEP]" {
		t.Errorf("framed: %s", got)
	}
	ids, _ := tok.Encode("Hello, unwanted? [SEP]")
	if got := tok.Decode(ids, false); got != "hello, unwanted? [SEP]" {
		t.Errorf("decoded: %q", got)
	}
	if got := tok.Decode(ids, true); got != "hello, unwanted?" {
		t.Errorf("decoded without specials: %q", got)
	}
}

func TestWordPieceCased(t *testing.T) {
	tok := openBert(t, `{"do_lower_case": false}`, "Café", "Cafe", "cafe")
	ids, err := tok.Encode("Café Cafe\u0301 Cafe cafe CAFE")
	if want := []int{5, 5, 6, 7, 1}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v; want %v", ids, err, want)
	}
	tok = openBert(t, `{"do_lower_case": true, "strip_accents": false}`, "café", "cafe")
	ids, err = tok.Encode("CAFÉ")
	if want := []int{5}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("accents kept: %v, %v; want %v", ids, err, want)
	}
}

func TestCTC(t *testing.T) {
	files := map[string][]byte{"vocab.json": []byte(`{"<pad>":0,"<s>":1,"</s>":2,"<unk>":3,"|":4,"E":5,"H":6,"L":7,"O":8,"I":9}`)}
	p, err := pipeline.TextFromFiles(reader(files), "", "Wav2Vec2CTCTokenizer", 0)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Open(p, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	// Runs are one letter, a blank between them makes two.
	if got := tok.Decode([]int{0, 6, 6, 0, 5, 7, 7, 0, 7, 8, 8, 4, 4, 0, 6, 9, 9, 0, 0}, true); got != "HELLO HI" {
		t.Errorf("%q, want HELLO HI", got)
	}
	ids, err := tok.Encode("HI LO?")
	if want := []int{6, 9, 4, 7, 8, 3}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v; want %v", ids, err, want)
	}
	files = map[string][]byte{"dict.ltr.txt": []byte("| 94802\nE 51860\nmadeupword0000 0\nT 38431\n")}
	p, err = pipeline.TextFromFiles(reader(files), "", "Wav2Vec2CTCTokenizer", 0)
	if err != nil {
		t.Fatal(err)
	}
	if tok, err = Open(p, reader(files)); err != nil {
		t.Fatal(err)
	}
	if got := tok.Decode([]int{7, 7, 0, 5, 5, 4, 7}, true); got != "TE T" || tok.VocabSize() != 8 {
		t.Errorf("%q of %d tokens, want TE T of 8", got, tok.VocabSize())
	}
}
