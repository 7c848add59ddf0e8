package quant

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
)

func convert(t *testing.T, src string, o Options) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "converted")
	if _, err := Convert(context.Background(), src, dst, o); err != nil {
		t.Fatal(err)
	}
	return dst
}

func load(t *testing.T, path string) *run.Loaded {
	t.Helper()
	l, err := run.Load(path, models.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// prepared is the plan of a source under these options, whose weights can be evaluated.
func prepared(t *testing.T, src string, o Options) *Conversion {
	t.Helper()
	c, err := Prepare(src, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// weight returns a weight of a model.
func weight(t *testing.T, l *run.Loaded, name string) *graph.Weight {
	t.Helper()
	for _, w := range graph.Weights(l.Model.Graph.Nodes()) {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no weight %s in the model", name)
	return nil
}

// recipeOf reads the recipe of a converted folder.
func recipeOf(t *testing.T, m *converted.Manifest) *Recipe {
	t.Helper()
	r, err := RecipeOf(m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (p *Plan) row(t *testing.T, name string) *Row {
	t.Helper()
	for i := range p.Rows {
		if p.Rows[i].Name == name {
			return &p.Rows[i]
		}
	}
	t.Fatalf("no weight %s in the plan", name)
	return nil
}

// What a converted folder gives back is, weight for weight, what the fused source has, up to the format's noise; floats are
// equal bit for bit.
func TestConvertRoundTrip(t *testing.T) {
	src := writeToy(t, toyTensors())
	for _, o := range []Options{
		{}, {Weights: "int8", Asymmetric: true}, {Weights: "int8", Group: "32", Scales: "float16"},
		{Weights: "int4"}, {Weights: "int4", Asymmetric: true, Group: "64"}, {Weights: "int4", Group: "channel", Method: "rtn"},
		{Weights: "float32"}, {Weights: "source"}, {Weights: "int4", NoFuse: []string{"norm", "pixels"}},
	} {
		before := prepared(t, src, o)
		after := load(t, convert(t, src, o))
		weights := map[string]*graph.Weight{}
		for _, w := range graph.Weights(after.Model.Graph.Nodes()) {
			weights[w.Name] = w
		}
		if len(weights) != len(before.Plan.Rows) {
			t.Errorf("%+v: %d weights, planned %d", o, len(weights), len(before.Plan.Rows))
		}
		for i := range before.Plan.Rows {
			r := &before.Plan.Rows[i]
			want, err := r.weight.Expr.Eval()
			if err != nil {
				t.Fatal(err)
			}
			w := weights[r.Name]
			got, err := w.Expr.Eval()
			if err != nil {
				t.Fatal(err)
			}
			if w.Kind != r.Kind || !w.Shape().Equal(r.Shape) {
				t.Errorf("%+v: %s came back as %s %v, was %s %v", o, r.Name, w.Kind, w.Shape(), r.Kind, r.Shape)
			}
			if r.Quantized == nil {
				if !slices.Equal(want, got) {
					t.Errorf("%+v: float weight %s changed", o, r.Name)
				}
				continue
			}
			if w.Int8Activations != (r.Quantized.Activations == "int8") {
				t.Errorf("%+v: %s: int8 activations %v", o, r.Name, w.Int8Activations)
			}
			var noise, signal float64
			for i := range want {
				noise += math.Pow(float64(want[i])-float64(got[i]), 2)
				signal += math.Pow(float64(want[i]), 2)
			}
			least := map[int]float64{8: 36, 4: 12}[r.Quantized.Bits]
			if snr := 10 * math.Log10(signal/noise); snr < least {
				t.Errorf("%+v: %s as %s: %.1f dB, expected at least %g", o, r.Name, r.Format(), snr, least)
			}
		}
		if diff := cmp.Diff(before.Graph.Names(), after.Model.Graph.Names()); diff != "" {
			t.Errorf("%+v: names of values changed: %s", o, diff)
		}
	}
}

func TestFloat16Weights(t *testing.T) {
	tensors := toyTensors()
	src := writeToy(t, tensors)
	c := prepared(t, src, Options{Weights: "float16"})
	for name, want := range map[string]string{"tokens.weight": "F16", "layers.0.down.weight": "F16", "layers.0.down.bias": "F32"} {
		if got := c.Plan.row(t, name).DType; got != want {
			t.Errorf("%s is stored as %s, expected %s", name, got, want)
		}
	}
	tensors["out.weight"].dtype = formats.F32
	tensors["out.weight"].values[3] = 1e6
	_, err := Convert(context.Background(), writeToy(t, tensors), filepath.Join(t.TempDir(), "c"), Options{Weights: "float16"})
	mustSay(t, err, "out.weight", "1e+06", "float16", "--keep")
}

// The whole of what the kinds, globs, overrides and operations decide.
func TestPlan(t *testing.T) {
	dir := t.TempDir()
	recipe := filepath.Join(dir, "recipe.json")
	text := `{"weights": "int4", "group_size": 64, "overrides": [
		{"match": "*.down.*", "weights": "int8", "method": "rtn", "activations": "float32"},
		{"match": "conv*", "weights": "source"}]}`
	if err := os.WriteFile(recipe, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	src := writeToy(t, toyTensors())
	for _, test := range []struct {
		name string
		o    Options
		want map[string]string // weight: format, activations, reason
	}{
		{"defaults", Options{}, map[string]string{
			"out.weight":             "int8 int8 ",
			"layers.0.up.weight":     "int8 int8 ",
			"depthwise.weight":       "int8 float32 a depthwise convolution runs on float activations",
			"tokens.weight":          "F16  embedding weights stay float",
			"position[s d -> 1 s d]": "F32  position weights stay float",
			"layers.0.down.bias":     "BF16  bias weights stay float",
			"layers.0.down.weight":   "int8 int8 ",
		}},
		{"int4", Options{Weights: "int4", Activations: "float32"}, map[string]string{"conv.weight": "int4-g32 float32 ", "out.weight": "int4-g32 float32 "}},
		{"channel", Options{Weights: "int4", Group: "channel", Asymmetric: true}, map[string]string{"out.weight": "int4-channel-asym int8 "}},
		{"keep", Options{Weights: "int4", Keep: []string{"out.*"}}, map[string]string{"out.weight": "F16  kept by --keep out.*", "conv.weight": "int4-g32 int8 "}},
		{"recipe", Options{Recipe: recipe}, map[string]string{
			"out.weight":           "int4-g64 int8 ",
			"layers.0.down.weight": "int8 float32 ",
			"conv.weight":          "F32  kept by the recipe's \"conv*\"",
		}},
		{"flags over recipe", Options{Recipe: recipe, Weights: "int8"}, map[string]string{"out.weight": "int8 int8 "}},
	} {
		p := prepared(t, src, test.o).Plan
		for name, want := range test.want {
			r := p.row(t, name)
			activations := ""
			if r.Quantized != nil {
				activations = r.Quantized.Activations
			}
			if got := r.Format() + " " + activations + " " + r.Reason; got != want {
				t.Errorf("%s: %s: %q, expected %q", test.name, name, got, want)
			}
		}
	}
}

// --only leaves out what other components need, and the manifest says so.
func TestOnly(t *testing.T) {
	src := writeToy(t, toyTensors())
	dst := convert(t, src, Options{Only: []graph.Component{graph.Vision}})
	l := load(t, dst)
	if got := l.Model.Graph.Components(); !slices.Equal(got, []graph.Component{graph.Vision}) {
		t.Errorf("components %v", got)
	}
	left := map[string]string{}
	for _, ig := range l.Manifest.Ignored {
		left[ig.Name] = ig.Reason
	}
	if left["tokens.weight"] == "" || left["buffer.ids"] != "a buffer" || left["conv.weight"] != "" {
		t.Errorf("ignored: %v", left)
	}
	_, err := Prepare(src, Options{Only: []graph.Component{graph.Audio}})
	mustSay(t, err, "audio", "text", "vision")
}

func TestManifest(t *testing.T) {
	src := writeToy(t, toyTensors())
	dst := convert(t, src, Options{Weights: "int4", Keep: []string{"conv*"}})
	m := load(t, dst).Manifest
	if m.FormatVersion != converted.FormatVersion || m.System != "toy" || m.Source.Name != "toy" || recipeOf(t, m).Weights != "int4" || recipeOf(t, m).Method != "mse" {
		t.Errorf("manifest: %+v", m)
	}
	var names []string
	for _, f := range m.Source.Files {
		names = append(names, f.Name)
		if len(f.SHA256) != 64 || f.Size == 0 {
			t.Errorf("source file %+v", f)
		}
	}
	if !slices.Equal(names, []string{"config.json", "model.safetensors", "vocab.txt"}) {
		t.Errorf("source files %v", names)
	}
	if m.Bytes.Before <= m.Bytes.After || m.Bytes.After != load(t, dst).Bytes() || m.Bytes.Before != load(t, src).Bytes() {
		t.Errorf("bytes %+v; the folder says %d, the source %d", m.Bytes, load(t, dst).Bytes(), load(t, src).Bytes())
	}
	stayed := 0
	for _, s := range m.Float {
		stayed += len(s.Weights)
	}
	if stayed != m.Weights.Float || m.Weights.Quantized == 0 {
		t.Errorf("%d weights stayed float, of %+v", stayed, m.Weights)
	}
	vocab, err := os.ReadFile(filepath.Join(dst, "vocab.txt"))
	if err != nil || string(vocab) != "a\nb\n" {
		t.Errorf("vocab.txt: %q, %v", vocab, err)
	}
}

// The bytes depend on the source and the recipe, not on the number of threads or where things lie.
func TestDeterministic(t *testing.T) {
	var first map[string][]byte
	for _, threads := range []int{1, 2, 3, 16} {
		dst := convert(t, writeToy(t, toyTensors()), Options{Weights: "int4", Asymmetric: true, Threads: threads})
		files := map[string][]byte{}
		for _, name := range []string{converted.ManifestFile, converted.GraphFile, converted.WeightsFile} {
			data, err := os.ReadFile(filepath.Join(dst, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = data
		}
		if first == nil {
			first = files
		}
		for name := range files {
			if !bytes.Equal(first[name], files[name]) {
				t.Errorf("%d threads: %s differs", threads, name)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	var last, sum, calls int64
	convert(t, writeToy(t, toyTensors()), Options{Threads: 2, Progress: func(done, total int64, weight string) {
		if done <= last || done > total || weight == "" {
			t.Errorf("progress %d of %d (%s) after %d", done, total, weight, last)
		}
		last, sum = done, total
		calls++
	}})
	if last != sum || calls == 0 {
		t.Errorf("progress ended at %d of %d", last, sum)
	}
}

// NaN and infinities are named and refused, or counted where they are allowed.
func TestNonfinite(t *testing.T) {
	for _, name := range []string{"out.weight", "tokens.weight", "layers.0.norm.bias", "layers.0.up.weight"} {
		tensors := toyTensors()
		bad := float32(math.NaN())
		if name == "tokens.weight" {
			bad = float32(math.Inf(-1))
		}
		tensors[name].values[5] = bad
		src, dst := writeToy(t, tensors), filepath.Join(t.TempDir(), "c")
		_, err := Convert(context.Background(), src, dst, Options{Weights: "int4"})
		mustSay(t, err, name, "--allow-nonfinite")
		nothingAt(t, dst)
		m := load(t, convert(t, src, Options{Weights: "int4", AllowNonfinite: true}))
		if notes := strings.Join(m.Manifest.Notes, "\n"); !strings.Contains(notes, "NaN and") {
			t.Errorf("%s: notes %q", name, notes)
		}
		if name == "out.weight" {
			v, err := weight(t, m, name).Expr.Eval()
			if err != nil || v[5] != 0 {
				t.Errorf("NaN became %v, %v", v[5], err)
			}
		}
	}
}

// A cancelled conversion leaves nothing, and an earlier target as it was.
func TestCancel(t *testing.T) {
	src := writeToy(t, toyTensors())
	dst := convert(t, src, Options{})
	before, err := os.ReadFile(filepath.Join(dst, converted.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Convert(ctx, src, dst, Options{Weights: "int4", Force: true, Progress: func(done, _ int64, _ string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dst, converted.ManifestFile)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the earlier target changed (%v)", err)
	}
	if left, err := formats.Leftovers(dst); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestExistingTarget(t *testing.T) {
	src := writeToy(t, toyTensors())
	dst := convert(t, src, Options{})
	_, err := Convert(context.Background(), src, dst, Options{})
	mustSay(t, err, dst, "--force")
	if !errors.Is(err, formats.ErrExists) {
		t.Errorf("not ErrExists: %v", err)
	}
	if _, err := Convert(context.Background(), src, dst, Options{Weights: "int4", Force: true}); err != nil {
		t.Fatal(err)
	}
	if r := recipeOf(t, load(t, dst).Manifest); r.Weights != "int4" {
		t.Errorf("the target was not replaced: %s", r.Weights)
	}
	// A target that the source lies in.
	_, err = Convert(context.Background(), src, src, Options{Force: true})
	mustSay(t, err, src, "source")
	_, err = Convert(context.Background(), src, filepath.Dir(src), Options{Force: true})
	mustSay(t, err, "source")
	_, err = Prepare(dst, Options{})
	mustSay(t, err, dst, "converted already")
}

func TestBadOptions(t *testing.T) {
	src := writeToy(t, toyTensors())
	for _, test := range []struct {
		o   Options
		say []string
	}{
		{Options{Weights: "int3"}, []string{"int3", "int8"}},
		{Options{Activations: "int4"}, []string{"activations", "int4", "float32"}},
		{Options{Group: "33"}, []string{"group", "33", "channel"}},
		{Options{Method: "best"}, []string{"best", "mse", "rtn"}},
		{Options{Scales: "bf16"}, []string{"scales", "bf16"}},
		{Options{Keep: []string{"[a"}}, []string{"[a", "glob"}},
		{Options{Keep: []string{"nothing.*"}}, []string{"nothing.*", "matches none", "--dry-run"}},
		{Options{NoFuse: []string{"xyz"}}, []string{"xyz"}},
		{Options{Recipe: filepath.Join(src, "none.json")}, []string{"none.json"}},
		{Options{Recipe: filepath.Join(src, "vocab.txt")}, []string{"vocab.txt", "recipe"}},
	} {
		_, err := Prepare(src, test.o)
		mustSay(t, err, test.say...)
	}
	for _, text := range []string{`{"wieghts":"int8"}`, `{"weights":8}`, `{} {}`, `{"group_size":true}`, `{"group_size":7}`,
		`{"overrides":[{"weights":"int8"}]}`, `{"overrides":[{"match":"a","method":"none"}]}`, `[]`, ``} {
		if r, err := parseRecipe([]byte(text)); err == nil {
			t.Errorf("recipe %s was taken as %+v", text, r)
		}
	}
}

func FuzzRecipe(f *testing.F) {
	f.Add([]byte(`{"weights":"int4","group_size":64,"asymmetric":true,"keep":["a*"],"overrides":[{"match":"b","weights":"int8"}]}`))
	f.Add([]byte(`{"group_size":"channel"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecipe(text)
		if err != nil {
			return
		}
		c, _ := r.choiceFor([]string{"a", "b.weight"})
		c = c.withDefaults()
		if err := c.check(); err != nil {
			t.Errorf("a checked recipe leads to %+v: %v", c, err)
		}
	})
}

func mustSay(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; expected one about %v", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not mention %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %q", err)
	}
}

func nothingAt(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", path, err)
	}
	if left, err := formats.Leftovers(path); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
