package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Janus and Janus-Pro (Wu et al., arXiv:2410.13848; Chen et al., arXiv:2501.17811): a tower like SigLIP's and an MLP; what the model
// paints with is left out. Source: huggingface/transformers models/janus/modeling_janus.py.

var _ = Register(&System{
	Name: "janus", Title: "Janus",
	ModelTypes: []string{"janus"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with model_type janus, tensors aligner.fc1.weight", Recognise: func(im *Import) bool {
			return im.ModelType() == "janus" && im.HasAny("*aligner.fc1.weight")
		}},
	},
	Build: buildJanus,
})

func buildJanus(im *Import) (*graph.Model, error) {
	c := struct {
		Vision struct {
			HiddenSize int     `json:"hidden_size"`
			Layers     int     `json:"num_hidden_layers"`
			Heads      int     `json:"num_attention_heads"`
			Channels   int     `json:"num_channels"`
			PatchSize  int     `json:"patch_size"`
			ImageSize  int     `json:"image_size"`
			Eps        float64 `json:"layer_norm_eps"`
			HiddenAct  string  `json:"hidden_act"`
			MLPRatio   float64 `json:"mlp_ratio"`
			Bias       bool    `json:"attention_bias"`
			QKNorm     bool    `json:"use_qk_norm"`
			Depth      int     `json:"depth"`
		} `json:"vision_config"`
	}{}
	v := &c.Vision
	v.HiddenSize, v.Layers, v.Heads, v.Channels, v.PatchSize, v.ImageSize = 1024, 24, 16, 3, 16, 384
	v.Eps, v.HiddenAct, v.MLPRatio, v.Bias, v.Depth = 1e-6, "gelu", 4, true, 2
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	hidden := 0
	if v.MLPRatio > 0 && v.MLPRatio < 1<<10 {
		hidden = int(float64(v.HiddenSize) * v.MLPRatio)
	}
	if err := checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"mlp_ratio * hidden_size", hidden}, size{"num_attention_heads", v.Heads},
		size{"num_channels", v.Channels}, size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize}, size{"depth", v.Depth}); err != nil {
		return nil, err
	}
	if v.QKNorm {
		return nil, fmt.Errorf("config: vision_config.use_qk_norm is true; the original cannot run so: expected false")
	}
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err != nil {
		return nil, err
	}
	prefix, _ := im.prefixOf("aligner.fc1.weight", "", "model.")
	im.languageModel("language_model.*", "model.language_model.*", "lm_head.*")
	for _, part := range []string{"vqmodel", "generation_embeddings", "generation_aligner", "generation_head"} {
		im.Ignore(prefix+part+".*", "makes pictures of tokens, which is no encoder's work")
	}
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	pipe := &pipeline.Pipeline{}
	d := v.HiddenSize
	var x *graph.Node
	if im.HasAny(prefix + "vision_model.*") {
		if pipe.Image, err = im.classPipeline("JanusImageProcessor"); err != nil {
			return nil, err
		}
		image := [2]int{v.ImageSize, v.ImageSize}
		grid, err := block.Grid(image, [2]int{v.PatchSize, v.PatchSize}, image)
		if err != nil {
			return nil, err
		}
		x = block.Patches{Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize}.Apply(b, im.pixels(b, pipe.Image, v.Channels, image), "vision_model.embeddings.patch_embedding")
		x = b.Add(x, b.Parameter(graph.Position, "vision_model.embeddings.position_embedding.weight", grid[0]*grid[1], d))
		layer := block.CLIPLayer.Sized(d, v.Heads, hidden)
		layer.Norm.Eps, layer.MLP.Act = v.Eps, act
		a := &layer.Attention
		if a.Out.Stem = "self_attn.projection_layer"; !v.Bias {
			a.Q.Bias, a.K.Bias, a.V.Bias = block.Absent, block.Absent, block.Absent
		}
		tower := block.Transformer{Layer: layer, Stem: "vision_model.encoder.layers.%d", Layers: v.Layers, Norm: "vision_model.post_layernorm"}
		t := tower.Apply(b, x, block.With{}, block.With{})
		b.Name(t.Embeddings, "vision.embeddings")
		t.NameLayers(b, "vision.layer%d")
		x = b.Name(t.Last, "vision.last_hidden_state")
	} else if x, err = im.visionFeatures(b, d); err != nil {
		return nil, err
	}
	out := p.dim("aligner.fc1.weight", 0)
	x = b.Linear(x, "aligner.fc1", d, out)
	for i := range b.Layers(v.Depth - 1) {
		x = b.Linear(b.Act(x, act), fmt.Sprintf("aligner.hidden_layers.%d", i), out, out)
	}
	b.Output(x, graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}
