package block

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// SE is squeeze and excitation (Hu et al., arXiv:1709.01507): each channel is scaled by a gate that depends on all channels'
// means. The two layers may be stored as linear ones or as convolutions of 1x1.
type SE struct {
	Dim, Hidden int
	FC1, FC2    Projection // timm's SqueezeExcite and torchvision's have fc1 and fc2, EfficientNet conv_reduce and conv_expand
	Act         kernels.Activation
	Gate        kernels.Activation // ActNone: sigmoid
}

// Apply scales a map [B, H, W, Dim].
func (s *SE) Apply(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	gate := s.Gate
	if gate == kernels.ActNone {
		gate = kernels.ActSigmoid
	}
	h := b.Act(s.FC1.Apply(b, MeanOfMap(b, x), at, s.Dim, s.Hidden), s.Act)
	return ScaleChannels(b, x, b.Act(s.FC2.Apply(b, h, at, s.Hidden, s.Dim), gate))
}

// MeanOfMap averages a map over its places: [B, H, W, C] to [B, C].
func MeanOfMap(b *graph.Builder, x *graph.Node) *graph.Node {
	return Mean(b, b.Rearrange(x, "b h w c -> b (h w) c"))
}

// ScaleChannels multiplies a map [B, H, W, C] by gates [B, C].
func ScaleChannels(b *graph.Builder, x, gates *graph.Node) *graph.Node {
	return b.Mul(x, b.Rearrange(gates, "b c -> b 1 1 c"))
}
