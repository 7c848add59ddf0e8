package verify

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/report"
)

// words is a tokenizer of whole words.
type words []string

func (w words) Encode(string) ([]int, error) { return nil, nil }
func (w words) Frame(ids []int) []int        { return ids }
func (w words) VocabSize() int               { return len(w) }
func (w words) ID(string) (int, bool)        { return 0, false }
func (w words) Token(id int) (string, bool)  { return w[id], true }
func (w words) Decode(ids []int, _ bool) string {
	var s []string
	for _, id := range ids {
		s = append(s, w[id])
	}
	return strings.Join(s, " ")
}

func TestTranscription(t *testing.T) {
	tr := &transcription{Writing: run.Writing{Value: "generated_ids", IDs: idRows}, tok: words{"cat", "dog", "Colour", "color", "tree"}}
	ids := func(v ...float32) map[string]*graph.Tensor {
		return map[string]*graph.Tensor{"generated_ids": {Shape: graph.Shape{2, len(v) / 2}, Data: v}}
	}
	items := []Item{{Text: "cat dog", Labelled: true}, {Text: "color tree", Labelled: true}}
	// Before: both right. After: one word wrong in the first; the second differs in spelling alone.
	if err := tr.Add(items, ids(0, 1, 3, 4), ids(0, 0, 2, 4)); err != nil {
		t.Fatal(err)
	}
	got := map[string]report.TaskScore{}
	for _, s := range tr.Scores() {
		got[s.Name] = s
	}
	for name, want := range map[string]float64{"word error rate": 25, "word error rate as written": 50, "word error rate to the float model's text": 50} {
		s := got[name]
		if math.Abs(s.After-want) > 1e-9 || s.Before != 0 || s.Drop != s.After || s.Agreement != 0 || !s.LowBetter || s.Samples != 2 {
			t.Errorf("%s: %+v, want %v %%", name, s, want)
		}
	}
	if !got["word error rate"].Primary || got["word error rate as written"].Primary {
		t.Error("the drop must be held against the normalised rate alone")
	}
	if err := tr.Add(items[:1], ids(0, 1, 3, 4), ids(0, 1, 3, 4)); err == nil {
		t.Error("two texts for one clip were taken")
	}
}

// idRows reads a text's ids from each row.
func idRows(t *graph.Tensor) [][]int {
	var rows [][]int
	for row := range slices.Chunk(t.Data, t.Shape.Last()) {
		var ids []int
		for _, v := range row {
			ids = append(ids, int(v))
		}
		rows = append(rows, ids)
	}
	return rows
}

// TestDigits holds a Whisper that was really trained against what its float model is recorded to write, where it is at hand.
func TestDigits(t *testing.T) {
	const dir = "../../shared/real/digits-whisper"
	raw, err := os.ReadFile(dir + "/expected.json")
	if os.IsNotExist(err) {
		t.Skip("the trained Whisper is not here")
	}
	var expected struct {
		WER   float64
		Clips int
	}
	if err == nil {
		err = json.Unmarshal(raw, &expected)
	}
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "converted")
	if _, err := quant.Convert(t.Context(), dir+"/checkpoint", dst, quant.Options{}); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), dir+"/checkpoint", dst, Options{Data: dir + "/audio", NoLatency: true})
	if err != nil {
		t.Fatal(err)
	}
	s := task(t, r, "word error rate as written")
	if math.Abs(s.Before/100-expected.WER) > 5e-7 || s.Samples != expected.Clips {
		t.Errorf("the float model's word error rate is %.4f %% on %d clips, recorded are %.4f %% on %d", s.Before, s.Samples, 100*expected.WER, expected.Clips)
	}
	if s.Drop > 0.6 {
		t.Errorf("int8 makes %.2f points more word errors", s.Drop)
	}
	for _, name := range []string{"encoder.last_hidden_state", "decoder.logits"} {
		found := false
		for _, n := range r.Nodes {
			found = found || n.Name == name && n.Cosine > 0.999
		}
		if !found {
			t.Errorf("%s was not compared, or is far off", name)
		}
	}
}
