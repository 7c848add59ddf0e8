package run

import (
	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/graph/models"
)

// Loaded is a model without an engine: imported from a source, or read from a converted folder.
type Loaded struct {
	Model *graph.Model
	// Checkpoint is the source or the converted folder; the pipeline's files are read from it.
	Checkpoint *formats.Checkpoint
	// Manifest and Weights are those of a converted folder, nil for a source.
	Manifest *converted.Manifest
	Weights  converted.Weights
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
	if l.Manifest, err = converted.ReadManifest(l.Checkpoint); err != nil {
		return err
	}
	if l.Manifest == nil {
		l.Model, err = models.Open(l.Checkpoint, o)
		return err
	}
	l.Model, l.Weights, err = converted.Read(l.Checkpoint, l.Manifest)
	return err
}

// Close releases the files; the model must not be used afterwards.
func (l *Loaded) Close() error { return l.Checkpoint.Close() }

// Bytes is what the weights take that the outputs need: in a source, the distinct tensors that they are made of; in a
// converted folder, what is stored for them.
func (l *Loaded) Bytes() int64 {
	ws := graph.Weights(graph.Sort(l.Model.Graph.OutputNodes()...))
	var sum int64
	if l.Weights == nil {
		for _, t := range graph.Tensors(ws) {
			sum += int64(t.ByteLen())
		}
		return sum
	}
	bytes := map[string]int64{}
	for i := range l.Weights {
		bytes[l.Weights[i].Name] = l.Weights[i].Bytes
	}
	for _, w := range ws {
		sum += bytes[w.Name]
	}
	return sum
}
