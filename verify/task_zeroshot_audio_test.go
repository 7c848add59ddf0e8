package verify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/quant"
)

// TestAudioZeroShot classifies clips by texts: a folder a class, and prompts. The model is random, so that what it says means
// nothing; that the clips, the texts and the conversion go through everything does.
func TestAudioZeroShot(t *testing.T) {
	source, data := t.TempDir(), t.TempDir()
	const golden = "../testdata/goldens/clap-hf-fused-long-sharded"
	if err := os.CopyFS(source, os.DirFS(golden+"/checkpoint")); err != nil {
		t.Fatal(err)
	}
	vocabulary := map[string]int{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "Ġ": 4}
	for c := 'a'; c <= 'z'; c++ {
		vocabulary[string(c)] = len(vocabulary)
	}
	raw, err := json.Marshal(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	prompts := filepath.Join(data, "prompts.json")
	files := map[string]string{
		filepath.Join(source, "vocab.json"): string(raw),
		filepath.Join(source, "merges.txt"): "#version: 0.2\n",
		prompts:                             `{"speech": ["a person speaking", "speech"], "dog": "a dog barks"}`,
	}
	for clip, label := range map[string]string{"clap-hf-fused-long-sharded/inputs/speech_4s3_16k.wav": "speech", "clap-laion-unfused/inputs/jfk_1s9_48k.wav": "speech",
		"clap-msclap-2022-cnn14/inputs/mix_1s2_22k.wav": "dog"} {
		wav, err := os.ReadFile(filepath.Join("../testdata/goldens", clip))
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(data, "clips", label, filepath.Base(clip))] = string(wav)
	}
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dst := filepath.Join(t.TempDir(), "converted")
	if _, err := quant.Convert(t.Context(), source, dst, quant.Options{}); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), source, dst, Options{Data: filepath.Join(data, "clips"), Prompts: prompts, NoLatency: true})
	if err != nil {
		t.Fatal(err)
	}
	if s := task(t, r, "zero-shot top-1"); s.Samples != 3 || !s.Labelled || !s.Primary || s.Agreement != 100 {
		t.Errorf("%+v: expected agreement on 3 labelled clips", s)
	}
	for _, n := range r.Nodes {
		if n.Name == "audio_embeds" && !(n.Cosine > 0.995) {
			t.Errorf("the embeddings of clips have cosine %.5f", n.Cosine)
		}
	}
}
