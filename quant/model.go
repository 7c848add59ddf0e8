package quant

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/kernels"
)

// Loaded is a model that is ready to run: imported from a source, or read from a converted folder.
type Loaded struct {
	Model *graph.Model
	// Checkpoint is the source or the converted folder; the pipeline's files are read from it.
	Checkpoint *formats.Checkpoint
	// Manifest and Plan are those of a converted folder, nil for a source.
	Manifest *Manifest
	Plan     *Plan
}

// Load opens what path names as a model: a converted folder, or a source, which is a folder, a file or an hf: name. Values
// are read when they are asked for. The options are for sources only.
func Load(path string, o models.Options) (*Loaded, error) {
	c, err := formats.Open(path, formats.Options{})
	if err != nil {
		return nil, err
	}
	l := &Loaded{Checkpoint: c}
	if err := l.load(o); err != nil {
		c.Close()
		return nil, err
	}
	return l, nil
}

func (l *Loaded) load(o models.Options) (err error) {
	if l.Manifest, err = readManifest(l.Checkpoint); err != nil {
		return err
	}
	if l.Manifest == nil {
		l.Model, err = models.Open(l.Checkpoint, o)
		return err
	}
	return l.converted()
}

// Open opens a converted folder.
func Open(dir string) (*Loaded, error) {
	l, err := Load(dir, models.Options{})
	if err == nil && l.Manifest == nil {
		l.Close()
		return nil, fmt.Errorf("%s: not a converted model: it has no manifest.json of mmconv (mmconv convert makes one)", dir)
	}
	return l, err
}

// Close releases the files; the model must not be used afterwards.
func (l *Loaded) Close() error { return l.Checkpoint.Close() }

// Bytes is what the weights take that the outputs need: in a source, the distinct tensors that they are made of; in a
// converted folder, what is stored for them.
func (l *Loaded) Bytes() int64 {
	ws := graph.Weights(graph.Sort(l.Model.Graph.OutputNodes()...))
	var sum int64
	if l.Plan == nil {
		for _, t := range leaves(ws) {
			sum += int64(t.ByteLen())
		}
		return sum
	}
	bytes := map[string]int64{}
	for i := range l.Plan.Rows {
		bytes[l.Plan.Rows[i].Name] = l.Plan.Rows[i].Bytes
	}
	for _, w := range ws {
		sum += bytes[w.Name]
	}
	return sum
}

// converted reads graph.json. The folder may be hostile: what it says about shapes and types is held against the tensors
// before anything is read or allocated by it.
func (l *Loaded) converted() error {
	file := filepath.Join(l.Checkpoint.Dir(), graphFile)
	text, err := l.Checkpoint.ReadFile(graphFile)
	if err != nil {
		return err
	}
	var table struct {
		Graph   json.RawMessage `json:"graph"`
		Weights []Row           `json:"weights"`
	}
	if err := formats.JSON(file, text, &table); err != nil {
		return err
	}
	weights := map[string]*graph.Weight{}
	l.Plan = &Plan{Rows: table.Weights}
	for i := range l.Plan.Rows {
		r := &l.Plan.Rows[i]
		if weights[r.Name] != nil {
			return fmt.Errorf("%s: weight %s is listed twice", file, r.Name)
		}
		if r.weight, err = l.weight(r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		weights[r.Name] = r.weight
	}
	g, err := graph.Decode(table.Graph, func(name string) (*graph.Weight, error) {
		if w := weights[name]; w != nil {
			return w, nil
		}
		return nil, fmt.Errorf("weight %s: not in the table of weights", name)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	m := l.Manifest
	l.Model = &graph.Model{System: m.System, Naming: m.Naming, Graph: g, Pipeline: m.Pipeline, Ignored: m.Ignored, Notes: m.Notes}
	return nil
}

// weight makes the weight of a row, reading its values when they are needed.
func (l *Loaded) weight(r *Row) (*graph.Weight, error) {
	tensors, err := l.tensors(r)
	if err != nil {
		return nil, err
	}
	w := &graph.Weight{Name: r.Name, Kind: r.Kind}
	if r.Quantized == nil {
		w.Expr = graph.Leaf{Tensor: tensors[0]}
		return w, nil
	}
	w.Int8Activations = r.Quantized.Activations == "int8"
	w.Expr = &graph.Quantized{Dims: r.Shape, Scheme: r.Quantized.Scheme(), Load: func() (*kernels.Quantized, error) {
		return loadQuantized(r, tensors)
	}}
	return w, nil
}

// tensors returns the tensors that a row is stored as, after checking that they are as it says.
func (l *Loaded) tensors(r *Row) ([]*formats.Tensor, error) {
	if err := checkShape(r); err != nil {
		return nil, err
	}
	entries, err := r.entries()
	if err != nil {
		return nil, err
	}
	if q := r.Quantized; q != nil && q.Activations != "int8" && q.Activations != "float32" {
		return nil, fmt.Errorf("weight %s: activations %q: expected int8 or float32", r.Name, q.Activations)
	}
	var tensors []*formats.Tensor
	r.Bytes = 0
	for _, e := range entries {
		t, ok := l.Checkpoint.Tensor(e.Name)
		if !ok {
			return nil, fmt.Errorf("weight %s: tensor %s is missing from %s", r.Name, e.Name, weightsFile)
		}
		if t.DType != e.DType || !graph.Shape(t.Shape).Equal(e.Shape) {
			return nil, fmt.Errorf("weight %s: tensor %s: expected %s %v, found %s %v", r.Name, e.Name, e.DType, graph.Shape(e.Shape), t.DType, graph.Shape(t.Shape))
		}
		r.Bytes += int64(t.ByteLen())
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// maxValues bounds the size of a weight, far above any real one and low enough that no product of sizes overflows.
const maxValues = 1 << 40

func checkShape(r *Row) error {
	n := 1
	for _, d := range r.Shape {
		if d < 0 || d > maxValues || d > 0 && n > maxValues/d {
			return fmt.Errorf("weight %s: shape %v is not possible", r.Name, r.Shape)
		}
		n *= max(d, 1)
	}
	return nil
}

// loadQuantized reads integers, scales and zero points. The integers may be views of the file's memory.
func loadQuantized(r *Row, tensors []*formats.Tensor) (*kernels.Quantized, error) {
	n, k := matrix(r.Shape)
	q := &kernels.Quantized{N: n, K: k, Scheme: r.Quantized.Scheme()}
	var err error
	if q.Data, err = tensors[0].Bytes(); err != nil {
		return nil, err
	}
	q.Scales = make([]float32, tensors[1].Len())
	if err := tensors[1].Float32s(q.Scales, 0); err != nil {
		return nil, err
	}
	if !kernels.AllFinite(q.Scales) {
		return nil, fmt.Errorf("tensor %s of %s: a scale is not finite", tensors[1].Name, tensors[1].File)
	}
	if q.Asymmetric {
		if q.Zeros, err = tensors[2].Bytes(); err != nil {
			return nil, err
		}
	}
	return q, q.Check()
}
