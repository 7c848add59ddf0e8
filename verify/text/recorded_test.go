package text

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// recorded reads texts with what the original implementation makes of them.
func recorded[T any](t *testing.T, file string, want int) []T {
	t.Helper()
	var f struct {
		Cases []T `json:"cases"`
	}
	raw, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) != want {
		t.Fatalf("%s: %d cases, want %d", file, len(f.Cases), want)
	}
	return f.Cases
}

func TestRecordedCLIP(t *testing.T) {
	tok, err := Open(pipeline.OpenAICLIPText(77), nil)
	if err != nil {
		t.Fatal(err)
	}
	type clipCase struct {
		Text string `json:"text"`
		IDs  []int  `json:"ids"`
	}
	for _, c := range recorded[clipCase](t, "clip_random.json", 400) {
		if got, err := tok.Encode(c.Text); err != nil || !slices.Equal(got, c.IDs) {
			t.Errorf("%q: %v, %v; want %v", c.Text, got, err, c.IDs)
		}
	}
}

func TestRecordedNormalizers(t *testing.T) {
	type normalizerCase struct {
		Text    string `json:"text"`
		English string `json:"english"`
		Basic   string `json:"basic"`
	}
	for _, c := range recorded[normalizerCase](t, "whisper_normalizer.json", 400) {
		if got := EnglishNormalizer(c.Text); got != c.English {
			t.Errorf("%q in English: %q, want %q", c.Text, got, c.English)
		}
		if got := BasicNormalizer(c.Text, false, false); got != c.Basic {
			t.Errorf("%q: %q, want %q", c.Text, got, c.Basic)
		}
	}
}
