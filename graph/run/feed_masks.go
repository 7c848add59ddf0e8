package run

import (
	"context"
	"fmt"

	"github.com/mmconv/mmconv/graph"
)

var _ = RegisterFeeder(StageTensor, Feeder{Name: "masks", Feed: feedMasks})

// feedMasks parts the mask of originals that take one of a text's tokens and the regions behind them.
func feedMasks(_ context.Context, p *Pass) error {
	mask, ids := p.in["attention_mask"].Tensor, p.in["input_ids"].Tensor
	if mask == nil || ids == nil || len(mask.Shape) != 2 || len(ids.Shape) != 2 || mask.Shape[1] <= ids.Shape[1] || !p.Has("visual_attention_mask") {
		return nil
	}
	if _, given := p.in["visual_attention_mask"]; given || mask.Shape[0] != ids.Shape[0] {
		return fmt.Errorf("input \"attention_mask\" has shape %v: expected %v as input_ids have, or with the regions' mask behind it", mask.Shape, ids.Shape)
	}
	p.Take("attention_mask")
	n, l := mask.Shape[1], ids.Shape[1]
	text, regions := graph.NewTensor(ids.Shape...), graph.NewTensor(ids.Shape[0], n-l)
	for i := range ids.Shape[0] {
		copy(text.Data[i*l:(i+1)*l], mask.Data[i*n:])
		copy(regions.Data[i*(n-l):(i+1)*(n-l)], mask.Data[i*n+l:])
	}
	p.Feeds["attention_mask"], p.Feeds["visual_attention_mask"] = text, regions
	return nil
}
