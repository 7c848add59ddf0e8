package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// TextFromFiles describes the tokenizer whose files a folder holds, as transformers' AutoTokenizer would find it:
// tokenizer_config.json and special_tokens_map.json over the defaults of the tokenizer's class, and the class's own files or
// tokenizer.json. read reads a file, and its error wraps fs.ErrNotExist where there is none; dir is the subfolder ("" for the
// folder itself); own is the class of the system that the model is of, which serves where no file names one, or one that is not
// known or whose files are not there, and whose model's needs hold whatever the class; context, where not 0, is the most tokens
// that the model takes. Where files are missing the description has no Kind and names in Looked what was looked for: no error,
// since what needs no text can still be done.
func TextFromFiles(read func(name string) ([]byte, error), dir, own string, context int) (*Text, error) {
	f := &textFolder{read: read, dir: dir}
	var c tokenizerConfig
	if _, err := f.json("tokenizer_config.json", "config", &c); err != nil {
		return nil, err
	}
	var special tokenizerConfig
	if _, err := f.json("special_tokens_map.json", "special", &special); err != nil {
		return nil, err
	}
	c.inherit(&special)
	named := strings.TrimSuffix(c.Class, "Fast")
	if why := foreignClasses[named]; why != "" {
		return nil, fmt.Errorf("%s: tokenizer_class %s %s: it cannot be had; text must be given as ids", f.path("tokenizer_config.json"), c.Class, why)
	}
	t := &Text{Context: context, Truncate: true, Decoded: TextDecoded{CleanUp: orTrue(c.CleanUp)}}
	if n := c.MaxLength; n >= 1 && n <= maxContext && (context == 0 || int(n) < context) {
		t.Context = int(n)
	}
	switch c.PaddingSide {
	case "", "right":
	case "left":
		t.Pad.Left = true
	default:
		return nil, fmt.Errorf("%s: padding_side %q: expected \"right\" or \"left\"", f.path("tokenizer_config.json"), c.PaddingSide)
	}
	found, k, err := f.findClass(named, own)
	if err != nil {
		return nil, err
	}
	t.Kind, t.Files, t.Looked = found, f.files, f.looked
	if found == "" {
		t.Files = nil
		return t, nil
	}
	t.Looked = nil
	t.Language = c.Language
	if k.fill != nil {
		k.fill(t, &c)
	}
	t.special(&c, k.tokens)
	if t.Kind == TokenizerJSON {
		// The file has its own special tokens, and what is put around a text.
		t.Prefix, t.Suffix = nil, nil
	}
	if needs := textClasses[own].needs; needs != nil && named != own {
		needs(t, &c)
	}
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path("tokenizer_config.json"), err)
	}
	return t, nil
}

// textFolder notes which files there are.
type textFolder struct {
	read   func(name string) ([]byte, error)
	dir    string
	files  map[string]string
	looked []string
}

func (f *textFolder) path(name string) string { return path.Join(f.dir, name) }

// has reports whether a file is there, and gives it its role.
func (f *textFolder) has(name, role string) ([]byte, bool, error) {
	full := f.path(name)
	raw, err := f.read(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if f.files == nil {
		f.files = map[string]string{}
	}
	f.files[role] = full
	return raw, true, nil
}

func (f *textFolder) json(name, role string, into any) (bool, error) {
	raw, ok, err := f.has(name, role)
	if err != nil || !ok {
		return false, err
	}
	return true, formats.JSON(f.path(name), raw, into)
}

// fileSet is the files of one kind of tokenizer.
type fileSet struct {
	kind  TextKind
	files [][2]string // name and role; all must be there
}

var (
	bpeFiles       = fileSet{ByteLevelBPE, [][2]string{{"vocab.json", "vocab"}, {"merges.txt", "merges"}}}
	clipFiles      = fileSet{CLIPBPE, bpeFiles.files}
	wordPieceFiles = fileSet{WordPiece, [][2]string{{"vocab.txt", "vocab"}}}
	spieceFiles    = fileSet{SentencePiece, [][2]string{{"spiece.model", "model"}}}
	spmFiles       = fileSet{SentencePiece, [][2]string{{"tokenizer.model", "model"}}}
	jsonFiles      = fileSet{TokenizerJSON, [][2]string{{"tokenizer.json", "tokenizer"}}}
	ctcFiles       = fileSet{CTC, [][2]string{{"vocab.json", "vocab"}}}
	ctcDictFiles   = fileSet{CTC, [][2]string{{"dict.ltr.txt", "dict"}}}
)

// findClass looks for the files of the class that a file names, then of the system's own, then of any.
func (f *textFolder) findClass(named, own string) (TextKind, textClass, error) {
	for _, class := range []string{named, own} {
		k, known := textClasses[class]
		if !known {
			continue
		}
		if kind, err := f.find(k.sets); kind != "" || err != nil {
			return kind, k, err
		}
	}
	kind, err := f.find([]fileSet{jsonFiles, bpeFiles, spieceFiles, spmFiles, wordPieceFiles})
	return kind, textClass{}, err
}

// find looks for the files of some kinds. The first complete set counts.
func (f *textFolder) find(sets []fileSet) (TextKind, error) {
next:
	for _, set := range sets {
		for _, file := range set.files {
			if full := f.path(file[0]); !slices.Contains(f.looked, full) {
				f.looked = append(f.looked, full)
			}
			_, ok, err := f.has(file[0], file[1])
			if err != nil {
				return "", err
			}
			if !ok {
				for _, dropped := range set.files {
					delete(f.files, dropped[1])
				}
				continue next
			}
		}
		if set.kind != TokenizerJSON {
			if _, _, err := f.has("added_tokens.json", "added"); err != nil {
				return "", err
			}
		}
		return set.kind, nil
	}
	return "", nil
}

// tokenizerConfig is what tokenizer_config.json and special_tokens_map.json hold for us.
type tokenizerConfig struct {
	Class         string         `json:"tokenizer_class"`
	BOS           *specialToken  `json:"bos_token"`
	EOS           *specialToken  `json:"eos_token"`
	UNK           *specialToken  `json:"unk_token"`
	PAD           *specialToken  `json:"pad_token"`
	CLS           *specialToken  `json:"cls_token"`
	SEP           *specialToken  `json:"sep_token"`
	Mask          *specialToken  `json:"mask_token"`
	Delimiter     *specialToken  `json:"word_delimiter_token"`
	Additional    []specialToken `json:"additional_special_tokens"`
	MaxLength     float64        `json:"model_max_length"`
	PaddingSide   string         `json:"padding_side"`
	Language      string         `json:"target_lang"`
	Lower         *bool          `json:"do_lower_case"`
	StripAccents  *bool          `json:"strip_accents"`
	CJK           *bool          `json:"tokenize_chinese_chars"`
	PrefixSpace   *bool          `json:"add_prefix_space"`
	AddBOS        *bool          `json:"add_bos_token"`
	AddEOS        *bool          `json:"add_eos_token"`
	CleanUp       *bool          `json:"clean_up_tokenization_spaces"`
	nullTokenKeys map[string]bool
}

// specialToken is a string, or an object with one and how it is sought.
type specialToken struct{ AddedToken }

func (s *specialToken) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return formats.JSON("", raw, &s.Content)
	}
	return formats.JSON("", raw, &s.AddedToken)
}

func (c *tokenizerConfig) UnmarshalJSON(raw []byte) error {
	type plain tokenizerConfig
	if err := formats.JSON("", raw, (*plain)(c)); err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return err
	}
	c.nullTokenKeys = map[string]bool{}
	for key, value := range keys {
		if string(value) == "null" {
			c.nullTokenKeys[key] = true
		}
	}
	return nil
}

// tokens names the special tokens as the files do.
func (c *tokenizerConfig) tokens() map[string]**specialToken {
	return map[string]**specialToken{"bos_token": &c.BOS, "eos_token": &c.EOS, "unk_token": &c.UNK, "pad_token": &c.PAD,
		"cls_token": &c.CLS, "sep_token": &c.SEP, "mask_token": &c.Mask, "word_delimiter_token": &c.Delimiter}
}

// inherit takes over what other says and c does not.
func (c *tokenizerConfig) inherit(other *tokenizerConfig) {
	theirs := other.tokens()
	for key, mine := range c.tokens() {
		if *mine == nil && !c.nullTokenKeys[key] {
			*mine = *theirs[key]
		}
	}
	if c.Additional == nil {
		c.Additional = other.Additional
	}
}

// token returns the content of a special token, or the class's default; a file's null means none.
func (c *tokenizerConfig) token(key, standard string) string {
	switch t := *c.tokens()[key]; {
	case t != nil:
		return t.Content
	case c.nullTokenKeys[key]:
		return ""
	}
	return standard
}

func orTrue(b *bool) bool  { return b == nil || *b }
func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// textClass is what a tokenizer class of transformers does.
type textClass struct {
	sets   []fileSet
	tokens map[string]string // special tokens by their key in the files: the class's defaults
	fill   func(*Text, *tokenizerConfig)
	// needs is what a model that was trained with this class needs of its text where another class is named.
	needs func(*Text, *tokenizerConfig)
}

// foreignClasses are classes whose words no file describes: they call a program, or rules that are in their code.
var foreignClasses = map[string]string{
	"BertJapaneseTokenizer": "cuts words by MeCab, Sudachi or Juman", "XLMTokenizer": "cuts words by Moses", "FlaubertTokenizer": "cuts words by Moses",
	"Wav2Vec2PhonemeCTCTokenizer": "writes phonemes by a phonemizer", "CpmTokenizer": "cuts words by jieba", "RoFormerTokenizer": "cuts words by jieba",
	"PhobertTokenizer": "expects words cut by VnCoreNLP", "BertweetTokenizer": "cuts words by NLTK",
}

// special lists the special tokens, and sets the padding and unknown tokens.
func (t *Text) special(c *tokenizerConfig, standard map[string]string) {
	seen := map[string]bool{}
	add := func(a AddedToken) {
		if a.Content != "" && !seen[a.Content] {
			seen[a.Content] = true
			a.Special, a.Normalized, a.ID = true, false, 0
			t.Special = append(t.Special, a)
		}
	}
	for _, key := range []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"} {
		if s := *c.tokens()[key]; s != nil {
			add(s.AddedToken)
		} else {
			// As the classes do, the mask takes the space before it.
			add(AddedToken{Content: c.token(key, standard[key]), LStrip: key == "mask_token" && t.Kind != WordPiece})
		}
	}
	for _, s := range c.Additional {
		add(s.AddedToken)
	}
	t.Pad.Token = c.token("pad_token", standard["pad_token"])
	t.Unknown = c.token("unk_token", standard["unk_token"])
}

// some leaves out the empty ones.
func some(tokens ...string) []string {
	return slices.DeleteFunc(tokens, func(s string) bool { return s == "" })
}

var (
	clipTokens = map[string]string{"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
	gpt2Tokens = map[string]string{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
	bertTokens = map[string]string{"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
	robTokens  = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
	siglip     = map[string]string{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
	t5Tokens   = map[string]string{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
	spmTokens  = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
	ctcTokens  = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
)

// textClasses are the tokenizer classes by name, without "Fast".
var textClasses = map[string]textClass{
	"CLIPTokenizer": {sets: []fileSet{jsonFiles, clipFiles}, tokens: clipTokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask = true
		t.Prefix = some(c.token("bos_token", clipTokens["bos_token"]))
		t.Suffix = some(c.token("eos_token", clipTokens["eos_token"]))
		if t.Kind == CLIPBPE {
			// The class's cleaner makes letters small whatever do_lower_case says.
			t.Clean, t.Lower = CleanNFC, true
		}
	}},
	"GPT2Tokenizer": {sets: []fileSet{jsonFiles, bpeFiles}, tokens: gpt2Tokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask, t.PrefixSpace = true, isTrue(c.PrefixSpace)
		if isTrue(c.AddBOS) {
			t.Prefix = some(c.token("bos_token", gpt2Tokens["bos_token"]))
		}
	}},
	"WhisperTokenizer": {sets: []fileSet{bpeFiles, jsonFiles}, tokens: gpt2Tokens, fill: func(t *Text, c *tokenizerConfig) {
		t.PrefixSpace = isTrue(c.PrefixSpace)
		t.Prefix = []string{"<|startoftranscript|>", "<|notimestamps|>"}
		t.Suffix = some(c.token("eos_token", gpt2Tokens["eos_token"]))
	}},
	"RobertaTokenizer": {sets: []fileSet{jsonFiles, bpeFiles}, tokens: robTokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask, t.PrefixSpace = true, isTrue(c.PrefixSpace)
		t.Prefix = some(c.token("cls_token", robTokens["cls_token"]))
		t.Suffix = some(c.token("sep_token", robTokens["sep_token"]))
	}},
	"BertTokenizer": {sets: []fileSet{wordPieceFiles, jsonFiles}, tokens: bertTokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask, t.Lower, t.NoCJK = true, orTrue(c.Lower), isFalse(c.CJK)
		t.KeepAccents = isFalse(c.StripAccents) || c.StripAccents == nil && !t.Lower
		t.Prefix = some(c.token("cls_token", bertTokens["cls_token"]))
		t.Suffix = some(c.token("sep_token", bertTokens["sep_token"]))
	}},
	"SiglipTokenizer": {sets: []fileSet{spieceFiles, jsonFiles}, tokens: siglip, fill: func(t *Text, c *tokenizerConfig) {
		t.Clean, t.Lower = CleanCanonical, orTrue(c.Lower)
		if t.Context == 0 {
			t.Context = 64
		}
		// The model was trained on full contexts and takes no mask.
		t.Pad.ToContext = true
		t.Suffix = some(c.token("eos_token", siglip["eos_token"]))
	}, needs: func(t *Text, c *tokenizerConfig) {
		// SigLIP 2 (google-research/big_vision, configs/proj/image_text/siglip2.md): Gemma's tokens of small letters, one end,
		// padding to the context, no start and no mask.
		t.Clean, t.Lower, t.Mask = CleanNone, true, false
		if t.Context == 0 || t.Context > 64 {
			t.Context = 64
		}
		t.Pad.ToContext, t.Pad.Left = true, false
		t.Prefix, t.Suffix = []string{}, some(c.token("eos_token", "<eos>"))
	}},
	"T5Tokenizer": {sets: []fileSet{jsonFiles, spieceFiles}, tokens: t5Tokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask = true
		t.Suffix = some(c.token("eos_token", t5Tokens["eos_token"]))
	}},
	"LlamaTokenizer": {sets: []fileSet{jsonFiles, spmFiles}, tokens: spmTokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Mask = true
		if orTrue(c.AddBOS) {
			t.Prefix = some(c.token("bos_token", "<s>"))
		}
		if isTrue(c.AddEOS) {
			t.Suffix = some(c.token("eos_token", "</s>"))
		}
	}},
	"XLMRobertaTokenizer": {sets: []fileSet{jsonFiles}, tokens: robTokens, fill: func(t *Text, _ *tokenizerConfig) { t.Mask = true }},
	"Wav2Vec2CTCTokenizer": {sets: []fileSet{ctcFiles, ctcDictFiles}, tokens: ctcTokens, fill: func(t *Text, c *tokenizerConfig) {
		t.Delimiter = c.token("word_delimiter_token", "|")
		t.Lower = isTrue(c.Lower)
	}},
	"PreTrainedTokenizer": {sets: []fileSet{jsonFiles}},
}

func init() {
	textClasses["GemmaTokenizer"] = textClasses["LlamaTokenizer"]
	for _, same := range []string{"LxmertTokenizer", "DistilBertTokenizer", "MobileBertTokenizer"} {
		textClasses[same] = textClasses["BertTokenizer"]
	}
	textClasses["BartTokenizer"] = textClasses["RobertaTokenizer"]
	textClasses["Wav2Vec2Tokenizer"] = textClasses["Wav2Vec2CTCTokenizer"]
}

// OpenAIWhisperText is the text of openai/whisper (whisper/tokenizer.py): the rank file that the project's code comes with,
// where the checkpoint's folder has it. vocabulary is the number of the decoder's tokens: 51864 for English alone.
func OpenAIWhisperText(read func(name string) ([]byte, error), vocabulary int) (*Text, error) {
	f := &textFolder{read: read}
	names := []string{"multilingual.tiktoken", "assets/multilingual.tiktoken"}
	if vocabulary <= 51864 {
		names = []string{"gpt2.tiktoken", "assets/gpt2.tiktoken"}
	}
	t := &Text{Vocabulary: vocabulary, Truncate: true}
	for _, name := range names {
		_, ok, err := f.has(name, "ranks")
		if err != nil {
			return nil, err
		}
		if ok {
			t.Kind, t.Files = Tiktoken, f.files
			t.Prefix, t.Suffix = []string{"<|startoftranscript|>", "<|notimestamps|>"}, []string{"<|endoftext|>"}
			t.Pad.Token = "<|endoftext|>"
			return t, nil
		}
	}
	t.Looked = names
	return t, nil
}

// OpenCLIPTextConfig is text_cfg of open_clip's model configurations, as far as it is about tokens.
type OpenCLIPTextConfig struct {
	Context     int    `json:"context_length"`
	Vocabulary  int    `json:"vocab_size"`
	HFTokenizer string `json:"hf_tokenizer_name"`
	Options     struct {
		Clean    string `json:"clean"`
		StripSep bool   `json:"strip_sep_token"`
	} `json:"tokenizer_kwargs"`
}

// OpenCLIPText is the text of open_clip (open_clip/tokenizer.py): its SimpleTokenizer, or a Hugging Face tokenizer whose
// files lie beside the weights, after open_clip's own cleaning.
func OpenCLIPText(c OpenCLIPTextConfig, read func(name string) ([]byte, error)) (*Text, error) {
	if c.Context == 0 {
		c.Context = 77
	}
	if c.HFTokenizer == "" {
		t, err := OpenAICLIPTextFromFiles(read, c.Context, c.Vocabulary)
		if err != nil {
			return nil, err
		}
		return t, t.cleanOpenCLIP(c.Options.Clean, "lower")
	}
	if c.Options.StripSep {
		return nil, fmt.Errorf("tokenizer_kwargs.strip_sep_token is not supported")
	}
	t, err := TextFromFiles(read, "", "", c.Context)
	if err != nil {
		return nil, err
	}
	t.Vocabulary, t.Context, t.Mask, t.Pad.ToContext = c.Vocabulary, c.Context, false, true
	if err := t.cleanOpenCLIP(c.Options.Clean, "whitespace"); err != nil {
		return nil, err
	}
	return t, t.Check()
}

func (t *Text) cleanOpenCLIP(clean, standard string) error {
	if clean == "" {
		clean = standard
	}
	switch clean {
	case "whitespace":
		t.Clean, t.Lower = CleanHTML, false
	case "lower":
		t.Clean, t.Lower = CleanHTML, true
	case "canonicalize":
		t.Clean, t.Lower = CleanHTMLCanonical, true
	default:
		return fmt.Errorf("tokenizer_kwargs.clean %q: expected \"whitespace\", \"lower\" or \"canonicalize\"", clean)
	}
	return nil
}

// OpenAICLIPTextFromFiles is OpenAICLIPText with the vocabulary that lies beside the weights, if one does. Without one,
// the vocabulary of openai/CLIP serves where the model's has as many tokens.
func OpenAICLIPTextFromFiles(read func(name string) ([]byte, error), context, vocabulary int) (*Text, error) {
	t := OpenAICLIPText(context)
	t.Vocabulary = vocabulary
	f := &textFolder{read: read}
	for _, set := range []fileSet{clipFiles, {CLIPBPE, [][2]string{{"bpe_simple_vocab_16e6.txt.gz", "merges"}}},
		{CLIPBPE, [][2]string{{"bpe_simple_vocab_16e6.txt", "merges"}}}} {
		kind, err := f.find([]fileSet{set})
		if err != nil {
			return nil, err
		}
		if kind != "" {
			t.Files = f.files
			return t, t.Check()
		}
	}
	if vocabulary != 0 && vocabulary != openAIVocabulary {
		t.Kind, t.Looked = "", f.looked
	}
	return t, t.Check()
}

// openAIVocabulary is the number of tokens of openai/CLIP.
const openAIVocabulary = 49408
