package quant

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
)

// Each attack changes a good folder in one way; it must be refused by the line that names the fault.
func TestAttacks(t *testing.T) {
	src := writeToy(t, toyTensors())
	row := func(m map[string]any, name string) map[string]any {
		for _, r := range m["weights"].([]any) {
			if r := r.(map[string]any); r["name"] == name {
				return r
			}
		}
		t.Fatalf("no row %s", name)
		return nil
	}
	for _, a := range []struct {
		name   string
		file   string
		change func(m map[string]any)
		say    []string
	}{
		{"newer version", converted.ManifestFile, func(m map[string]any) { m["format_version"] = 99 }, []string{converted.ManifestFile, "99", "newer", "update"}},
		{"version 0", converted.ManifestFile, func(m map[string]any) { m["format_version"] = 0 }, []string{converted.ManifestFile, "version 0"}},
		{"manifest of the wrong types", converted.ManifestFile, func(m map[string]any) { m["system"] = 3 }, []string{converted.ManifestFile}},
		{"shape larger than the data", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["shape"] = []int{14, 37} }, []string{converted.GraphFile, "out.weight", "expected", "[14,"}},
		{"shape that overflows", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["shape"] = []int{1 << 40, 1 << 40} }, []string{"out.weight", "not possible"}},
		{"overflow hidden by a zero", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["shape"] = []int{1 << 40, 0, 1 << 40} }, []string{"out.weight", "not possible"}},
		{"negative shape", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["shape"] = []int{-13, -37} }, []string{"out.weight", "not possible"}},
		{"three bits", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["bits"] = 3 }, []string{"out.weight", "3 bits"}},
		{"int4 said to be int8", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["bits"] = 8 }, []string{"out.weight", "expected"}},
		{"negative group", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["group"] = -1 }, []string{"out.weight", "groups of -1"}},
		{"another group", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["group"] = 64 }, []string{"out.weight.scales", "expected"}},
		{"zero points that are not there", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["asymmetric"] = true }, []string{"out.weight.zeros", "missing"}},
		{"scales of another type", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["quantized"].(map[string]any)["scales"] = "I64" }, []string{"out.weight", "I64"}},
		{"unknown activations", converted.GraphFile, func(m map[string]any) {
			row(m, "out.weight")["quantized"].(map[string]any)["activations"] = "int2"
		}, []string{"out.weight", "int2"}},
		{"float of another type", converted.GraphFile, func(m map[string]any) { row(m, "conv.bias")["dtype"] = "F16" }, []string{"conv.bias", "expected F16"}},
		{"float of an unknown type", converted.GraphFile, func(m map[string]any) { row(m, "conv.bias")["dtype"] = "" }, []string{"conv.bias", "dtype"}},
		{"renamed weight", converted.GraphFile, func(m map[string]any) { row(m, "out.weight")["name"] = "other" }, []string{"other", "missing"}},
		{"weight listed twice", converted.GraphFile, func(m map[string]any) {
			m["weights"] = append(m["weights"].([]any), m["weights"].([]any)[0])
		}, []string{"twice"}},
		{"weight left out of the table", converted.GraphFile, func(m map[string]any) { m["weights"] = m["weights"].([]any)[1:] }, []string{converted.GraphFile, "table of weights"}},
		{"no graph", converted.GraphFile, func(m map[string]any) { delete(m, "graph") }, []string{converted.GraphFile}},
		{"node that reads a later one", converted.GraphFile, func(m map[string]any) {
			nodes := m["graph"].(map[string]any)["nodes"].([]any)
			nodes[len(nodes)-1].(map[string]any)["in"] = []int{1 << 20}
		}, []string{converted.GraphFile, "earlier node"}},
		{"unknown operation", converted.GraphFile, func(m map[string]any) {
			m["graph"].(map[string]any)["nodes"].([]any)[0].(map[string]any)["op"] = "Exec"
		}, []string{converted.GraphFile, "Exec"}},
	} {
		dir := convert(t, src, Options{Weights: "int4"})
		edit(t, filepath.Join(dir, a.file), a.change)
		l, err := run.Load(dir, models.Options{})
		if err == nil {
			l.Close()
		}
		t.Run(a.name, func(t *testing.T) { mustSay(t, err, a.say...) })
	}
}

// Scales that are not finite, and zero points out of range, are found when the weight is read.
func TestAttackValues(t *testing.T) {
	src := writeToy(t, toyTensors())
	dir := convert(t, src, Options{Weights: "int4", Asymmetric: true})
	l := load(t, dir)
	file := filepath.Join(dir, converted.WeightsFile)
	for _, suffix := range []string{converted.ScalesSuffix, converted.ZerosSuffix} {
		tensor, ok := l.Checkpoint.Tensor("out.weight" + suffix)
		if !ok {
			t.Fatal("no tensor")
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		own, err := tensor.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		at := indexOf(data, own)
		if at < 0 {
			t.Fatal("the tensor is not in the file")
		}
		attacked := t.TempDir()
		for _, name := range []string{converted.ManifestFile, converted.GraphFile, converted.WeightsFile} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if name == converted.WeightsFile {
				text[at], text[at+1] = 0xff, 0x7f // NaN as float16, 255 as a zero point
			}
			if err := os.WriteFile(filepath.Join(attacked, name), text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		_, err = weight(t, load(t, attacked), "out.weight").Expr.Eval()
		if suffix == converted.ScalesSuffix {
			mustSay(t, err, "out.weight.scales", "not finite")
		} else {
			mustSay(t, err, "zero point 255")
		}
	}
}

func indexOf(data, part []byte) int {
	for i := 0; i+len(part) <= len(data); i++ {
		if string(data[i:i+len(part)]) == string(part) {
			return i
		}
	}
	return -1
}

// A folder without our manifest is no converted model, even with one of another program's.
func TestOpenSource(t *testing.T) {
	src := writeToy(t, toyTensors())
	if err := os.WriteFile(filepath.Join(src, converted.ManifestFile), []byte(`{"name":"a web page"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if l := load(t, src); l.Manifest != nil || l.Model.System != "toy" {
		t.Errorf("opened as %+v", l.Manifest)
	}
}

// FuzzGraphFile feeds changed graph files of a good folder: they are refused or give a graph that obeys its rules, and
// never a panic.
func FuzzGraphFile(f *testing.F) {
	src := writeToy(f, toyTensors())
	dir := filepath.Join(f.TempDir(), "c")
	if _, err := Convert(f.Context(), src, dir, Options{Weights: "int4"}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, converted.GraphFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"graph":{"outputs":[],"names":[],"nodes":[]},"weights":[]}`))
	f.Add([]byte(`{"weights":[{"name":"out.weight","kind":"matrix","shape":null,"quantized":{"bits":4}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, converted.GraphFile), text, 0o666); err != nil {
			t.Fatal(err)
		}
		l, err := run.Load(dir, models.Options{})
		if err != nil {
			return
		}
		defer l.Close()
		for _, w := range graph.Weights(l.Model.Graph.Nodes()) {
			_, _ = w.Expr.Eval()
		}
		if err := l.Model.Graph.Check(); err != nil {
			t.Error(err)
		}
	})
}
