package wer

import (
	"strings"
	"testing"
)

func TestEnglishNumbers(t *testing.T) {
	// The cases of openai/whisper's own test (tests/test_normalizer.py).
	for text, want := range map[string]string{
		"two": "2", "thirty one": "31", "five twenty four": "524", "nineteen ninety nine": "1999", "twenty nineteen": "2019",
		"two point five million": "2500000", "four point two billions": "4200000000s", "200 thousand": "200000",
		"200 thousand dollars": "$200000", "$20 million": "$20000000", "€52.4 million": "€52400000", "£77 thousands": "£77000s",
		"two double o eight": "2008", "three thousand twenty nine": "3029", "forty three thousand two hundred sixty": "43260",
		"forty three thousand two hundred and sixty": "43260", "nineteen fifties": "1950s", "thirty first": "31st",
		"thirty three thousand and three hundred and thirty third": "33333rd", "three billion": "3000000000", "millions": "1000000s",
		"july third twenty twenty": "july 3rd 2020", "august twenty sixth twenty twenty one": "august 26th 2021", "3 14": "3 14",
		"3.14": "3.14", "3 point 2": "3.2", "3 point 14": "3.14", "fourteen point 4": "14.4", "two point two five dollars": "$2.25",
		"two hundred million dollars": "$200000000", "$20.1 million": "$20100000", "ninety percent": "90%",
		"seventy six per cent": "76%", "double oh seven": "007", "double zero seven": "007", "nine one one": "911",
		"nine double one": "911", "one triple oh one": "10001", "two thousandth": "2000th", "thirty two thousandth": "32000th",
		"minus 500": "-500", "positive twenty thousand": "+20000", "two dollars and seventy cents": "$2.70", "3 cents": "¢3",
		"$0.36": "¢36", "three euros and sixty five cents": "€3.65", "three and a half million": "3500000",
		"forty eight and a half dollars": "$48.5", "b747": "b 747", "10 th": "10th", "10th": "10th",
	} {
		if got := normalizeNumbers(text); got != want {
			t.Errorf("numbers of %q: %q, want %q", text, got, want)
		}
		if got := EnglishNormalizer(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestEnglishNormalizer(t *testing.T) {
	for text, want := range map[string]string{
		// openai/whisper's own
		"Let's": "let us", "he's like": "he is like", "she's been like": "she has been like", "10km": "10 km", "10mm": "10 mm",
		"RC232": "rc 232", "Mr. Park visited Assoc. Prof. Kim Jr.": "mister park visited associate professor kim junior",
		"mobilisation": "mobilization", "cancelation": "cancellation",
		// worked out by hand from the rules
		"":                                    "",
		"Um, hello -- uh, World!":             " hello world",
		"[noise] She <unk> said (quietly) so": "she said so",
		"I 've  won't":                        "i have will not",
		"colour, 1,234.5 metres.":             "color 1234.5 meters",
		"Café naïve Øre":                      "cafe naive ore",
		"one":                                 "one",
		"one ones 1s 11":                      "11s ones 11",
		"émr mr":                              "emr mister",
		"100% sure. $5. Done":                 "100% sure $5 done",
		"the nineth and the ninth":            "the 9th and the ninth",
		"zero zero":                           "00",
	} {
		if got := EnglishNormalizer(text); got != want && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSpellingTable(t *testing.T) {
	if n := len(americanSpelling()); n != 1738 {
		t.Errorf("%d spellings, want 1738", n)
	}
}

func TestBasicNormalizer(t *testing.T) {
	for _, c := range []struct {
		text                     string
		removeDiacritics, letter bool
		want                     string
	}{
		{"Größe, [Lärm] naïve!", false, false, "größe naïve "},
		{"Größe, [Lärm] naïve!", true, false, "grosse naive "},
		{"日本 語", false, true, "日 本 語"},
		{"２０㎏", false, false, "20kg"},
	} {
		if got := BasicNormalizer(c.text, c.removeDiacritics, c.letter); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
