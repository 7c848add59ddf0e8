package pipeline

import (
	"slices"
	"strings"
	"testing"
)

const multilingual = `{"decoder_start_token_id": 100, "eos_token_id": 99, "max_length": 20, "no_timestamps_token_id": 120,
	"lang_to_id": {"<|en|>": 101, "<|de|>": 102}, "task_to_id": {"transcribe": 110, "translate": 111}, "is_multilingual": true,
	"suppress_tokens": [1, -1, 2], "begin_suppress_tokens": [3, 99]%s}`

func TestWhisperDecode(t *testing.T) {
	with := func(more string) string { return strings.Replace(multilingual, "%s", more, 1) }
	for name, c := range map[string]struct {
		config, generation string
		prompt, languages  []int
		most               int
	}{
		"old configuration alone":     {`{"decoder_start_token_id": 100, "eos_token_id": 99, "forced_decoder_ids": [[1, 7], [2, 8]], "max_length": 3}`, "", []int{7, 8}, nil, 40},
		"forced ids of config.json":   {`{"forced_decoder_ids": [[1, 101], [2, 110]]}`, with(""), []int{101, 110, 120}, nil, 20},
		"forced ids end in no times":  {`{}`, with(`, "forced_decoder_ids": [[1, 101], [2, 110], [3, 120]]`), []int{101, 110, 120}, nil, 20},
		"a language to be found":      {`{}`, with(`, "forced_decoder_ids": [[1, null], [2, 110]]`), []int{110, 120}, []int{101, 102}, 20},
		"no forced ids":               {`{}`, with(""), []int{120}, []int{101, 102}, 20},
		"a language named":            {`{}`, with(`, "language": "de"`), []int{102, 110, 120}, nil, 20},
		"a language by its name":      {`{}`, with(`, "language": "German"`), []int{102, 110, 120}, nil, 20},
		"new tokens":                  {`{}`, with(`, "language": "EN", "max_new_tokens": 5`), []int{101, 110, 120}, nil, 9},
		"a language and a task named": {`{}`, with(`, "language": "<|en|>", "task": "translate"`), []int{101, 111, 120}, nil, 20},
		"a task named":                {`{}`, with(`, "task": "translate"`), []int{111, 120}, []int{101, 102}, 20},
		"timestamps":                  {`{}`, with(`, "return_timestamps": true, "forced_decoder_ids": [[1, 101], [2, 110], [3, 120]]`), []int{101, 110}, nil, 20},
	} {
		t.Run(name, func(t *testing.T) {
			var generation []byte
			if c.generation != "" {
				generation = []byte(c.generation)
			}
			d, err := WhisperDecode([]byte(c.config), generation, 40, 2)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(d.Prompt, c.prompt) || !slices.Equal(d.Languages, c.languages) || d.MaxLength != c.most || d.Start != 100 || !slices.Equal(d.End, []int{99}) {
				t.Errorf("start %d, end %v, prompt %v, languages %v, at most %d ids; want 100, [99], %v, %v, %d",
					d.Start, d.End, d.Prompt, d.Languages, d.MaxLength, c.prompt, c.languages, c.most)
			}
			if generation != nil && (!slices.Equal(d.Suppress, []int{1, 2}) || !slices.Equal(d.BeginSuppress, []int{3, 99})) {
				t.Errorf("suppressed %v, at the start %v", d.Suppress, d.BeginSuppress)
			}
		})
	}
}

func TestGenerationOptions(t *testing.T) {
	d, err := WhisperDecode([]byte("{}"), []byte(`{"num_beams": 5, "length_penalty": 0.5, "early_stopping": true, "no_repeat_ngram_size": 3,
		"repetition_penalty": 1.1, "temperature": 0.3, "do_sample": true, "min_length": 0, "bad_words_ids": [[7]]}`), 40, 2)
	if err != nil {
		t.Fatal(err)
	}
	if d.Beams != 5 || d.LengthPenalty != 0.5 || d.EarlyStopping != "first" || d.NoRepeat != 3 || d.Repetition != 1.1 {
		t.Errorf("read as %+v", d)
	}
	if got := strings.Join(d.Notes, "; "); len(d.Notes) != 2 || !strings.Contains(got, "bad_words_ids is [[7]]") || !strings.Contains(got, "do_sample is true") {
		t.Errorf("noted: %s", got)
	}
	if id, err := languageID("Castilian", map[string]int{"<|es|>": 7}); id != 7 || err != nil {
		t.Errorf("an alias: %d, %v", id, err)
	}
}

func TestWhisperDecodeRefuses(t *testing.T) {
	for generation, want := range map[string]string{
		`{"eos_token_id": "x"}`:                     "expected an id or a list of ids",
		`{"decoder_start_token_id": -1}`:            "id -1: expected 0 to",
		`{"forced_decoder_ids": [[2, 5]]}`:          "entry 0 is not for position 1",
		`{"language": "xx", "lang_to_id": {}}`:      `language "xx" is not in lang_to_id`,
		`{"task": "sing", "task_to_id": {"a": 1}}`:  `task "sing" is not in task_to_id`,
		`{"max_length": -4}`:                        "expected 1 to",
		`{"num_beams": 100000}`:                     "num_beams 100000",
		`{"num_beams": 2, "early_stopping": 3}`:     "early_stopping",
		`[`:                                         "generation_config.json",
		`{"no_timestamps_token_id": 1000000000000}`: "expected 0 to",
	} {
		if _, err := WhisperDecode([]byte("{}"), []byte(generation), 40, 2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", generation, err, want)
		}
	}
}

func TestWithTimestamps(t *testing.T) {
	d := &Decode{Start: 1, Prompt: []int{5, 9}, MaxLength: 8, Timestamps: &Timestamps{NoTimestamps: 9}}
	on, err := d.WithTimestamps(true)
	if err != nil || !slices.Equal(on.Prompt, []int{5}) || !on.Timestamps.On {
		t.Fatalf("on: %+v, %v", on, err)
	}
	off, err := on.WithTimestamps(false)
	if err != nil || !slices.Equal(off.Prompt, d.Prompt) || d.Timestamps.On || !slices.Equal(d.Prompt, []int{5, 9}) {
		t.Fatalf("off: %+v of %+v, %v", off, d, err)
	}
	if _, err := (&Decode{}).WithTimestamps(true); err == nil {
		t.Error("a model without timestamps took them")
	}
}

// The ids of the special tokens as openai/whisper's tokenizer.py numbers them.
func TestOpenAIWhisperDecode(t *testing.T) {
	for _, c := range []struct{ vocabulary, start, end, languages, transcribe, none int }{
		{51864, 50257, 50256, 0, 50358, 50362},
		{51865, 50258, 50257, 99, 50359, 50363},
		{51866, 50258, 50257, 100, 50360, 50364},
	} {
		d := OpenAIWhisperDecode(c.vocabulary, 448, 4)
		if d.Start != c.start || !slices.Equal(d.End, []int{c.end}) || len(d.Languages) != c.languages || d.Timestamps.NoTimestamps != c.none ||
			!slices.Contains(d.Suppress, c.transcribe) || d.Prompt[len(d.Prompt)-1] != c.none {
			t.Errorf("vocabulary of %d: %+v", c.vocabulary, d)
		}
		if err := d.Check(); err != nil {
			t.Error(err)
		}
	}
	if d := OpenAIWhisperDecode(203, 64, 2); d.End != nil || d.MaxLength != 64 {
		t.Errorf("vocabulary of 203: %+v", d)
	}
}
