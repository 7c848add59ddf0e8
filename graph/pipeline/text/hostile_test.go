package text

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mmconv/mmconv/graph/pipeline"
)

func TestMissingTokenizer(t *testing.T) {
	none := reader(nil)
	for _, class := range []string{"CLIPTokenizer", "WhisperTokenizer", "BertTokenizer", "SiglipTokenizer", "Wav2Vec2CTCTokenizer", "NoSuchTokenizer", ""} {
		p, err := pipeline.TextFromFiles(none, "sub", class, 77)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(p, none)
		var missing *MissingError
		if !errors.As(err, &missing) || len(missing.Looked) == 0 || !strings.HasPrefix(missing.Looked[0], "sub/") {
			t.Errorf("%s: %v: want a MissingError that names what was looked for", class, err)
		}
	}
	var missing *MissingError
	if _, err := Open(nil, none); !errors.As(err, &missing) {
		t.Errorf("no description: %v", err)
	}
	p := &pipeline.Text{Kind: pipeline.WordPiece, Files: map[string]string{"vocab": "vocab.txt"}}
	if _, err := Open(p, none); !errors.As(err, &missing) {
		t.Errorf("a file that is gone: %v", err)
	}
	p, err := pipeline.OpenAICLIPTextFromFiles(none, 16, 608)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(p, none); !errors.As(err, &missing) {
		t.Errorf("another vocabulary than openai/CLIP's: %v", err)
	}
}

func TestFilesRefused(t *testing.T) {
	vocab := `{"a":0,"b":1,"ab":2,"a</w>":3,"b</w>":4,"<|startoftext|>":5,"<|endoftext|>":6}`
	good := map[string]string{"vocab.json": vocab, "merges.txt": "#version: 0.2\na b\n", "tokenizer_config.json": `{"tokenizer_class":"CLIPTokenizer"}`}
	for name, change := range map[string][2]string{
		"vocabulary is a list":     {"vocab.json", `["a"]`},
		"vocabulary is empty":      {"vocab.json", `{}`},
		"vocabulary is cut":        {"vocab.json", vocab[:20]},
		"one id twice":             {"vocab.json", `{"a":0,"b":0}`},
		"id is negative":           {"vocab.json", `{"a":-5}`},
		"id is huge":               {"vocab.json", `{"a":99999999999}`},
		"id is a fraction":         {"vocab.json", `{"a":0.5}`},
		"no end of text":           {"vocab.json", `{"a":0,"b":1,"ab":2}`},
		"merges without a heading": {"merges.txt", "a b\n"},
		"merge of one":             {"merges.txt", "#version: 0.2\nab\n"},
		"merge of three":           {"merges.txt", "#version: 0.2\na b c\n"},
		"merge of unknown":         {"merges.txt", "#version: 0.2\na z\n"},
		"merges are not UTF-8":     {"merges.txt", "#version: 0.2\n\xff b\n"},
		"merges are bad gzip":      {"merges.txt", "\x1f\x8bnonsense"},
		"configuration is cut":     {"tokenizer_config.json", `{"tokenizer_class":`},
		"added token of another":   {"tokenizer_config.json", `{"tokenizer_class":"CLIPTokenizer","added_tokens_decoder":{"0":{"content":"x"}}}`},
		"added token's id":         {"tokenizer_config.json", `{"tokenizer_class":"CLIPTokenizer","added_tokens_decoder":{"x":{"content":"x"}}}`},
		"padding side":             {"tokenizer_config.json", `{"tokenizer_class":"CLIPTokenizer","padding_side":"top"}`},
		"context of one":           {"tokenizer_config.json", `{"tokenizer_class":"CLIPTokenizer","model_max_length":1}`},
	} {
		files := map[string][]byte{}
		for f, content := range good {
			files[f] = []byte(content)
		}
		files[change[0]] = []byte(change[1])
		p, err := pipeline.TextFromFiles(reader(files), "", "", 0)
		if err == nil {
			_, err = Open(p, reader(files))
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q: more than one line", name, err)
		}
	}
	p, err := pipeline.TextFromFiles(reader(map[string][]byte{"vocab.json": []byte(vocab), "merges.txt": []byte(good["merges.txt"])}), "", "CLIPTokenizer", 0)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Open(p, reader(map[string][]byte{"vocab.json": []byte(vocab), "merges.txt": []byte(good["merges.txt"])}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Encode("ab\xff"); err == nil {
		t.Error("text that is not UTF-8: no error")
	}
}

// TestLongText holds that no text takes long, whatever it is made of: a quadratic way would need minutes.
func TestLongText(t *testing.T) {
	clip, err := Open(pipeline.OpenAICLIPText(77), nil)
	if err != nil {
		t.Fatal(err)
	}
	whisper, _ := openWhisper(t)
	bert := openBert(t, `{}`, "a", "##a", "b", "!")
	unigram := openSPM(t, spmFile(sentencePieces(), spmUnigram, nil, true, true), pipeline.Text{})
	merging := openSPM(t, spmFile(sentencePieces(), spmBPE, nil, true, true), pipeline.Text{})
	const n = 1 << 18
	for name, text := range map[string]string{
		"one letter": strings.Repeat("a", n), "words": strings.Repeat("a cat ", n/6), "spaces": strings.Repeat(" ", n),
		"marks": "a" + strings.Repeat("\u0301", n/2), "punctuation": strings.Repeat("!", n), "special tokens": strings.Repeat(clipEnd, n/13),
		"open special tokens": strings.Repeat("<|", n/2), "sigmas": strings.Repeat("Σ'", n/3), "ideographs": strings.Repeat("日", n/3),
		"apostrophes": strings.Repeat("'", n), "numbers": strings.Repeat("1", n), "entities": strings.Repeat("&amp;", n/5),
	} {
		start := time.Now()
		for _, tok := range []Tokenizer{clip, whisper, bert, unigram, merging} {
			if _, err := tok.Encode(text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v for a quarter of a megabyte", name, took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}

func FuzzCLIP(f *testing.F) {
	tok, err := Open(pipeline.OpenAICLIPText(77), nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"a photo of a cat", "it's  &amp; <|endoftext|>", "\xff", "日本 İΣ", "\u0345\u200b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { checkEncode(t, tok, text) })
}

func FuzzVocabularyAndMerges(f *testing.F) {
	f.Add([]byte(`{"a":0,"b":1,"ab":2,"a</w>":3,"b</w>":4}`), []byte("#version: 0.2\na b\n"), []byte(`{"added_tokens_decoder":{"7":{"content":"<x>"}}}`), "ab <x>")
	f.Add([]byte(`{"Ġ":0}`), []byte("#version"), []byte(`{"tokenizer_class":"WhisperTokenizer"}`), " ")
	f.Fuzz(func(t *testing.T, vocab, merges, config []byte, text string) {
		read := reader(map[string][]byte{"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": config})
		for _, class := range []string{"CLIPTokenizer", "GPT2Tokenizer"} {
			p, err := pipeline.TextFromFiles(read, "", class, 0)
			if err != nil {
				continue
			}
			p.Prefix, p.Suffix, p.Unknown = nil, nil, ""
			tok, err := Open(p, read)
			if err != nil {
				continue
			}
			checkEncode(t, tok, text)
		}
	})
}

func FuzzTiktokenAndVocabTxt(f *testing.F) {
	f.Add([]byte("IQ== 0\nIg== 1\n"), "!")
	f.Add([]byte("[UNK]\na\n##b\n"), "ab")
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		for kind, role := range map[pipeline.TextKind]string{pipeline.Tiktoken: "ranks", pipeline.WordPiece: "vocab", pipeline.CTC: "dict"} {
			p := &pipeline.Text{Kind: kind, Files: map[string]string{role: "f"}, Lower: true}
			if tok, err := Open(p, reader(map[string][]byte{"f": raw})); err == nil {
				checkEncode(t, tok, text)
			}
		}
	})
}
