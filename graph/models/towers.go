package models

import (
	"github.com/mmconv/mmconv/graph"
)

// towers tells by a tensor of each which towers a checkpoint holds whose configuration describes two. Published checkpoints
// of one tower often keep the configuration of both.
func (im *Import) towers(vision, text string) (hasVision, hasText bool) {
	hasVision, hasText = im.HasTensor(vision), im.HasTensor(text)
	switch {
	case !hasVision && !hasText: // other names, or nothing: what is missing is told where it is read
		return true, true
	case !hasText:
		im.Note("config.json describes two towers; the text tower is absent (no %s), so this is the vision tower alone", text)
	case !hasVision:
		im.Note("config.json describes two towers; the vision tower is absent (no %s), so this is the text tower alone", vision)
	default:
		return
	}
	im.Ignore("logit_scale", "the scale of similarities, which take both towers")
	im.Ignore("logit_bias", "the bias of similarities, which take both towers")
	return
}

// classifier makes the scores of an image classifier an output where the checkpoint holds one: a product with what is pooled,
// [B, dim] to [B, classes].
func (im *Import) classifier(b *graph.Builder, pooled func() *graph.Node, dim int) {
	if classes := im.Dim("classifier.weight", 0); classes > 0 {
		b.Output(b.Linear(pooled(), "classifier", dim, classes), graph.Vision, "logits")
	}
}
