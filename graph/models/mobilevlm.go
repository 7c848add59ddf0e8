package models

import (
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/kernels"
)

// MobileVLM (Chu et al., arXiv:2312.16886) and MobileVLM V2 (arXiv:2402.03766): LLaVA with lightweight downsample projectors
// (LDP) that leave a quarter of the tokens. Sources: Meituan-AutoML/MobileVLM mobilevlm/model/vision_projector.py, torchvision
// models/mobilenetv3.py.

var _ = Register(&System{
	Name: "mobilevlm", Title: "MobileVLM", Row: 8,
	ModelTypes: []string{"mobilevlm", "mobilevlm_v2"},
	Namings: []Naming{
		{Name: "mobilevlm", Looked: "config.json with mm_projector_type ldpnet or ldpnetv2, tensors mm_projector.*", Recognise: func(im *Import) bool {
			var c llavaConfig
			return im.Config(&c) == nil && strings.HasPrefix(c.ProjectorType, "ldpnet") && im.HasAny("*mm_projector.*")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		m, err := im.originalLLaVA()
		if err != nil {
			return nil, err
		}
		if m.tower != nil {
			m.b.Name(m.b.Named("vision.hidden_state.0"), "clip.embeddings")
			for i := range m.b.Layers(m.tower.depth) {
				m.b.Namef(m.b.Named(fmt.Sprintf("vision.hidden_state.%d", i+1)), "clip.layer%d", i+1)
			}
		}
		var x *graph.Node
		switch m.ProjectorType {
		case "ldpnet":
			x = m.ldp(im)
		case "ldpnetv2":
			x = m.ldpV2(im)
		default:
			return nil, fmt.Errorf("config: mm_projector_type is %q; expected ldpnet or ldpnetv2", m.ProjectorType)
		}
		return m.finish(im, x, "visual_tokens")
	},
})

// mlp is two linear layers with GELU between, stem.first and stem.(first+2).
func (m *originalLLaVA) mlp(x *graph.Node, stem string, first int) *graph.Node {
	x = m.b.Act(m.b.Linear(x, fmt.Sprintf("%s.%d", stem, first), m.width, m.HiddenSize), kernels.ActGELU)
	return m.b.Linear(x, fmt.Sprintf("%s.%d", stem, first+2), m.HiddenSize, m.HiddenSize)
}

// ldp is LDPBlock: an MLP, then two inverted residuals without an expansion, the second of stride 2.
func (m *originalLLaVA) ldp(im *Import) *graph.Node {
	b, d, root := m.b, m.HiddenSize, im.projectorStem()+"."
	x := b.Name(m.mlp(m.features, root+"model.mlp", 1), "model.mlp")
	x = b.Op(graph.SquareGrid{}, nil, x)
	norm := func(x *graph.Node, stem string) *graph.Node { return b.LayerNorm(x, stem, d, 1e-5) }
	for i, stride := range []int{1, 2} {
		own := fmt.Sprintf("model.mb_block.%d", i+1)
		at := root + own + ".block"
		h := b.Conv(x, at+".0.0", graph.ConvSpec{In: d, Out: d, KH: 3, KW: 3, Stride: [2]int{stride, stride}, Pad: graph.Pad2(1, 1), Groups: d, NoBias: true})
		h = b.Act(norm(h, at+".0.1"), kernels.ActHardswish)
		namedMap(b, h, "%s.block.0", own)
		se := block.SE{Dim: d, Hidden: max(im.Dim(at+".1.fc1.weight", 0), 1), FC1: block.Projection{Stem: "fc1"}, FC2: block.Projection{Stem: "fc2"},
			Act: kernels.ActReLU, Gate: kernels.ActHardsigmoid}
		h = se.Apply(b, h, at+".1")
		namedMap(b, h, "%s.block.1", own)
		h = norm(b.Conv(h, at+".2.0", graph.ConvSpec{In: d, Out: d, KH: 1, KW: 1, NoBias: true}), at+".2.1")
		if stride == 1 {
			h = b.Add(x, h)
		}
		namedMap(b, h, "%s", own)
		x = h
	}
	return b.Rearrange(x, "b h w c -> b (h w) c")
}

// ldpV2 is LDPNetV2Projector: an MLP, an average pooling to 12 x 12 tokens, and positions that a depthwise convolution makes
// of the tokens (PEG, Chu et al., arXiv:2102.10882).
func (m *originalLLaVA) ldpV2(im *Import) *graph.Node {
	b, d, root := m.b, m.HiddenSize, im.projectorStem()+"."
	x := b.Name(m.mlp(m.features, root+"mlp.mlp", 0), "mlp")
	const side = 12
	x = b.Op(graph.AdaptivePool{H: side, W: side}, nil, b.Op(graph.SquareGrid{}, nil, x))
	b.Name(b.Rearrange(x, "b h w c -> b (h w) c"), "dwn")
	x = b.Add(b.Conv(x, root+"peg.peg.0", graph.ConvSpec{In: d, Out: d, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), Groups: d}), x)
	return b.Name(b.Rearrange(x, "b h w c -> b (h w) c"), "peg")
}
