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
