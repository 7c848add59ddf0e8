package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Text says how a text becomes the ids that a model takes, and ids a text. It is data: a system's file or the tokenizer
// files of a checkpoint fill it (TextFromFiles), a converted folder stores it as JSON beside the files that it names, and
// package verify/text carries it out.
type Text struct {
	// Kind is the tokenizer's kind; "" says that the checkpoint came without tokenizer files, and Looked which were missed.
	Kind TextKind `json:"tokenizer,omitempty"`
	// Files are the tokenizer's files by role ("vocab", "merges", "ranks", "dict", "tokenizer", "model", "config", "added",
	// "special"), as paths inside the checkpoint's folder.
	Files  map[string]string `json:"files,omitempty"`
	Looked []string          `json:"looked,omitempty"`
	// Input names the model's input for the ids; "" means input_ids. Mask asks for an attention mask as well, whose input is
	// MaskInput; "" means attention_mask.
	Input     string `json:"input,omitempty"`
	Mask      bool   `json:"attention_mask,omitempty"`
	MaskInput string `json:"mask_input,omitempty"`
	// Vocabulary is the number of rows of the model's embedding table; 0 leaves ids unchecked.
	Vocabulary int `json:"vocabulary,omitempty"`
	// Context is the most ids of one input, Prefix and Suffix included; 0 sets no bound. A longer text is cut before the
	// suffix if Truncate is set, else it is an error.
	Context  int  `json:"context,omitempty"`
	Truncate bool `json:"truncate,omitempty"`
	// Prefix and Suffix are the special tokens around an input. Both nil leaves them to the tokenizer's files.
	Prefix []string `json:"prefix,omitempty"`
	Suffix []string `json:"suffix,omitempty"`
	Pad    TextPad  `json:"pad"`
	// Special are the tokens that are found in a text as they are and left out of decoded text, besides those that the
	// files list. Their ids are the vocabulary's.
	Special []AddedToken `json:"special,omitempty"`
	// Unknown stands for what the vocabulary lacks; "" makes that an error.
	Unknown string `json:"unknown,omitempty"`
	// Clean is what is done to a text first.
	Clean TextClean `json:"clean,omitempty"`
	// Lower makes letters small, after Clean.
	Lower bool `json:"lower,omitempty"`
	// PrefixSpace puts a space before a text that does not start with one (RoBERTa's and GPT-2's add_prefix_space).
	PrefixSpace bool `json:"prefix_space,omitempty"`
	// Delimiter is the token of a CTC alphabet that stands between words.
	Delimiter string `json:"delimiter,omitempty"`
	// Language chooses the alphabet of a vocabulary that has one for each language (MMS).
	Language string `json:"language,omitempty"`
	// KeepAccents and NoCJK turn off steps of BERT: removing accents, and making every CJK ideograph a word.
	KeepAccents bool `json:"keep_accents,omitempty"`
	NoCJK       bool `json:"no_cjk,omitempty"`
	// Decoded holds what is done to decoded text.
	Decoded TextDecoded `json:"decoded"`
}

// TextKind names a tokenizer.
type TextKind string

// The kinds. Package verify/text has a file for each.
const (
	CLIPBPE       TextKind = "clip"           // vocab.json and merges.txt (or bpe_simple_vocab_16e6.txt.gz), words end in </w>
	ByteLevelBPE  TextKind = "byte-level-bpe" // vocab.json and merges.txt: GPT-2, Whisper, RoBERTa
	Tiktoken      TextKind = "tiktoken"       // base64 tokens with ranks: openai/whisper
	SentencePiece TextKind = "sentencepiece"  // spiece.model, tokenizer.model
	WordPiece     TextKind = "wordpiece"      // vocab.txt: BERT
	TokenizerJSON TextKind = "tokenizer.json" // huggingface/tokenizers
	CTC           TextKind = "ctc"            // vocab.json or dict.ltr.txt: characters, a blank, a word boundary
)

// TextClean is a way to clean a text before it is cut into words.
type TextClean string

// The ways to clean.
const (
	CleanNone TextClean = ""
	// CleanHTML is openai/CLIP's and open_clip's: HTML entities resolved twice, white space made single spaces. The
	// originals repair wrongly decoded text first (ftfy.fix_text), which is left out: text that needs no repair is equal.
	CleanHTML TextClean = "html"
	// CleanBasic is Hugging Face's CLIPTokenizer without ftfy: control characters dropped, NFC, CJK ideographs made words.
	CleanBasic TextClean = "basic"
	// CleanNFC is Hugging Face's CLIPTokenizerFast, which AutoTokenizer takes: NFC, white space made single spaces. Nothing is
	// dropped, and ideographs stay together.
	CleanNFC TextClean = "nfc"
	// CleanCanonical is SigLIP's: ASCII punctuation removed, white space made single spaces.
	CleanCanonical TextClean = "canonical"
	// CleanHTMLCanonical is open_clip's for SigLIP: CleanHTML, underscores made spaces, then CleanCanonical.
	CleanHTMLCanonical TextClean = "html-canonical"
)

// TextPad says how the inputs of a batch become equally long.
type TextPad struct {
	// ToContext pads to Context; otherwise to the longest of the batch.
	ToContext bool `json:"to_context,omitempty"`
	// Token is the token to pad with; where it is "", ID is.
	Token string `json:"token,omitempty"`
	ID    int    `json:"id,omitempty"`
	// Left puts the padding before the text.
	Left bool `json:"left,omitempty"`
}

// TextDecoded is what is done to decoded text.
type TextDecoded struct {
	// CleanUp removes the spaces that tokenizers of words leave before punctuation and contractions
	// (clean_up_tokenization_spaces).
	CleanUp bool `json:"clean_up,omitempty"`
	// Timestamps keeps Whisper's timestamps as <|1.08|>.
	Timestamps bool `json:"timestamps,omitempty"`
}

// AddedToken is a token that is cut out of a text before anything else is done to it.
type AddedToken struct {
	ID         int    `json:"id,omitempty"`
	Content    string `json:"content"`
	LStrip     bool   `json:"lstrip,omitempty"`      // takes the white space before it
	RStrip     bool   `json:"rstrip,omitempty"`      // takes the white space after it
	SingleWord bool   `json:"single_word,omitempty"` // only where no letter or digit touches it
	Normalized bool   `json:"normalized,omitempty"`  // is sought after normalisation
	Special    bool   `json:"special,omitempty"`     // can be left out of decoded text
}

// Limits on what a tokenizer's files may ask for.
const (
	maxContext    = 1 << 20
	maxVocabulary = 1 << 24
)

// Check reports the first thing in t that cannot be carried out.
func (t *Text) Check() error {
	switch {
	case t.Context < 0 || t.Context > maxContext:
		return fmt.Errorf("context of %d tokens: expected 0 to %d", t.Context, maxContext)
	case t.Vocabulary < 0 || t.Vocabulary > maxVocabulary:
		return fmt.Errorf("vocabulary of %d tokens: expected 0 to %d", t.Vocabulary, maxVocabulary)
	case t.Pad.ID < 0 || t.Pad.ID > maxVocabulary:
		return fmt.Errorf("padding id %d: expected 0 to %d", t.Pad.ID, maxVocabulary)
	case t.Pad.ToContext && t.Context == 0:
		return fmt.Errorf("padding to the context needs its length, and there is none")
	case t.Context > 0 && len(t.Prefix)+len(t.Suffix) > t.Context:
		return fmt.Errorf("context of %d tokens: too short for the %d special tokens around a text", t.Context, len(t.Prefix)+len(t.Suffix))
	}
	switch t.Clean {
	case CleanNone, CleanHTML, CleanBasic, CleanNFC, CleanCanonical, CleanHTMLCanonical:
	default:
		return fmt.Errorf("text cleaning %q: expected html, basic, nfc, canonical, html-canonical or none", t.Clean)
	}
	return nil
}

// Paths returns the files that a converted model keeps, sorted.
func (t *Text) Paths() []string {
	return slices.Compact(slices.Sorted(maps.Values(t.Files)))
}

// Missing describes what was looked for where there is no tokenizer.
func (t *Text) Missing() string {
	return "no tokenizer files; looked for " + strings.Join(t.Looked, ", ")
}

// OpenAICLIPText is the text input of openai/CLIP (clip/clip.py tokenize, clip/simple_tokenizer.py) and of open_clip's
// SimpleTokenizer: start and end of text around the tokens, zeros after them up to context (77 in every published model).
func OpenAICLIPText(context int) *Text {
	return &Text{Kind: CLIPBPE, Clean: CleanHTML, Lower: true, Context: context, Truncate: true,
		Prefix: []string{"<|startoftext|>"}, Suffix: []string{"<|endoftext|>"}, Pad: TextPad{ToContext: true}}
}
