package converted

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// Read reads graph.json of a folder whose manifest is m, and its table of weights; values are read when they are asked for. The
// folder may be hostile: what it says about shapes and types is held against the tensors before anything is read or allocated by
// it.
func Read(c *formats.Checkpoint, m *Manifest) (*graph.Model, Weights, error) {
	file := filepath.Join(c.Dir(), GraphFile)
	text, err := c.ReadFile(GraphFile)
	if err != nil {
		return nil, nil, err
	}
	var table struct {
		Graph   json.RawMessage `json:"graph"`
		Weights Weights         `json:"weights"`
	}
	if err := formats.JSON(file, text, &table); err != nil {
		return nil, nil, err
	}
	weights := map[string]*graph.Weight{}
	for i := range table.Weights {
		w := &table.Weights[i]
		if weights[w.Name] != nil {
			return nil, nil, fmt.Errorf("%s: weight %s is listed twice", file, w.Name)
		}
		if weights[w.Name], err = w.open(c); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	g, err := graph.Decode(table.Graph, func(name string) (*graph.Weight, error) {
		if w := weights[name]; w != nil {
			return w, nil
		}
		return nil, fmt.Errorf("weight %s: not in the table of weights", name)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	model := &graph.Model{System: m.System, Naming: m.Naming, Graph: g, Pipeline: m.Pipeline, Ignored: m.Ignored, Notes: m.Notes}
	return model, table.Weights, nil
}

// open makes the weight of the graph, reading its values when they are needed.
func (r *Weight) open(c *formats.Checkpoint) (*graph.Weight, error) {
	tensors, err := r.tensors(c)
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

// tensors returns the tensors that a weight is stored as, after checking that they are as it says.
func (r *Weight) tensors(c *formats.Checkpoint) ([]*formats.Tensor, error) {
	if err := checkShape(r); err != nil {
		return nil, err
	}
	entries, err := r.Entries()
	if err != nil {
		return nil, err
	}
	if q := r.Quantized; q != nil && q.Activations != "int8" && q.Activations != "float32" {
		return nil, fmt.Errorf("weight %s: activations %q: expected int8 or float32", r.Name, q.Activations)
	}
	var tensors []*formats.Tensor
	r.Bytes = 0
	for _, e := range entries {
		t, ok := c.Tensor(e.Name)
		if !ok {
			return nil, fmt.Errorf("weight %s: tensor %s is missing from %s", r.Name, e.Name, WeightsFile)
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

func checkShape(r *Weight) error {
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
func loadQuantized(r *Weight, tensors []*formats.Tensor) (*kernels.Quantized, error) {
	n, k := Matrix(r.Shape)
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
