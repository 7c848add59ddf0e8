package wer

import (
	"encoding/json"
	"os"
	"testing"
)

// TestRecordedNormalizers holds both normalisers against what openai/whisper's made of texts.
func TestRecordedNormalizers(t *testing.T) {
	raw, err := os.ReadFile("testdata/whisper_normalizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Cases []struct{ Text, English, Basic string }
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) != 400 {
		t.Fatalf("%d recorded texts, want 400", len(f.Cases))
	}
	for _, c := range f.Cases {
		if got := EnglishNormalizer(c.Text); got != c.English {
			t.Errorf("%q in English: %q, want %q", c.Text, got, c.English)
		}
		if got := BasicNormalizer(c.Text, false, false); got != c.Basic {
			t.Errorf("%q: %q, want %q", c.Text, got, c.Basic)
		}
	}
}
