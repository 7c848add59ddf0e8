package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// CogVLM (Wang et al., arXiv:2311.03079) and GLM-4V (GLM team, arXiv:2406.12793): EVA2-CLIP, whose norms stand behind the
// branches, and a gated projector, before which GLM-4V and CogVLM2 halve the map by a convolution. Sources: visual.py of
// THUDM/cogvlm-chat-hf, cogvlm2-llama3-chat-19B and glm-4v-9b; THUDM/CogVLM utils/models/cogvlm_model.py.

var _ = Register(&System{
	Name: "cogvlm", Title: "CogVLM", Row: 11,
	ModelTypes: []string{"cogvlm", "chatglm"},
	Namings: []Naming{
		{Name: "huggingface", Looked: "config.json with vision_config, tensors model.vision.linear_proj.* or transformer.vision.linear_proj.*", Recognise: func(im *Import) bool {
			return im.HasConfig("vision_config") && im.cogPrefix() != ""
		}},
		{Name: "sat", Looked: "tensors mixins.eva.linear_proj.*", Recognise: func(im *Import) bool {
			return im.HasTensor("mixins.eva.linear_proj.linear_proj.weight")
		}},
	},
	Build: buildCogVLM,
})

// cogPrefix returns what stands before the names of the vision part, "" if there is none.
func (im *Import) cogPrefix() string {
	for _, p := range []string{"model.vision.", "transformer.vision."} {
		if im.HasTensor(p + "linear_proj.linear_proj.weight") {
			return p
		}
	}
	return ""
}

// evaLayer is a layer of EVA2-CLIP-E: x + norm(attention(x)), x + norm(mlp(x)).
var evaLayer = block.Layer{
	Order: block.BranchNorm, Self: block.Branch{Norm: "input_layernorm"}, Feed: block.Branch{Norm: "post_attention_layernorm"},
	Attention: block.Attention{QKV: block.Projection{Stem: "attention.query_key_value"}, Q: block.Projection{Stem: "attention.q_proj"},
		K: block.Projection{Stem: "attention.k_proj"}, V: block.Projection{Stem: "attention.v_proj"}, Out: block.Projection{Stem: "attention.dense"}},
	MLP: block.MLP{FC1: block.Projection{Stem: "mlp.fc1"}, FC2: block.Projection{Stem: "mlp.fc2"}},
}

func buildCogVLM(im *Import) (*graph.Model, error) {
	prefix := im.cogPrefix()
	if im.Naming == "sat" {
		prefix = "mixins.eva."
		im.Ignore(prefix+"vit_model.*", "EVA2-CLIP, which is read in the naming of transformers only")
		im.Ignore(prefix+"boi", "stands before the tokens of an image, which EVA2-CLIP gives")
		im.Ignore(prefix+"eoi", "stands behind the tokens of an image, which EVA2-CLIP gives")
	}
	p := im.Params(nil, prefix)
	b := graph.NewBuilder(p)
	pipe := &pipeline.Pipeline{}
	glu := ""                // before the names of the projector's values
	var x, toMap *graph.Node // the features, and they as a map
	alone := !p.Has("patch_embedding.proj.weight")
	if alone {
		width := p.dim("linear_proj.linear_proj.weight", 1)
		if p.Has("conv.weight") {
			width = p.dim("conv.weight", 1)
		}
		x = visionFeatures(b, width)
		toMap = b.Op(graph.SquareGrid{}, nil, x)
	} else {
		var err error
		var rows int
		if pipe.Image, x, rows, err = cogTower(im, b, p); err != nil {
			return nil, err
		}
		toMap = b.Rearrange(x, "b (h w) c -> b h w c", "h", rows)
		glu = "glu."
	}
	if p.Has("conv.weight") {
		x = b.Conv(toMap, "conv", graph.ConvSpec{In: p.dim("conv.weight", 1), Out: p.dim("conv.weight", 0), KH: 2, KW: 2, Stride: [2]int{2, 2}})
		x = b.Rearrange(x, "b h w c -> b (h w) c")
	}
	in, out, hidden := p.dim("linear_proj.linear_proj.weight", 1), p.dim("linear_proj.linear_proj.weight", 0), p.dim("linear_proj.gate_proj.weight", 0)
	x = b.LinearNoBias(x, "linear_proj.linear_proj", in, out)
	x = b.Name(b.LayerNorm(x, "linear_proj.norm1", out, 1e-5), glu+"norm1")
	own := func(stem string) block.Projection { return block.Projection{Stem: stem, Bias: block.Absent} }
	mlp := block.MLP{Dim: out, Hidden: hidden, Act: kernels.ActSiLU, Gate: own("gate_proj"), FC1: own("dense_h_to_4h"), FC2: own("dense_4h_to_h")}
	x = mlp.Apply(b, b.Act(x, kernels.ActGELU), "linear_proj")
	if !alone {
		b.Name(x, "glu")
		var c struct {
			Vision struct {
				Scaling float64 `json:"scaling_factor"`
			} `json:"vision_config"`
		}
		if err := im.Config(&c); err != nil {
			return nil, err
		}
		end := func(name string) *graph.Node {
			return b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, name, 1, 1, out), x)
		}
		x = b.Concat(1, end("boi"), x, end("eoi"))
		if c.Vision.Scaling != 0 {
			x = b.Scale(x, float32(1/c.Vision.Scaling))
		}
	}
	// What is left is the language model's, whose layers have experts of their own for images.
	im.languageModel("model.embed_tokens.*", "model.layers.*", "model.norm.*", "lm_head.*", "transformer.embedding.*", "transformer.encoder.*",
		"transformer.output_layer.*", "transformer.rotary_pos_emb.*")
	if im.Naming == "sat" {
		im.languageModel("transformer.*", "mixins.*")
	}
	b.Output(x, graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// cogTower builds EVA2CLIPModel up to the patches' last state, and returns how many rows of patches there are.
func cogTower(im *Import, b *graph.Builder, p *NamedParams) (*pipeline.Image, *graph.Node, int, error) {
	c := struct {
		Vision struct {
			Heads int     `json:"num_heads"`
			Act   string  `json:"hidden_act"`
			Eps   float64 `json:"layer_norm_eps"`
		} `json:"vision_config"`
	}{}
	v := &c.Vision
	v.Heads, v.Act, v.Eps = 16, "gelu", 1e-6
	if err := im.Config(&c); err != nil {
		return nil, nil, 0, err
	}
	act, err := activation("hidden_act", v.Act)
	if err != nil {
		return nil, nil, 0, err
	}
	const proj, table = "patch_embedding.proj.weight", "patch_embedding.position_embedding.weight"
	width, channels, patch := p.dim(proj, 0), p.dim(proj, 1), p.dim(proj, 2)
	hidden := p.dim("transformer.layers.0.mlp.fc1.weight", 0)
	stored := block.SquareGrid(p.dim(table, 0) - 1)
	if err := checkSizes("vision_config", size{"num_heads", v.Heads}, size{"hidden_size", width}, size{"in_channels", channels}, size{"patch_size", patch},
		size{"num_positions", stored[0]}, size{"intermediate_size", hidden}); err != nil {
		return nil, nil, 0, err
	}
	trained := [2]int{stored[0] * patch, stored[1] * patch}
	image, err := im.imagePipeline(pipeline.ImageSquash(trained[0], trained[1], pipeline.CLIPMean, pipeline.CLIPStd))
	if err != nil {
		return nil, nil, 0, err
	}
	s := im.imageSize(trained)
	grid, err := block.Grid(s, [2]int{patch, patch}, trained)
	if err != nil {
		return nil, nil, 0, err
	}
	x := block.Patches{Projection: block.Projection{Stem: "proj"}, Channels: channels, Dim: width, Height: patch, Width: patch}.
		Apply(b, im.pixels(b, image, channels, s), "patch_embedding")
	x = b.Prepend(b.Rearrange(b.Parameter(graph.Position, "patch_embedding.cls_embedding", 1, width), "n d -> 1 n d"), x)
	x = b.Add(x, block.Positions{Table: table, Before: 1, Stored: stored, Grid: grid, Dim: width}.Value(b))
	layer := evaLayer.Sized(width, v.Heads, hidden)
	layer.Norm.Eps, layer.MLP.Act = v.Eps, act
	depth := im.Count(fmt.Sprintf("%stransformer.layers.#.input_layernorm.weight", p.prefix))
	tower := (&block.Transformer{Layer: layer, Stem: "transformer.layers.%d", Layers: depth}).Apply(b, b.Name(x, "embeddings"), block.With{}, block.With{})
	tower.NameLayers(b, "layer%d")
	return image, b.Slice(tower.Last, 1, 1, 0), grid[0], nil
}
