package quant

import (
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// The toy system has a weight of every kind, odd sizes, and what fusion makes expressions of.
var _ = models.Register(&models.System{
	Name: "toy", Title: "Toy", ModelTypes: []string{"toy"},
	Namings: []models.Naming{{Name: "toy", Recognise: func(im *models.Import) bool { return im.ModelType() == "toy" }}},
	Build:   buildToy,
})

// Sizes of the toy: none is a multiple of a group.
const (
	toyVocabulary = 50
	toyWidth      = 37
	toyHidden     = 101
	toyOut        = 13
)

func buildToy(im *models.Import) (*graph.Model, error) {
	b := graph.NewBuilder(im.Params(models.Names{}, ""))
	ids := b.Input("input_ids", -1, -1)
	x := b.Embedding(ids, "tokens", im.Dim("tokens.weight", 0), toyWidth)
	x = b.Add(x, b.Rearrange(b.Parameter(graph.Position, "position", 1, toyWidth), "s d -> 1 s d"))
	h := b.LayerNorm(x, "layers.0.norm", toyWidth, 1e-5)
	h = b.Act(b.Linear(h, "layers.0.up", toyWidth, toyHidden), kernels.ActGELU)
	x = b.Add(x, b.Linear(h, "layers.0.down", toyHidden, toyWidth))
	b.Output(b.LinearNoBias(x, "out", toyWidth, toyOut), graph.Text, "text_embeds")

	maps := b.Input("features", -1, 4, 4, 6)
	y := b.Op(graph.Conv{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1},
		[]*graph.Weight{b.Derived(graph.Kernel, "conv.weight", graph.RearrangeExpr(b.Tensor("conv.weight", 5, 6, 3, 3), "o i h w -> o h w i", nil)), b.Weight(graph.Bias, "conv.bias", 5)}, maps)
	y = b.Op(graph.Conv{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 5, Pad: [4]int{1, 1, 1, 1}},
		[]*graph.Weight{b.Derived(graph.Kernel, "depthwise.weight", graph.RearrangeExpr(b.Tensor("depthwise.weight", 5, 1, 3, 3), "o i h w -> o h w i", nil)), nil}, y)
	b.Output(y, graph.Vision, "image_features")
	im.Ignore("buffer.*", "a buffer")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Files: []string{"vocab.txt"}}}, err
}

// toyTensor is a tensor of the toy's checkpoint.
type toyTensor struct {
	dtype  formats.DType
	shape  []int
	values []float32
}

// toyTensors returns the tensors of a seeded toy: Gaussian with a heavy tail, in several types.
func toyTensors() map[string]*toyTensor {
	r := rand.New(rand.NewPCG(1, 2))
	tensors := map[string]*toyTensor{}
	add := func(d formats.DType, base float64, name string, shape ...int) {
		t := &toyTensor{d, shape, make([]float32, graph.Shape(shape).Len())}
		for i := range t.values {
			t.values[i] = float32(base + 0.05*r.NormFloat64()*math.Exp(0.5*r.NormFloat64()))
		}
		tensors[name] = t
	}
	add(formats.F16, 0, "tokens.weight", toyVocabulary, toyWidth)
	add(formats.F32, 0, "position", 1, toyWidth)
	add(formats.F32, 1, "layers.0.norm.weight", toyWidth)
	add(formats.F32, 0, "layers.0.norm.bias", toyWidth)
	add(formats.F32, 0, "layers.0.up.weight", toyHidden, toyWidth)
	add(formats.F32, 0, "layers.0.up.bias", toyHidden)
	add(formats.BF16, 0, "layers.0.down.weight", toyWidth, toyHidden)
	add(formats.BF16, 0, "layers.0.down.bias", toyWidth)
	add(formats.F16, 0, "out.weight", toyOut, toyWidth)
	add(formats.F32, 0, "conv.weight", 5, 6, 3, 3)
	add(formats.F32, 0, "conv.bias", 5)
	add(formats.F32, 0, "depthwise.weight", 5, 1, 3, 3)
	add(formats.F32, 0, "buffer.ids", 3)
	return tensors
}

// writeToy writes a checkpoint folder of these tensors and returns it.
func writeToy(t testing.TB, tensors map[string]*toyTensor) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "toy")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"config.json": `{"model_type":"toy"}`, "vocab.txt": "a\nb\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var entries []formats.Entry
	for name, x := range tensors {
		entries = append(entries, formats.Entry{Name: name, DType: x.dtype, Shape: x.shape, Write: func(w io.Writer) error {
			_, err := w.Write(new(scratch).encode(x.values, x.dtype))
			return err
		}})
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := formats.WriteSafetensors(f, nil, entries); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit rewrites a JSON file of a folder.
func edit(t *testing.T, file string, change func(m map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		t.Fatal(err)
	}
}
