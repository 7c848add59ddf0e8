package run

import (
	"errors"
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

// SizeError says that images of a size come in for which the model was not trained: it can be opened again with its
// position tables interpolated.
type SizeError struct {
	Height, Width int
	Err           error
}

func (e *SizeError) Error() string {
	return e.Err.Error() + "; --image-size interpolates position tables"
}

// Unwrap returns the engine's or the input's message.
func (e *SizeError) Unwrap() error { return e.Err }

// checkSizes compares the images that are fed with the graph's input.
func (m *Model) checkSizes(feeds map[string]*graph.Tensor) error {
	for _, in := range m.Graph().Inputs() {
		op, ok := in.Op.(graph.Input)
		if !ok || len(op.Dims) != 4 || (in.Name() != "pixels" && in.Name() != "pixel_values") {
			continue
		}
		for _, name := range []string{"pixels", "pixel_values"} {
			t := feeds[name]
			if t == nil {
				continue
			}
			err := op.Accepts(t.Shape)
			if err == nil {
				continue
			}
			err = fmt.Errorf("input %q: %w", name, err)
			if len(t.Shape) == 4 && (op.Dims[2] >= 0 || op.Dims[3] >= 0) {
				return &SizeError{Height: t.Shape[2], Width: t.Shape[3], Err: err}
			}
			return err
		}
	}
	return nil
}

// AtSize runs a step on a model and, if the images turn out to be of another size than it was trained for, once more on one
// that open makes for that size.
func AtSize(o Options, open func(Options) (*Model, error), step func(*Model) error) error {
	for again := true; ; again = false {
		m, err := open(o)
		if err != nil {
			return err
		}
		err = step(m)
		m.Close()
		var size *SizeError
		if !again || !errors.As(err, &size) || o.Models.ImageSize != [2]int{} {
			return err
		}
		o.Models.ImageSize = [2]int{size.Height, size.Width}
	}
}
