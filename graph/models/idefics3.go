package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Idefics3: Building and better understanding vision-language models (Laurençon et al., arXiv:2408.12637), and SmolVLM (Marafioti
// et al., arXiv:2504.05299): Idefics2's tower on tiles, pixel shuffle and a matrix. Sources: huggingface/transformers
// models/{idefics3/modeling_idefics3,smolvlm/modeling_smolvlm}.py.

var _ = Register(&System{
	Name: "idefics3", Title: "Idefics3, SmolVLM",
	ModelTypes: []string{"idefics3", "smolvlm"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type idefics3 or smolvlm, tensors model.connector.modality_projection.proj.weight", Recognise: func(im *Import) bool {
			t := im.ModelType()
			return (t == "idefics3" || t == "smolvlm") && im.HasAny("*connector.modality_projection.proj.weight")
		}},
	},
	Build: buildIdefics3,
})

func buildIdefics3(im *Import) (*graph.Model, error) {
	c := struct {
		Vision ideficsVision `json:"vision_config"`
		Scale  int           `json:"scale_factor"`
	}{Vision: ideficsVision{HiddenSize: 1152, IntermediateSize: 3072, Layers: 12, Heads: 16, Channels: 3, ImageSize: 224, PatchSize: 32,
		HiddenAct: "gelu_pytorch_tanh", Eps: 1e-6}, Scale: 2}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if err := checkSizes("config", size{"scale_factor", c.Scale}, size{"vision_config.hidden_size", c.Vision.HiddenSize}); err != nil {
		return nil, err
	}
	prefix := ""
	if im.HasAny("model.connector.*") {
		prefix = "model."
	}
	im.languageModel("model.text_model.*", "text_model.*", "lm_head.*")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	pipe := &pipeline.Pipeline{}
	var err error
	var x *graph.Node
	if im.HasAny(prefix + "vision_model.*") {
		if pipe.Image, err = im.classPipeline("Idefics3ImageProcessor"); err != nil {
			return nil, err
		}
		pixels, mask := ideficsPixels(b, c.Vision.Channels)
		t, err := c.Vision.build(b, pixels, mask, "vision_model")
		if err != nil {
			return nil, err
		}
		b.Name(t.Embeddings, "vision.embeddings")
		t.NameLayers(b, "vision.layer%d")
		x = b.Name(t.Last, "vision.last_hidden_state")
	} else if x, err = im.visionFeatures(b, c.Vision.HiddenSize); err != nil {
		return nil, err
	}
	const proj = "connector.modality_projection.proj"
	wide, out := c.Vision.HiddenSize*c.Scale*c.Scale, p.dim(proj+".weight", 0)
	x = b.Rearrange(b.Op(graph.SquareGrid{}, nil, x), "n (y v) (x u) c -> n (y x) (v u c)", "v", c.Scale, "u", c.Scale)
	b.Output(block.Projection{Stem: proj, Bias: block.Absent}.Apply(b, x, "", wide, out), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
