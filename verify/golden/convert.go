package golden

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/quant"
)

// ConvertTo returns a function that converts checkpoints into temporary folders and opens what comes out; closing the model
// removes the folder. It is what [ParityOptions].Convert takes.
func ConvertTo(q quant.Options) func(context.Context, string, run.Options) (*run.Model, error) {
	return func(ctx context.Context, checkpoint string, o run.Options) (*run.Model, error) {
		dir, remove, err := formats.TempDir()
		if err != nil {
			return nil, err
		}
		m, err := convertInto(ctx, checkpoint, filepath.Join(dir, "converted"), q, o)
		if err != nil {
			remove()
			return nil, err
		}
		m.OnClose(remove)
		return m, nil
	}
}

func convertInto(ctx context.Context, checkpoint, dst string, q quant.Options, o run.Options) (*run.Model, error) {
	q.Models, q.Threads = o.Models, o.Threads
	if _, err := quant.Convert(ctx, checkpoint, dst, q); err != nil {
		return nil, fmt.Errorf("converting %s: %w", checkpoint, err)
	}
	o.Models = q.Models
	return run.Open(dst, o)
}
