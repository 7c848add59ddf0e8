package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mmconv/mmconv/quant"
)

// ConvertTo returns a function that converts checkpoints into temporary folders and opens what comes out; closing the
// session removes the folder. It is what [ParityOptions].Convert takes.
func ConvertTo(q quant.Options) func(context.Context, string, SessionOptions) (*Session, error) {
	return func(ctx context.Context, checkpoint string, o SessionOptions) (*Session, error) {
		dir, err := os.MkdirTemp("", "mmconv-")
		if err != nil {
			return nil, err
		}
		s, err := convertInto(ctx, checkpoint, filepath.Join(dir, "converted"), q, o)
		if err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
		s.cleanup = func() { os.RemoveAll(dir) }
		return s, nil
	}
}

func convertInto(ctx context.Context, checkpoint, dst string, q quant.Options, o SessionOptions) (*Session, error) {
	q.Models, q.Threads = o.Models, o.Threads
	if _, err := quant.Convert(ctx, checkpoint, dst, q); err != nil {
		return nil, fmt.Errorf("converting %s: %w", checkpoint, err)
	}
	return OpenSession(dst, SessionOptions{Threads: o.Threads, MaxPixels: o.MaxPixels, Resampling: o.Resampling})
}

// describeConversion says what a conversion did to the weights; nil for a source.
func describeConversion(s *Session) *Converted {
	if s.Plan == nil {
		return nil
	}
	return DescribePlan(s.Plan)
}

// DescribePlan says what a plan does to the weights.
func DescribePlan(p *quant.Plan) *Converted {
	c := &Converted{Schemes: map[string]int{}, Float: []FloatWeight{}, Bytes: p.Bytes()}
	for _, r := range p.Rows {
		if r.Quantized == nil {
			c.Float = append(c.Float, FloatWeight{Name: r.Name, Reason: r.Reason})
			continue
		}
		c.Quantized++
		scheme := fmt.Sprintf("%s, %s, activations %s", r.Format(), r.Quantized.Method, r.Quantized.Activations)
		if r.Reason != "" {
			scheme += ": " + r.Reason
		}
		c.Schemes[scheme]++
	}
	return c
}
