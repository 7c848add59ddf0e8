package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// FastVLM: Efficient Vision Encoding for Vision Language Models (Vasu et al., arXiv:2412.13303): FastViTHD and a projector of two
// layers. Sources: huggingface/transformers models/fast_vlm/modeling_fast_vlm.py; huggingface/pytorch-image-models
// timm/models/fastvit.py.

var _ = Register(&System{
	Name: "fast-vlm", Title: "FastVLM",
	ModelTypes: []string{"fast_vlm"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type fast_vlm, tensors vision_tower.timm_model.stem.#.*", Recognise: func(im *Import) bool {
		_, ok := im.fastVLMRoot()
		return im.ModelType() == "fast_vlm" && ok
	}}},
	Build: buildFastVLM,
})

// fastVLMRoot is what stands before the names of the tower and the projector.
func (im *Import) fastVLMRoot() (string, bool) {
	return im.prefixOf("vision_tower.timm_model.final_conv.reparam_conv.weight", "model.", "")
}

func buildFastVLM(im *Import) (*graph.Model, error) {
	var c struct {
		Act    string `json:"projector_hidden_act"`
		Vision struct {
			Architecture string `json:"architecture"`
		} `json:"vision_config"`
		Select string `json:"vision_feature_select_strategy"`
		Layer  any    `json:"vision_feature_layer"`
	}
	c.Act = "gelu"
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if c.Layer != nil && c.Layer != -1.0 || c.Select != "" && c.Select != "full" {
		return nil, fmt.Errorf("config: vision_feature_layer is %v and vision_feature_select_strategy %q; expected -1 and full, as the original demands", c.Layer, c.Select)
	}
	act, err := activation("projector_hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	image, err := im.imagePipeline(pipeline.ImageSquash(1024, 1024, nil, nil))
	if err != nil {
		return nil, err
	}
	root, _ := im.fastVLMRoot()
	im.languageModel(root+"language_model.*", "lm_head.*", "language_model.*")
	im.Ignore("*.num_batches_tracked", "a counter of training")
	p := im.Params(Names{{"multi_modal_projector.*", root + "multi_modal_projector.*"}, {"*", root + "vision_tower.timm_model.*"}}, "")
	b := graph.NewBuilder(p)
	size := im.imageSize([2]int(trainedSize(image, pair{1024, 1024})))
	net := block.FastViT{Channels: p.dim("stem.0.reparam_conv.weight", 1), Stages: p.layers("stages.%d.blocks.0.mlp.fc1.weight"), HeadDim: 32, Eps: 1e-5,
		Height: size[0], Width: size[1], Dim: p.dim}
	if net.Channels < 1 || net.Stages < 1 {
		return nil, fmt.Errorf("tensor %s: missing; expected FastViT in timm's names with its branches folded", p.source("stem.0.reparam_conv.weight"))
	}
	if c.Vision.Architecture != "" && c.Vision.Architecture != "fastvit_mci3" && c.Vision.Architecture != "fastvit_mci4" {
		im.Note("config: vision_config.architecture is %q, read as fastvit_mci3", c.Vision.Architecture)
	}
	stem, stages, x := net.Apply(b, b.Rearrange(im.pixels(b, image, net.Channels, size), "b c h w -> b h w c"), "")
	name := func(x *graph.Node, name string) { b.Name(b.Rearrange(x, "b h w c -> b c h w"), name) }
	name(stem, "vision.stem")
	for i, s := range stages {
		name(s, fmt.Sprintf("vision.stage%d", i))
	}
	name(x, "vision.last_hidden_state")
	in, out := p.dim("final_conv.reparam_conv.weight", 0), p.dim("multi_modal_projector.linear_1.weight", 0)
	projected := p.dim("multi_modal_projector.linear_2.weight", 0)
	bias := p.Has("multi_modal_projector.linear_1.bias")
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	x = b.Act(b.LinearIf(bias, x, "multi_modal_projector.linear_1", in, out), act)
	b.Output(b.LinearIf(bias, x, "multi_modal_projector.linear_2", out, projected), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
