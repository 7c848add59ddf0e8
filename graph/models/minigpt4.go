package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// MiniGPT-4: Enhancing Vision-Language Understanding with Advanced Large Language Models (Zhu et al., arXiv:2304.10592), and
// MiniGPT-v2 (Chen et al., arXiv:2310.09478), which joins each four tokens in a row instead of asking a Q-Former. Source:
// Vision-CAIR/MiniGPT-4 minigpt4/models/{minigpt4,minigpt_v2}.py.

var _ = Register(&System{
	Name: "minigpt-4", Title: "MiniGPT-4", Row: 10,
	Namings: []Naming{
		{Name: "original", Looked: "tensors llama_proj.* and ln_vision.*, no video_Qformer.*", Recognise: func(im *Import) bool {
			return im.HasTensor("llama_proj.weight") && im.HasTensor("ln_vision.weight") && !im.HasAny("video_Qformer.*")
		}},
	},
	Build: buildMiniGPT4,
})

func buildMiniGPT4(im *Import) (*graph.Model, error) {
	m, err := im.lavis(nil, nil)
	if err != nil {
		return nil, err
	}
	b, x := m.b, m.encoded
	m.nameEncoder()
	in, out := m.p.dim("llama_proj.weight", 1), m.p.dim("llama_proj.weight", 0)
	if im.HasTensor("query_tokens") {
		q, count, err := m.queries()
		if err != nil {
			return nil, err
		}
		t := q.apply(b, "query_tokens", count, qformerSees{Tokens: x})
		t.NameLayers(b, "qformer.layer.%d")
		x = b.Name(t.Last, "query_output")
	} else {
		if m.width == 0 || in%m.width != 0 {
			return nil, fmt.Errorf("tensor llama_proj.weight: reads %d channels, which are not those of several tokens of %d", in, m.width)
		}
		x = b.Rearrange(b.Slice(x, 1, 1, 0), "b (s n) d -> b s (n d)", "n", in/m.width)
	}
	b.Output(b.Linear(x, "llama_proj", in, out), graph.Projector, "visual_tokens")
	im.ignoreLavis()
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: m.image}}, err
}

// nameEncoder gives the image encoder's values the names of its modules.
func (m *lavisModel) nameEncoder() {
	if m.tower != nil {
		m.b.Name(m.tower.Patches, "visual_encoder.patch_embed")
		m.tower.NameLayers(m.b, "visual_encoder.blocks.%d")
	}
	m.b.Name(m.encoded, "ln_vision")
}
