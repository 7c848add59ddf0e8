package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageAfter, Feeder{Name: "real tokens", Feed: offerRealTokens})

// realMark ends the name of a mask [B, T] of a value [B, T, D], or of all values whose names begin with what stands before it and
// a dot: which of their tokens are not padding.
const realMark = ".real"

// offerRealTokens gives of padded tokens those that are real, [N, D], one sample's behind the other's.
func offerRealTokens(_ context.Context, p *Pass) error {
	for _, value := range p.Graph().Names() {
		if strings.HasSuffix(value, realMark) {
			continue
		}
		mask := value + realMark
		if p.Value(mask) == nil {
			group, _, ok := strings.Cut(value, ".")
			if mask = group + realMark; !ok || p.Value(mask) == nil {
				continue
			}
		}
		if len(p.Missing(p.Feeds, value)) > 0 || len(p.Missing(p.Feeds, mask)) > 0 {
			continue
		}
		p.Offer(value, func(ctx context.Context) (*graph.Tensor, error) {
			got, err := p.Run(ctx, p.Feeds, value, mask)
			if err != nil {
				return nil, err
			}
			return realRows(got[value], got[mask])
		})
	}
	return nil
}

func realRows(t, mask *graph.Tensor) (*graph.Tensor, error) {
	if len(t.Shape) != 3 || len(mask.Data)*t.Shape[2] != len(t.Data) {
		return nil, fmt.Errorf("tokens %v and the mask %v do not fit", t.Shape, mask.Shape)
	}
	d := t.Shape[2]
	out := &graph.Tensor{Shape: graph.Shape{0, d}}
	for i, v := range mask.Data {
		if v != 0 {
			out.Data = append(out.Data, t.Data[i*d:(i+1)*d]...)
			out.Shape[0]++
		}
	}
	return out, nil
}
