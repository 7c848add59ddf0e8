package quant

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/converted"
)

// The manifest holds the digests of the other files, by which damage is found.
func TestCheck(t *testing.T) {
	src := writeToy(t, toyTensors())
	dir := convert(t, src, Options{Weights: "int4"})
	faults := func() map[string]string {
		files, others, err := converted.Check(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, f := range files {
			out[f.Name] = f.Fault
		}
		for _, name := range others {
			out[name] = "other"
		}
		return out
	}
	if f := faults(); len(f) != 3 || f[converted.GraphFile]+f[converted.WeightsFile]+f["vocab.txt"] != "" {
		t.Errorf("a good folder: %v", f)
	}
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tensor, _ := c.Tensor("out.weight.scales")
	own, err := tensor.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, converted.WeightsFile)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := indexOf(data, own)
	c.Close()
	data[at] ^= 4
	for path, text := range map[string][]byte{file: data, filepath.Join(dir, "vocab.txt"): []byte("a\nc\n"), filepath.Join(dir, "mine.txt"): nil} {
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if f := faults(); f[converted.GraphFile] != "" || f[converted.WeightsFile] != "differs in tensor out.weight.scales" || f["vocab.txt"] != "differs" || f["mine.txt"] != "other" {
		t.Errorf("a damaged folder: %v", f)
	}

	// A manifest that leaves a file out.
	edit(t, filepath.Join(dir, converted.ManifestFile), func(m map[string]any) {
		m["files"] = slices.DeleteFunc(m["files"].([]any), func(f any) bool { return f.(map[string]any)["name"] == converted.GraphFile })
	})
	if f := faults(); f[converted.GraphFile] != "has no digest in manifest.json" {
		t.Errorf("a manifest that leaves a file out: %v", f)
	}

	// Folders of versions before have no digests, and open.
	edit(t, filepath.Join(dir, converted.ManifestFile), func(m map[string]any) { delete(m, "files") })
	_, _, err = converted.Check(t.Context(), dir)
	mustSay(t, err, converted.ManifestFile, "holds no digests", "convert the source again")
	load(t, dir)

	_, _, err = converted.Check(t.Context(), src)
	mustSay(t, err, src, "not a converted model")
	_, _, err = converted.Check(t.Context(), filepath.Join(src, "config.json"))
	mustSay(t, err, "config.json", "not a folder")
}
