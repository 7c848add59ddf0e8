package models

import "github.com/mmconv/mmconv/graph"

// visionFeatures is what a projector that stands alone starts from: the input vision_features, [B, tokens, width].
func (im *Import) visionFeatures(b *graph.Builder, width int) (*graph.Node, error) {
	return b.Input("vision_features", -1, -3, width), nil
}
