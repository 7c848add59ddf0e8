package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/mmconv/mmconv/formats"
)

// Decode says how a decoder writes text, greedily and with a cache: the largest logit of each step is the next id. It is
// data: a system's file fills it from generation_config.json, a converted folder stores it as JSON, and package verify
// carries it out. Values of the graph that it goes by: decoder_input_ids, decoder.logits, past.N.key and past.N.value,
// present.N.key and present.N.value, cross.N.key and cross.N.value.
type Decode struct {
	// Layers is the number of the decoder's layers, whose caches are fed and fetched.
	Layers int `json:"layers"`
	// Start is the first id. Where Languages is not empty, the one of them that has the largest logit follows. Prompt comes
	// next, whatever the logits say.
	Start     int   `json:"start"`
	Languages []int `json:"languages,omitempty"`
	Prompt    []int `json:"prompt,omitempty"`
	// End are the ids that end a text.
	End []int `json:"end,omitempty"`
	// MaxLength is the most ids of a text, prompt included.
	MaxLength int `json:"max_length"`
	// Suppress are ids that are never chosen; BeginSuppress such that are not chosen first, behind the prompt.
	Suppress      []int `json:"suppress,omitempty"`
	BeginSuppress []int `json:"begin_suppress,omitempty"`
	// Timestamps holds the rules for marks of time; nil for models without.
	Timestamps *Timestamps `json:"timestamps,omitempty"`
}

// Timestamps are the rules by which Whisper marks times (openai/whisper decoding.py, ApplyTimestampRules).
type Timestamps struct {
	// On asks for marks. Without, NoTimestamps ends the prompt.
	On bool `json:"on,omitempty"`
	// NoTimestamps is the id that says that none are wanted; the marks' ids follow it.
	NoTimestamps int `json:"no_timestamps"`
	// MaxInitial, where not negative, is the largest number of steps of 0.02 s that the first mark may have.
	MaxInitial int `json:"max_initial"`
}

// WithTimestamps returns the description with marks of time on or off.
func (d *Decode) WithTimestamps(on bool) (*Decode, error) {
	if d.Timestamps == nil {
		if !on {
			return d, nil
		}
		return nil, fmt.Errorf("this model's generation_config.json names no no_timestamps_token_id: it has no timestamps")
	}
	c, t := *d, *d.Timestamps
	t.On = on
	c.Timestamps = &t
	c.Prompt = slices.Clone(d.Prompt)
	c.timestampPrompt()
	return &c, nil
}

// timestampPrompt ends the prompt with what says that no marks are wanted, or takes that away.
func (d *Decode) timestampPrompt() {
	n := len(d.Prompt)
	ends := n > 0 && d.Prompt[n-1] == d.Timestamps.NoTimestamps
	switch {
	case d.Timestamps.On && ends:
		d.Prompt = d.Prompt[:n-1]
	case !d.Timestamps.On && !ends:
		d.Prompt = append(d.Prompt, d.Timestamps.NoTimestamps)
	}
}

// Check reports the first thing in d that cannot be carried out.
func (d *Decode) Check() error {
	const most = 1 << 16
	switch {
	case d.Layers < 0 || d.Layers > most:
		return fmt.Errorf("decoder of %d layers: expected 0 to %d", d.Layers, most)
	case d.MaxLength < 1 || d.MaxLength > maxContext:
		return fmt.Errorf("texts of at most %d ids: expected 1 to %d", d.MaxLength, maxContext)
	}
	ids := slices.Concat([]int{d.Start}, d.Prompt, d.Languages, d.End, d.Suppress, d.BeginSuppress)
	if t := d.Timestamps; t != nil {
		ids = append(ids, t.NoTimestamps)
	}
	for _, id := range ids {
		if id < 0 || id >= maxVocabulary {
			return fmt.Errorf("id %d: expected 0 to %d", id, maxVocabulary-1)
		}
	}
	return nil
}

// idList is a number, a list of them, or null.
type idList []int

func (l *idList) UnmarshalJSON(raw []byte) error {
	var one int
	if json.Unmarshal(raw, &one) == nil && string(raw) != "null" {
		*l = idList{one}
		return nil
	}
	var list []int
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("expected an id or a list of ids, found %.40s", raw)
	}
	*l = list
	return nil
}

// whisperGeneration is what config.json and generation_config.json say of generation (transformers GenerationConfig and
// models/whisper/generation_whisper.py).
type whisperGeneration struct {
	Start            *int           `json:"decoder_start_token_id"`
	End              idList         `json:"eos_token_id"`
	MaxLength        *int           `json:"max_length"`
	Forced           [][2]*int      `json:"forced_decoder_ids"`
	Suppress         idList         `json:"suppress_tokens"`
	BeginSuppress    idList         `json:"begin_suppress_tokens"`
	ReturnTimestamps bool           `json:"return_timestamps"`
	NoTimestamps     *int           `json:"no_timestamps_token_id"`
	MaxInitial       *int           `json:"max_initial_timestamp_index"`
	Multilingual     *bool          `json:"is_multilingual"`
	Languages        map[string]int `json:"lang_to_id"`
	Tasks            map[string]int `json:"task_to_id"`
	Language         *string        `json:"language"`
	Task             *string        `json:"task"`
}

// WhisperDecode describes generation by transformers' Whisper: config is config.json, generation is
// generation_config.json or nil, positions the number of the decoder's positions. Where there is a
// generation_config.json it alone counts, but for forced_decoder_ids.
func WhisperDecode(config, generation []byte, positions, layers int) (*Decode, error) {
	var g whisperGeneration
	if err := formats.JSON("config.json", config, &g); err != nil {
		return nil, err
	}
	if generation != nil {
		old := g
		g = whisperGeneration{Start: old.Start, End: old.End}
		if err := formats.JSON("generation_config.json", generation, &g); err != nil {
			return nil, err
		}
		if g.Forced == nil {
			g.Forced = old.Forced
		}
	}
	d := &Decode{Layers: layers, Start: 50257, End: []int{50256}, MaxLength: positions,
		Suppress: valid(g.Suppress), BeginSuppress: valid(g.BeginSuppress)}
	if g.Start != nil {
		d.Start = *g.Start
	}
	if g.End != nil {
		d.End = g.End
	}
	if generation != nil && g.MaxLength != nil {
		d.MaxLength = min(*g.MaxLength, positions)
	}
	if err := g.prompt(d); err != nil {
		return nil, err
	}
	if g.NoTimestamps != nil {
		d.Timestamps = &Timestamps{On: g.ReturnTimestamps, NoTimestamps: *g.NoTimestamps, MaxInitial: -1}
		if g.MaxInitial != nil {
			d.Timestamps.MaxInitial = *g.MaxInitial
		}
		d.timestampPrompt()
	}
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	return d, nil
}

// valid leaves out -1, by which older files say that their tokenizer's own list holds.
func valid(ids []int) []int {
	return slices.DeleteFunc(slices.Clone(ids), func(id int) bool { return id < 0 })
}

// prompt puts together what follows the first id: what is forced, or else language and task.
func (g *whisperGeneration) prompt(d *Decode) error {
	language := true // one is to be found
	if g.Task == nil && g.Language == nil {
		for i, f := range g.Forced {
			if f[0] == nil || *f[0] != i+1 {
				return fmt.Errorf("forced_decoder_ids: entry %d is not for position %d", i, i+1)
			}
			if f[1] != nil {
				d.Prompt = append(d.Prompt, *f[1])
			}
			language = language && !(i == 0 && f[1] != nil)
		}
	}
	if g.Language != nil {
		id, ok := g.Languages[*g.Language]
		if !ok {
			id, ok = g.Languages["<|"+*g.Language+"|>"]
		}
		if !ok {
			return fmt.Errorf("language %q is not in lang_to_id", *g.Language)
		}
		d.Prompt, language = append([]int{id}, d.Prompt...), false
	}
	if language && len(g.Languages) > 0 && (g.Multilingual == nil || *g.Multilingual) {
		d.Languages = slices.Sorted(maps.Values(g.Languages))
	}
	task := g.Task
	if transcribe := "transcribe"; task == nil && g.Language != nil {
		task = &transcribe
	}
	if task != nil && len(g.Tasks) > 0 {
		id, ok := g.Tasks[*task]
		if !ok {
			return fmt.Errorf("task %q is not in task_to_id", *task)
		}
		d.Prompt = append(d.Prompt, id)
	}
	return nil
}

// OpenAIWhisperDecode describes generation by openai/whisper with its defaults (tokenizer.py, decoding.py), timestamps off:
// special tokens follow the text's in a fixed order, with as many languages as the vocabulary leaves room for. What that
// project suppresses by the text of tokens (symbols that are not spoken) is left to be chosen. Vocabularies of another size
// than the published ones have no known special tokens: their texts are as long as there are positions.
func OpenAIWhisperDecode(vocabulary, positions, layers int) *Decode {
	d := &Decode{Layers: layers, MaxLength: max(positions, 1)}
	const english = 51864
	if vocabulary < english {
		return d
	}
	end, languages := 50256, 99
	if vocabulary > english {
		end, languages = 50257, vocabulary-51766
	}
	d.Start, d.End = end+1, []int{end}
	translate := d.Start + 1 + languages
	transcribe, lm, previous, silence, none := translate+1, translate+2, translate+3, translate+4, translate+5
	if vocabulary > english {
		for i := range languages {
			d.Languages = append(d.Languages, d.Start+1+i)
		}
		d.Prompt = []int{transcribe}
	}
	const space = 220 // of GPT-2's vocabulary and of the multilingual one
	d.Suppress = []int{d.Start, translate, transcribe, lm, previous, silence}
	d.BeginSuppress = []int{space, end}
	d.Timestamps = &Timestamps{NoTimestamps: none, MaxInitial: 50}
	d.timestampPrompt()
	d.MaxLength = min(d.MaxLength, 1+len(d.Languages[:min(1, len(d.Languages))])+len(d.Prompt)+positions/2)
	return d
}
