package wer

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

func TestErrorRateOfWhisper(t *testing.T) {
	raw, err := os.ReadFile("../../graph/pipeline/text/testdata/whisper/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		WER        float64
		WordErrors int `json:"word_errors"`
		Words      int
		Clips      []struct{ Reference, Hypothesis string } `json:"per_clip"`
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	var e ErrorRate
	for _, c := range want.Clips {
		e.Add(c.Reference, c.Hypothesis)
	}
	if e.Words != want.Words || e.WordErrors != want.WordErrors || e.Wrong != 15 || math.Abs(e.WER()-want.WER) > 5e-7 {
		t.Errorf("%+v, rate %.6f; want %d errors of %d words, rate %.6f, 15 clips", e, e.WER(), want.WordErrors, want.Words, want.WER)
	}
}

func TestErrorRate(t *testing.T) {
	for _, c := range []struct {
		reference, hypothesis  string
		words, wordErrors      int
		chars, charErrors      int
		wordRate, charactRatio float64
	}{
		{"the cat sat", "the cat sat", 3, 0, 11, 0, 0, 0},
		{"the cat sat", "the bat sat", 3, 1, 11, 1, 1. / 3, 1. / 11},
		{"the cat sat", "cat sat down", 3, 2, 11, 8, 2. / 3, 8. / 11},
		{"a b c d", "a c d", 4, 1, 7, 2, 1. / 4, 2. / 7},
		{"a", "a b c", 1, 2, 1, 4, 2, 4},
		{"", "", 0, 0, 0, 0, 0, 0},
		{"", "word", 0, 1, 0, 4, 1, 1},
		{"  spaced   out ", "spaced out", 2, 0, 10, 0, 0, 0},
		{"kitten", "sitting", 1, 1, 6, 3, 1, 0.5},
		{"überall", "uberall", 1, 1, 7, 1, 1, 1. / 7},
	} {
		var e ErrorRate
		e.Add(c.reference, c.hypothesis)
		if e.Words != c.words || e.WordErrors != c.wordErrors || e.Chars != c.chars || e.CharErrors != c.charErrors ||
			math.Abs(e.WER()-c.wordRate) > 1e-12 || math.Abs(e.CER()-c.charactRatio) > 1e-12 {
			t.Errorf("%q against %q: %+v, %g, %g; want %+v", c.hypothesis, c.reference, e, e.WER(), e.CER(), c)
		}
	}
}

// slowDistance is the definition.
func slowDistance(a, b []int) int {
	switch {
	case len(a) == 0:
		return len(b)
	case len(b) == 0:
		return len(a)
	case a[0] == b[0]:
		return slowDistance(a[1:], b[1:])
	}
	return 1 + min(slowDistance(a[1:], b[1:]), slowDistance(a[1:], b), slowDistance(a, b[1:]))
}

func TestDistanceEqualsDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() []int {
		s := make([]int, rnd.IntN(7))
		for i := range s {
			s[i] = rnd.IntN(3)
		}
		return s
	}
	for range 500 {
		a, b := random(), random()
		if got, want := distance(a, b), slowDistance(a, b); got != want {
			t.Fatalf("%v to %v: %d, want %d", a, b, got, want)
		}
	}
}

func FuzzNormalizers(f *testing.F) {
	for _, s := range []string{"Mr. Park paid $20 million and a half", "two point five", "nine double one", "\xff [a", "minus 3 cents 's"} {
		f.Add(s, "one two")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var e ErrorRate
		e.Add(EnglishNormalizer(a), EnglishNormalizer(b))
		BasicNormalizer(a, true, true)
		if e.WordErrors < 0 || e.CharErrors < 0 || (e.WordErrors == 0) != (e.Wrong == 0) {
			t.Fatalf("%q against %q: %+v", a, b, e)
		}
	})
}
