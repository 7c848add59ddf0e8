package text

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/pipeline"
)

// folder reads files of a testdata folder.
func folder(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", dir, name)) }
}

// whisperClip is a clip of a small Whisper that was trained on spoken words, and what the float model makes of it.
type whisperClip struct {
	Reference  string `json:"reference"`
	Hypothesis string `json:"hypothesis"`
	IDs        []int  `json:"ids"`
}

type whisperExpected struct {
	WER        float64       `json:"wer"`
	WordErrors int           `json:"word_errors"`
	Words      int           `json:"words"`
	Clips      []whisperClip `json:"per_clip"`
}

func whisperClips(t *testing.T) whisperExpected {
	t.Helper()
	var e whisperExpected
	raw, err := os.ReadFile("testdata/whisper/expected.json")
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Clips) != 80 {
		t.Fatalf("%d clips, want 80", len(e.Clips))
	}
	return e
}

func openWhisper(t *testing.T) (Tokenizer, *pipeline.Text) {
	t.Helper()
	p, err := pipeline.TextFromFiles(folder("whisper"), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Open(p, folder("whisper"))
	if err != nil {
		t.Fatal(err)
	}
	return tok, p
}

func TestWhisperDecode(t *testing.T) {
	tok, _ := openWhisper(t)
	for i, c := range whisperClips(t).Clips {
		if got := strings.TrimSpace(tok.Decode(c.IDs, true)); got != c.Hypothesis {
			t.Errorf("clip %d: %q, want %q", i, got, c.Hypothesis)
		}
		ids, err := tok.Encode(" " + c.Hypothesis)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains([]string{c.Hypothesis}, strings.TrimSpace(tok.Decode(ids, true))) {
			t.Errorf("clip %d does not come back: %v", i, ids)
		}
	}
}

func TestWhisperSpecials(t *testing.T) {
	tok, p := openWhisper(t)
	if tok.VocabSize() != 327 {
		t.Errorf("vocabulary of %d, want 327", tok.VocabSize())
	}
	ids, err := tok.Encode("<|startoftranscript|><|en|> red<|endoftext|>")
	if want := []int{319, 320, 269, 318}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v; want %v", ids, err, want)
	}
	if got := tok.Decode(append(ids, 327, 327+54), false); got != "<|startoftranscript|><|en|> red<|endoftext|>" {
		t.Errorf("with specials: %q", got)
	}
	p.Decoded.Timestamps = true
	tok, err = Open(p, folder("whisper"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Decode([]int{319, 327, 269, 327 + 54}, true), "<|0.00|> red<|1.08|>"; got != want {
		t.Errorf("with timestamps: %q, want %q", got, want)
	}
}

// tinyBytes is a byte-level vocabulary with a few merges.
func tinyBytes(merges ...string) (vocab map[string]int, mergesFile string) {
	vocab = map[string]int{}
	for _, r := range byteLetters {
		vocab[string(r)] = len(vocab)
	}
	for _, m := range merges {
		vocab[strings.Replace(m, " ", "", 1)] = len(vocab)
	}
	return vocab, "#version: 0.2\n" + strings.Join(merges, "\n") + "\n"
}

func TestTiktokenEqualsMerges(t *testing.T) {
	merges := []string{"h e", "l l", "he ll", "Ġ w", "o r", "Ġw or", "hell o"}
	vocab, file := tinyBytes(merges...)
	raw, _ := json.Marshal(vocab)
	files := map[string][]byte{"vocab.json": raw, "merges.txt": []byte(file)}
	lines := make([]string, len(vocab))
	for token, id := range vocab {
		lines[id] = fmt.Sprintf("%s %d", base64.StdEncoding.EncodeToString(fromLetters(token)), id)
	}
	lines = append(lines, fmt.Sprintf("= %d", len(lines))) // as Whisper's multilingual file ends
	files["gpt2.tiktoken"] = []byte(strings.Join(lines, "\n") + "\n")
	byMerges, err := Open(&pipeline.Text{Kind: pipeline.ByteLevelBPE, Files: map[string]string{"vocab": "vocab.json", "merges": "merges.txt"}}, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	byRanks, err := Open(&pipeline.Text{Kind: pipeline.Tiktoken, Vocabulary: len(lines) + 8 + 99 + 1501, Files: map[string]string{"ranks": "gpt2.tiktoken"}}, reader(files))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "hello world", "  hello   world ", "hellohello", "héllo\n\nworld\t", "it's 12 o'clock"} {
		a, errA := byMerges.Encode(text)
		b, errB := byRanks.Encode(text)
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Errorf("%q: %v (%v) by merges, %v (%v) by ranks", text, a, errA, b, errB)
		}
		if got := byRanks.Decode(b, true); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	n := len(lines)
	for token, want := range map[string]int{"<|endoftext|>": n, "<|startoftranscript|>": n + 1, "<|en|>": n + 2, "<|su|>": n + 100,
		"<|translate|>": n + 101, "<|notimestamps|>": n + 106, "<|0.00|>": n + 107, "<|30.00|>": n + 107 + 1500} {
		if id, ok := byRanks.ID(token); !ok || id != want {
			t.Errorf("%s has id %d, want %d", token, id, want)
		}
	}
}

// reader reads files from memory.
func reader(files map[string][]byte) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		raw, ok := files[name]
		if !ok {
			return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
		}
		return raw, nil
	}
}

func TestDecodeBytesReplaces(t *testing.T) {
	// What Python's bytes.decode("utf-8", errors="replace") gives.
	for raw, want := range map[string]string{
		"a\xffb":                   "a\ufffdb",
		"\xe6\x97":                 "\ufffd",
		"\xe6\x97x":                "\ufffdx",
		"\xf0\x9f\x99":             "\ufffd",
		"\xf0\x9f\x99\xf0\x9f\x99": "\ufffd\ufffd",
		"\xed\xa0\x80":             "\ufffd\ufffd\ufffd",
		"\xc0\x80":                 "\ufffd\ufffd",
		"\xf4\x90\x80\x80":         "\ufffd\ufffd\ufffd\ufffd",
		"日\xe6\x9c":                "日\ufffd",
	} {
		if got := decodeBytes([]byte(raw)); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}
