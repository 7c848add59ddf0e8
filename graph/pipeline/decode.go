package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
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
	// Beams, above 1, is the number of texts that are followed at once (beam search); of those that end, the one counts whose sum
	// of logarithms over its length to the power of LengthPenalty is largest. EarlyStopping is when the search ends: "" when no
	// better text is likely, "first" when as many texts as beams have ended, "never" when no better text is possible.
	Beams         int     `json:"beams,omitempty"`
	LengthPenalty float64 `json:"length_penalty,omitempty"`
	EarlyStopping string  `json:"early_stopping,omitempty"`
	// NoRepeat, above 0, forbids runs of as many ids that stand in the text already.
	NoRepeat int `json:"no_repeat_ngram,omitempty"`
	// Repetition, where not 0, divides the positive scores of ids that stand in the text already, and multiplies the negative.
	Repetition float64 `json:"repetition_penalty,omitempty"`

	// Fault says why no text can be written, where the configuration makes no sense.
	Fault string `json:"fault,omitempty"`
	// Notes say what the configuration asks for and is not carried out.
	Notes []string `json:"-"`
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
	case d.Fault != "":
		return errors.New(d.Fault)
	case d.Layers < 0 || d.Layers > most:
		return fmt.Errorf("decoder of %d layers: expected 0 to %d", d.Layers, most)
	case d.Beams < 0 || d.Beams > maxBeams:
		return fmt.Errorf("num_beams %d: expected 1 to %d", d.Beams, maxBeams)
	case !(math.Abs(d.LengthPenalty) <= 100):
		return fmt.Errorf("length_penalty %g: expected -100 to 100", d.LengthPenalty)
	case d.EarlyStopping != "" && d.EarlyStopping != "first" && d.EarlyStopping != "never":
		return fmt.Errorf("early_stopping %q: expected true, false or \"never\"", d.EarlyStopping)
	case d.NoRepeat < 0 || d.NoRepeat > maxContext:
		return fmt.Errorf("no_repeat_ngram_size %d: expected 0 to %d", d.NoRepeat, maxContext)
	case d.Repetition < 0 || !(d.Repetition <= 1e6):
		return fmt.Errorf("repetition_penalty %g: expected a positive number", d.Repetition)
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

// maxBeams bounds a beam search.
const maxBeams = 64

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
	MaxNew           *int           `json:"max_new_tokens"`
	Beams            *int           `json:"num_beams"`
	LengthPenalty    *float64       `json:"length_penalty"`
	EarlyStopping    any            `json:"early_stopping"`
	NoRepeat         *int           `json:"no_repeat_ngram_size"`
	Repetition       *float64       `json:"repetition_penalty"`
}

// neutral are keys of generation_config.json that are not carried out, with the values under which that changes nothing.
var neutral = map[string][]string{
	"do_sample": {"false"}, "temperature": nil, "top_k": nil, "top_p": nil, "typical_p": nil, // without do_sample they say nothing
	"num_beam_groups": {"1"}, "diversity_penalty": {"0", "0.0"}, "penalty_alpha": {"0", "0.0"}, "num_return_sequences": {"1"},
	"min_length": {"0"}, "min_new_tokens": {"0"}, "forced_bos_token_id": {}, "forced_eos_token_id": {}, "bad_words_ids": {}, "force_words_ids": {},
	"encoder_no_repeat_ngram_size": {"0"}, "encoder_repetition_penalty": {"1", "1.0"}, "exponential_decay_length_penalty": {}, "guidance_scale": {"1", "1.0"},
	"logprob_threshold": {}, "no_speech_threshold": {}, "compression_ratio_threshold": {}, "condition_on_prev_tokens": {"false"}, "prompt_ids": {},
	"return_segments": {"false"}, "return_token_timestamps": {"false"},
}

// notCarriedOut says, for each key that asks for something that is not done, what it asks for.
func notCarriedOut(generation []byte) []string {
	var keys map[string]json.RawMessage
	if json.Unmarshal(generation, &keys) != nil {
		return nil
	}
	var notes []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		values, known := neutral[key]
		value := string(keys[key])
		if known && values != nil && value != "null" && value != "[]" && !slices.Contains(values, value) {
			notes = append(notes, fmt.Sprintf("generation_config.json: %s is %.60s, which is not carried out", key, value))
		}
	}
	return notes
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
	if err := g.search(d); err != nil {
		return nil, err
	}
	d.Notes = notCarriedOut(generation)
	if g.NoTimestamps != nil {
		d.Timestamps = &Timestamps{On: g.ReturnTimestamps, NoTimestamps: *g.NoTimestamps, MaxInitial: -1}
		if g.MaxInitial != nil {
			d.Timestamps.MaxInitial = *g.MaxInitial
		}
		d.timestampPrompt()
	}
	if g.MaxNew != nil {
		d.MaxLength = min(d.PromptLength()+*g.MaxNew, positions)
	}
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	return d, nil
}

// search reads how a text is looked for.
func (g *whisperGeneration) search(d *Decode) error {
	d.Beams, d.LengthPenalty, d.NoRepeat, d.Repetition = or(g.Beams, 1), or(g.LengthPenalty, 1), or(g.NoRepeat, 0), or(g.Repetition, 1)
	switch stop := g.EarlyStopping.(type) {
	case nil:
	case bool:
		d.EarlyStopping = map[bool]string{true: "first"}[stop]
	case string:
		d.EarlyStopping = stop
	default:
		return fmt.Errorf("early_stopping: expected true, false or \"never\", found %v", stop)
	}
	if d.Beams == 1 {
		d.Beams, d.LengthPenalty, d.EarlyStopping = 0, 0, ""
	}
	if d.Repetition == 1 {
		d.Repetition = 0
	}
	return nil
}

// PromptLength is how many ids of a text are given: the first, the language that is found, and the prompt.
func (d *Decode) PromptLength() int { return 1 + min(len(d.Languages), 1) + len(d.Prompt) }

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
		id, err := languageID(*g.Language, g.Languages)
		if err != nil {
			return err
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
