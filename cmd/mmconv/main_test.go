package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cli runs a command line and returns its exit code and what it printed.
func cli(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestDemo(t *testing.T) {
	code, out, errs := cli(t, "demo")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{"== int8 ==", "== int4 ==", "zero-shot top-1", "89.45 %", "image_embeds *", "drop of zero-shot top-1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not print %q", want)
		}
	}
	if strings.Contains(out, "NO\n") {
		t.Error("a bound does not hold")
	}
}

// What a conversion wrote is held against the digests in its manifest; a tensor that is not what it was is named.
func TestInspectCheck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if code, _, errs := cli(t, "convert", "demo/checkpoint", "-o", dir); code != exitOK {
		t.Fatalf("convert: %d: %s", code, errs)
	}
	if code, out, errs := cli(t, "inspect", "--check", dir); code != exitOK || !strings.Contains(out, "model.safetensors") {
		t.Errorf("a good folder: %d: %s%s", code, out, errs)
	}
	file := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, errs := cli(t, "inspect", dir, "--check", "--json")
	if code != exitViolated || !strings.Contains(errs, file+": differs in tensor visual_projection.weight.quantized") || !strings.Contains(out, `"fault"`) {
		t.Errorf("a damaged folder: %d: %s%s", code, out, errs)
	}
	if code, _, errs := cli(t, "inspect", "--check", "demo/checkpoint"); code != exitFailed || !strings.Contains(errs, "not a converted model") {
		t.Errorf("a source: %d: %s", code, errs)
	}
}

// TestConvertVerify goes the way of the README with the demo's files.
func TestConvertVerify(t *testing.T) {
	dir := t.TempDir()
	c8 := filepath.Join(dir, "c8")
	if code, _, errs := cli(t, "convert", "demo/checkpoint", "-o", c8, "--weights", "int8", "--activations", "int8"); code != exitOK {
		t.Fatalf("convert: %d: %s", code, errs)
	}
	verifyArgs := []string{"verify", "demo/checkpoint", c8, "--data", "demo/images", "--prompts", "demo/prompts.json", "--no-latency", "--json"}
	report := filepath.Join(dir, "r.html")
	code, out, errs := cli(t, append(verifyArgs, "--max-drop", "0.4", "--min-agreement", "99", "--report", report)...)
	if code != exitOK {
		t.Fatalf("verify: %d: %s", code, errs)
	}
	var r struct {
		Tasks []struct {
			Name                string
			Before, After, Drop float64
		}
		Nodes []struct {
			Name   string
			Cosine float64
			SQNR   float64 `json:"sqnr_db"`
			MaxAbs float64 `json:"max_abs"`
			RelL2  float64 `json:"rel_l2"`
		}
		Bytes  struct{ Before, After int64 }
		Bounds []struct {
			Name         string
			Limit, Value float64
			OK           bool
		}
		OK bool
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if !r.OK || len(r.Tasks) == 0 || r.Tasks[0].Before != 89.453125 || len(r.Nodes) < 10 || len(r.Bounds) != 2 || r.Bytes.After >= r.Bytes.Before {
		t.Errorf("the report is %+v", r)
	}
	if info, err := os.Stat(report); err != nil || info.Size() == 0 {
		t.Errorf("the report was not written: %v", err)
	}
	code, _, errs = cli(t, append(verifyArgs, "--min-cosine", "1", "--min-sqnr", "99")...)
	if code != exitViolated || strings.Count(errs, "bound violated: ") != 8 || !strings.Contains(errs, "cosine of image_embeds") {
		t.Errorf("bounds that cannot hold: %d: %s", code, errs)
	}

	base := filepath.Join(dir, "base.json")
	if code, _, errs := cli(t, append(verifyArgs, "--write-baseline", base)...); code != exitOK {
		t.Fatalf("write-baseline: %d: %s", code, errs)
	}
	if code, _, errs := cli(t, append(verifyArgs, "--baseline", base)...); code != exitOK {
		t.Errorf("baseline: %d: %s", code, errs)
	}
	raw, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Replace(raw, []byte(`"figure": "task/zero-shot top-1/after",`+"\n      \"min\": "), []byte(`"figure": "task/zero-shot top-1/after",`+"\n      \"min\": 1"), 1)
	if bytes.Equal(raw, spoiled) {
		t.Fatalf("the baseline holds no score:\n%s", raw)
	}
	if err := os.WriteFile(base, spoiled, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := cli(t, append(verifyArgs, "--baseline", base)...); code != exitViolated || !strings.Contains(errs, "task/zero-shot top-1/after") {
		t.Errorf("a baseline that is too high: %d: %s", code, errs)
	}

	npy := filepath.Join(dir, "x.npy")
	if code, _, errs := cli(t, "run", c8, "--image", "demo/images/red_circle/000.png", "--value", "image_embeds", "-o", npy); code != exitOK {
		t.Fatalf("run: %d: %s", code, errs)
	}
	if raw, err := os.ReadFile(npy); err != nil || len(raw) != 128+4*64 || !strings.Contains(string(raw[:128]), "'shape': (1, 64)") {
		t.Errorf("the array has %d bytes: %v", len(raw), err)
	}
	if code, out, errs := cli(t, "run", c8, "--image", "demo/images/red_circle/000.png", "--text", "a photo of a red circle"); code != exitOK || !strings.Contains(out, "logits_per_image") {
		t.Errorf("run: %d: %s", code, errs)
	}
	for _, args := range [][]string{{"inspect", c8, "--weights", "--graph", "--tensors"}, {"inspect", "demo/checkpoint", "--config", "--json"}, {"inspect", "--cpu"}, {"systems"}, {"systems", "--json"},
		{"convert", "demo/checkpoint", "--dry-run"}, {"convert", "demo/checkpoint", "--dry-run", "--json"}} {
		if code, out, errs := cli(t, args...); code != exitOK || len(out) == 0 {
			t.Errorf("%v: %d: %s", args, code, errs)
		}
	}
}

func TestParity(t *testing.T) {
	const goldens = "../../testdata/goldens/"
	if code, out, errs := cli(t, "parity", goldens+"clip-hf-dual-quickgelu", goldens+"decode-jpeg"); code != exitOK || strings.Count(out, "judged rows hold") != 2 {
		t.Errorf("%d: %s", code, errs)
	}
	code, out, errs := cli(t, "parity", goldens+"clip-hf-dual-quickgelu", "--converted", "--weights", "int4", "--min-cosine", "0.9999", "--json")
	if code != exitViolated || !strings.Contains(errs, "clip-hf-dual-quickgelu") {
		t.Errorf("a bound that cannot hold: %d: %s", code, errs)
	}
	var results []map[string]any
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != 1 {
		t.Errorf("%v: %s", err, out)
	}
	// A case that cannot be run outranks one that does not hold.
	if code, _, _ := cli(t, "parity", goldens+"clip-hf-dual-quickgelu", t.TempDir(), "--converted", "--min-cosine", "1"); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// TestMistakes holds every mistake to one line that helps, and to exit code 2.
func TestMistakes(t *testing.T) {
	empty := t.TempDir()
	for want, args := range map[string][]string{
		"unknown command":             {"frobnicate"},
		"unknown flag":                {"convert", "--frobnicate"},
		"expected a source":           {"convert"},
		"-o DST is missing":           {"convert", "demo/checkpoint"},
		"expected one of int8":        {"convert", "demo/checkpoint", "-o", filepath.Join(empty, "x"), "--weights", "int3"},
		"no such component":           {"convert", "demo/checkpoint", "-o", filepath.Join(empty, "x"), "--only", "smell"},
		"does not exist":              {"convert", filepath.Join(empty, "nothing"), "-o", filepath.Join(empty, "x")},
		"expected a reference":        {"verify", "demo/checkpoint"},
		"nothing to verify on":        {"verify", "demo/checkpoint", "demo/checkpoint"},
		"unknown kind of file":        {"verify", "demo/checkpoint", "demo/checkpoint", "--report", "x.pdf"},
		"expected a number":           {"verify", "a", "b", "--min-cosine", "NaN"},
		"no case.json":                {"parity", empty},
		"needs --converted":           {"parity", empty, "--weights", "int4"},
		"nothing to run on":           {"run", "demo/checkpoint"},
		"no such value":               {"run", "demo/checkpoint", "--text", "x", "--value", "y"},
		"takes no audio":              {"run", "demo/checkpoint", "--audio", "main.go"},
		"main.go":                     {"run", "demo/checkpoint", "--image", "main.go"},
		"--threads -1":                {"systems", "--threads", "-1"},
		"expected N or HEIGHTxWIDTH":  {"convert", "x", "--image-size", "0"},
		"a .npy file holds one":       {"run", "demo/checkpoint", "--image", "demo/images/red_circle/000.png", "--text", "x", "-o", filepath.Join(empty, "y.npy")},
		"has no architecture":         {"bench", "model", "--config", "x"},
		"no labelled task was scored": {"verify", "demo/checkpoint", "demo/checkpoint", "--data", "demo/images/red_circle", "--no-latency", "--max-drop", "1"},
	} {
		code, _, errs := cli(t, args...)
		if code != exitFailed || !strings.Contains(errs, want) || strings.Count(strings.TrimSpace(errs), "\n") != 0 {
			t.Errorf("%v: exit code %d, %q: expected 2 and a line with %q", args, code, errs, want)
		}
	}
	left, err := os.ReadDir(empty)
	if err != nil || len(left) != 0 {
		t.Errorf("mistakes left %v behind", left)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	if code := execute(ctx, []string{"convert", "demo/checkpoint", "-o", filepath.Join(dir, "x")}, &out, &errs); code != 130 || !strings.Contains(errs.String(), "ended by a signal") || strings.Contains(errs.String(), dir) {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBenchGemm(t *testing.T) {
	code, out, errs := cli(t, "bench", "gemm", "--json", "--threads", "1,2", "--schemes", "float32,int8,int4-g32", "--shapes", "5x64x48", "--rounds", "2")
	var records []map[string]any
	if err := json.Unmarshal([]byte(out), &records); code != exitOK || err != nil || len(records) != 6 {
		t.Fatalf("%d: %v: %s%s", code, err, out, errs)
	}
	for _, key := range []string{"m", "k", "n", "scheme", "threads", "isa", "weights", "gops_best", "gops_median", "peak_gops", "share"} {
		if _, ok := records[0][key]; !ok {
			t.Errorf("no %q in %v", key, records[0])
		}
	}
	for _, args := range [][]string{{"--shapes", "1x2"}, {"--schemes", "int5"}, {"--isa", "mmx"}, {"--threads", "0"}} {
		if code, _, errs := cli(t, append([]string{"bench", "gemm"}, args...)...); code != exitFailed || strings.Count(strings.TrimSpace(errs), "\n") != 0 {
			t.Errorf("%v: %d: %s", args, code, errs)
		}
	}
}

// TestHelp checks that every command has examples.
func TestHelp(t *testing.T) {
	a := &app{}
	for _, c := range newRoot(a).Commands() {
		if c.HasSubCommands() || !c.IsAvailableCommand() || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s: no example", c.Name())
		}
		if code, out, _ := cli(t, c.Name(), "--help"); code != exitOK || !strings.Contains(out, "Examples:") {
			t.Errorf("%s --help: %d", c.Name(), code)
		}
	}
	if code, out, _ := cli(t, "completion", "bash"); code != exitOK || !strings.Contains(out, "mmconv") {
		t.Errorf("completion: %d", code)
	}
}
