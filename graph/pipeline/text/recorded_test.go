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
