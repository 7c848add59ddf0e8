package golden

import (
	"os"
	"path/filepath"
	"testing"
)

// The files that projects publish with torch.save hold what their safetensors twins do, and the configuration where the
// project keeps it there: cases must hold from them alone.
func TestGoldensFromTorchFiles(t *testing.T) {
	for name, gone := range map[string][]string{
		"whisper-openai-80mel-jfk": {"config.json"}, // dims are in the file
		"hubert-fairseq-base":      {"config.json"}, // cfg is in the file
		"hubert-hf-base":           nil,
		"clap-laion-unfused":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(ownGoldens, name))); err != nil {
				t.Fatal(err)
			}
			for _, file := range append(gone, "model.safetensors") {
				if err := os.Remove(filepath.Join(dir, "checkpoint", file)); err != nil {
					t.Fatal(err)
				}
			}
			r := Parity(t.Context(), dir, ParityOptions{})
			if !r.OK {
				t.Errorf("%s; %s", r.Error, r.FirstFailed())
			}
		})
	}
}
