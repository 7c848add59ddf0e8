package text

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// clipCases are texts with the ids that openai/CLIP (d05afc4) and, where it differs, transformers' CLIPTokenizer
// (4.42.0.dev0, without ftfy) give them.
func clipCases(t *testing.T) []struct {
	Text  string `json:"text"`
	IDs   []int  `json:"ids"`
	IDsHF []int  `json:"ids_hf"`
} {
	raw, err := os.ReadFile("testdata/clip_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Text  string `json:"text"`
			IDs   []int  `json:"ids"`
			IDsHF []int  `json:"ids_hf"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 186 {
		t.Fatalf("%d cases, want 186", len(file.Cases))
	}
	return file.Cases
}

func TestOpenAICLIP(t *testing.T) {
	tok, err := Open(pipeline.OpenAICLIPText(77), nil)
	if err != nil {
		t.Fatal(err)
	}
	if tok.VocabSize() != 49408 {
		t.Errorf("vocabulary of %d tokens, want 49408", tok.VocabSize())
	}
	for _, c := range clipCases(t) {
		got, err := tok.Encode(c.Text)
		if err != nil || !slices.Equal(got, c.IDs) {
			t.Errorf("%q: %v, %v; want %v", c.Text, got, err, c.IDs)
		}
	}
}

func TestHuggingFaceCLIP(t *testing.T) {
	p := pipeline.OpenAICLIPText(77)
	p.Clean = pipeline.CleanBasic
	p.Special = []pipeline.AddedToken{{Content: clipStart}, {Content: clipEnd}}
	p.Unknown = clipEnd
	tok, err := Open(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clipCases(t) {
		want := c.IDs
		if c.IDsHF != nil {
			want = c.IDsHF
		}
		got, err := tok.Encode(c.Text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", c.Text, got, err, want)
		}
	}
}

func TestCLIPDecodes(t *testing.T) {
	p := pipeline.OpenAICLIPText(77)
	tok, err := Open(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.Encode("A Photo of two cafés, &amp; it's 🙂")
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Decode(tok.Frame(ids), true); got != "a photo of two cafés , & it 's 🙂" {
		t.Errorf("decoded: %q", got)
	}
	if got := tok.Decode(tok.Frame(ids[:1]), false); got != "<|startoftext|>a <|endoftext|>" {
		t.Errorf("decoded with specials: %q", got)
	}
}

func TestBatch(t *testing.T) {
	p := pipeline.OpenAICLIPText(6)
	tok, err := Open(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"a cat", "", "a photo of a cat"}
	ids, mask, err := Batch(tok, p, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]int{{49406, 320, 2368, 49407, 0, 0}, {49406, 49407, 0, 0, 0, 0}, {49406, 320, 1125, 539, 320, 49407}} {
		if !slices.Equal(ids[i], want) {
			t.Errorf("%q: %v, want %v", texts[i], ids[i], want)
		}
		for j, m := range mask[i] {
			if (m == 1) != (j == 0 || want[j] != 0) {
				t.Errorf("%q: mask %v for %v", texts[i], mask[i], want)
				break
			}
		}
	}
	// To the longest of the batch, with a token, before the text.
	p.Pad = pipeline.TextPad{Token: clipEnd, Left: true}
	ids, mask, err = Batch(tok, p, texts[:2])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids[1], []int{49407, 49407, 49406, 49407}) || !slices.Equal(mask[1], []int{0, 0, 1, 1}) || len(ids[0]) != 4 {
		t.Errorf("%v, mask %v", ids, mask)
	}
	p.Truncate = false
	if _, _, err = Batch(tok, p, texts); err == nil {
		t.Error("a text of 5 tokens in a context of 6: no error")
	}
	p.Vocabulary = 608
	if _, _, err = Batch(tok, p, texts[:1]); err == nil {
		t.Error("ids above the model's table: no error")
	}
	if ids, mask, err = Batch(tok, pipeline.OpenAICLIPText(6), nil); err != nil || len(ids) != 0 || len(mask) != 0 {
		t.Errorf("no texts: %v, %v, %v", ids, mask, err)
	}
}
