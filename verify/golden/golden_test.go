package golden

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// writeTensors writes a safetensors file of float32 tensors.
func writeTensors(t testing.TB, path string, tensors map[string]*graph.Tensor) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var entries []formats.Entry
	for name, x := range tensors {
		entries = append(entries, formats.Entry{Name: name, DType: formats.F32, Shape: x.Shape, Write: func(w io.Writer) error {
			return binary.Write(w, binary.LittleEndian, x.Data)
		}})
	}
	if err := formats.WriteSafetensors(f, nil, entries); err != nil {
		t.Fatal(err)
	}
}

func writeCase(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "case.json"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	writeTensors(t, filepath.Join(dir, "expected.safetensors"), map[string]*graph.Tensor{"a": iota3(2, 3), "b.generated_ids": iota3(1, 3)})
	writeTensors(t, filepath.Join(dir, "in.safetensors"), map[string]*graph.Tensor{"x": iota3(2), "with:colon": iota3(1)})
	return dir
}

func TestLoadCase(t *testing.T) {
	dir := writeCase(t, `{"system": "S", "tolerance": {"atol": 0.5, "rtol": 0.25},
		"inputs": {"x": "in.safetensors:x", "y": "in.safetensors:with:colon", "images": ["case.json", "in.safetensors"], "nested": [["case.json"], ["case.json", "case.json"]]},
		"expected": {"b.generated_ids": {"shape": [1, 3]}, "a": {"shape": [2, 3], "atol": 0.125, "slice": "[:, ::2]", "final": true, "needs": "language model"}}}`)
	c, err := LoadCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Name != filepath.Base(dir) || c.System != "S" || c.Checkpoint() != "" {
		t.Errorf("read as %+v", c)
	}
	if len(c.Expected) != 2 || c.Expected[0].Name != "b.generated_ids" || c.Expected[1].Name != "a" {
		t.Fatalf("the rows are not in the file's order: %+v", c.Expected)
	}
	ids, a := c.Expected[0], c.Expected[1]
	if !ids.Exact || ids.ATol != 0.5 || ids.RTol != 0.25 {
		t.Errorf("ids read as %+v", ids)
	}
	if a.Exact || a.ATol != 0.125 || a.RTol != 0.25 || a.Slice.String() != "[:, ::2]" || !a.Final || a.Needs == "" {
		t.Errorf("a read as %+v", a)
	}
	if x := c.Inputs["x"].Tensor; x == nil || !x.Shape.Equal(graph.Shape{2}) || x.Data[1] != 1 {
		t.Errorf("x read as %+v", x)
	}
	if c.Inputs["y"].Tensor == nil || len(c.Inputs["images"].Samples) != 2 || len(c.Inputs["nested"].Samples[1]) != 2 {
		t.Errorf("inputs read as %+v", c.Inputs)
	}
}

func TestLoadCaseRefused(t *testing.T) {
	const rows = `"expected": {"a": {}}`
	for want, text := range map[string]string{
		"case.json":          `{`,
		"missing":            `{}`,
		"expected an object": `{"expected": [1]}`,
		"empty":              `{"expected": {}}`,
		"inside the case":    `{"inputs": {"x": "../case.json"}, ` + rows + `}`,
		"no such file":       `{"inputs": {"x": "nothing.png"}, ` + rows + `}`,
		"no tensor":          `{"inputs": {"x": "in.safetensors:z"}, ` + rows + `}`,
		"expected a file":    `{"inputs": {"x": 7}, ` + rows + `}`,
		"no tensor \"z\"":    `{"expected": {"z": {}}}`,
		"says shape":         `{"expected": {"a": {"shape": [3, 2]}}}`,
		"step 0":             `{"expected": {"a": {"slice": "[::0]"}}}`,
		"no bounds":          `{"expected": {"a": {"atol": -1}}}`,
		"checkpoint":         `{"checkpoint": "/etc", ` + rows + `}`,
	} {
		c, err := LoadCase(writeCase(t, text))
		if err == nil {
			c.Close()
			t.Errorf("%s was read", text)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the message does not say %q: %v", text, want, err)
		}
	}
	if _, err := LoadCase(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no case.json") {
		t.Errorf("a folder without a case: %v", err)
	}
}

func FuzzLoadCase(f *testing.F) {
	f.Add(`{"expected": {"a": {"slice": "[0]", "atol": 1e-5}}, "inputs": {"x": ["in.safetensors", ["case.json"]]}}`)
	f.Add(`{"checkpoint": null, "tolerance": {"atol": 1}, "expected": {"b.generated_ids": {"shape": null}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := LoadCase(writeCase(t, text)); err == nil {
			for _, e := range c.Expected {
				if _, err := e.Load(); err != nil {
					t.Error(err)
				}
			}
			c.Close()
		}
	})
}

func TestJudge(t *testing.T) {
	e := func(exact bool) *Expected {
		dir := writeCase(t, `{"expected": {"a": {"shape": [2, 3], "atol": 0.01, "rtol": 0.1, "final": true}}}`)
		c, err := LoadCase(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		c.Expected[0].Exact = exact
		return c.Expected[0]
	}
	values := func(change func([]float32)) *graph.Tensor {
		x := iota3(1, 2, 3)
		change(x.Data)
		return x
	}
	nan := float32(0)
	nan /= nan
	for _, c := range []struct {
		name    string
		exact   bool
		o       ParityOptions
		ours    *graph.Tensor
		verdict Verdict
	}{
		{"equal", true, ParityOptions{}, values(func([]float32) {}), Pass},
		{"within", false, ParityOptions{}, values(func(x []float32) { x[0], x[5] = 0.0099, 5.5 }), Pass},
		{"beyond atol", false, ParityOptions{}, values(func(x []float32) { x[0] = 0.011 }), Fail},
		{"beyond rtol", false, ParityOptions{}, values(func(x []float32) { x[5] = 5.52 }), Fail},
		{"NaN", false, ParityOptions{}, values(func(x []float32) { x[3] = nan }), Fail},
		{"exact", true, ParityOptions{}, values(func(x []float32) { x[5] = 5.0001 }), Fail},
		{"shape", false, ParityOptions{}, iota3(3, 2), Fail},
		{"converted within", false, ParityOptions{Convert: ConvertTo(noOptions), MinCosine: 0.9}, values(func(x []float32) { x[0] = 1 }), Pass},
		{"converted below", false, ParityOptions{Convert: ConvertTo(noOptions), MinCosine: 0.9999}, values(func(x []float32) { x[0] = 1 }), Fail},
		{"converted L2", false, ParityOptions{Convert: ConvertTo(noOptions), MaxRelL2: 0.01}, values(func(x []float32) { x[0] = 1 }), Fail},
		{"converted NaN", false, ParityOptions{Convert: ConvertTo(noOptions), MinCosine: 0.5}, values(func(x []float32) { x[3] = nan }), Fail},
	} {
		res := &ParityResult{}
		if err := res.judge(e(c.exact), c.ours, c.o); err != nil {
			t.Fatal(err)
		}
		if got := res.Rows[0].Verdict; got != c.verdict {
			t.Errorf("%s: %s, want %s (%+v)", c.name, got, c.verdict, res.Rows[0])
		}
		if _, err := json.Marshal(res); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParityOfNothing(t *testing.T) {
	dir := writeCase(t, `{"expected": {"a": {}}}`)
	if res := Parity(context.Background(), dir, ParityOptions{}); res.Error == "" || res.OK {
		t.Errorf("a case of no kind came out as %+v", res)
	}
}

func TestGroups(t *testing.T) {
	clip := run.Input{Samples: [][]string{{"a.wav"}}}
	c := &Case{Inputs: map[string]run.Input{
		"audio": clip, "audio_1": {Samples: [][]string{{"b.wav"}}}, "audio_two": {Samples: [][]string{{"c.wav"}}},
		"ids": {Tensor: iota3(1)}, "two.ids": {Tensor: iota3(2)},
	}}
	for _, name := range []string{"y", "two.y", "batch.y", "two.z"} {
		c.Expected = append(c.Expected, &Expected{Name: name})
	}
	groups := c.groups()
	if len(groups) != 3 || groups[0].prefix != "" || groups[1].prefix != "batch." || groups[2].prefix != "two." {
		t.Fatalf("grouped as %+v", groups)
	}
	batch, two := groups[1], groups[2]
	if f := batch.in["audio"].Files(); len(f) != 2 || f[0] != "a.wav" || f[1] != "b.wav" || len(batch.clips) != 2 {
		t.Errorf("the batch has the clips %v", f)
	}
	if f := two.in["audio"].Files(); len(f) != 1 || f[0] != "c.wav" || len(two.in["ids"].Tensor.Data) != 2 || len(two.rows) != 2 {
		t.Errorf("the second clip's passage is %+v", two)
	}
	if _, shared := groups[0].in["two.ids"]; shared || len(groups[0].rows) != 1 {
		t.Errorf("the main passage is %+v", groups[0])
	}
}

var noOptions quant.Options

func TestParityConverted(t *testing.T) {
	dir := filepath.Join(ownGoldens, "clip-hf-dual-quickgelu")
	o := ParityOptions{Convert: ConvertTo(quant.Options{Weights: "int8", Activations: "int8"}), MinCosine: 0.995}
	res := Parity(t.Context(), dir, o)
	if !res.OK || res.Converted == nil || res.Converted.Quantized == 0 || len(res.Converted.Float) == 0 {
		t.Fatalf("%+v", res)
	}
	judged := 0
	for _, r := range res.Rows {
		if r.Verdict == Pass {
			judged++
		}
	}
	if judged != 2 {
		t.Errorf("%d rows were judged, the case has 2 final outputs", judged)
	}
	for _, f := range res.Converted.Float {
		if f.Reason == "" {
			t.Errorf("%s stayed float and nobody says why", f.Name)
		}
	}
	o.MinCosine = 1
	if res := Parity(t.Context(), dir, o); res.OK || res.Error != "" || res.Failed() != 2 {
		t.Errorf("a bound that cannot be met: %+v", res)
	}
}
