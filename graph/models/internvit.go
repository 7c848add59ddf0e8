package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// InternVL 1.5: How Far Are We to GPT-4V? (Chen et al., arXiv:2404.16821): InternViT, whose patches are put together by
// fours and projected to the language model's width. Source: OpenGVLab/InternVL internvl_chat/internvl/model/internvl_chat/
// {modeling_intern_vit,modeling_internvl_chat}.py.

var _ = Register(&System{
	Name: "internvl", Title: "InternVL pixel-shuffle projector + InternViT", Row: 9,
	ModelTypes: []string{"internvl_chat", "intern_vit_6b"},
	Namings: []Naming{
		{Name: "opengvlab", Looked: "config.json with model_type internvl_chat, tensors vision_model.embeddings.* and mlp1.*", Recognise: func(im *Import) bool {
			return im.HasTensor("vision_model.embeddings.class_embedding") && im.HasTensor("mlp1.1.weight") && im.HasConfig("vision_config")
		}},
		{Name: "vision", Looked: "config.json with model_type intern_vit_6b, tensors embeddings.class_embedding and encoder.layers.#.attn.qkv.weight", Recognise: func(im *Import) bool {
			return im.HasTensor("embeddings.class_embedding") && im.HasAny("encoder.layers.#.attn.qkv.weight") && im.HasAny("encoder.layers.#.ls1")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		if im.Naming == "vision" {
			return buildInternViT(im)
		}
		return buildInternVL(im)
	},
})

// internVision is a vision_config of InternVL.
type internVision struct {
	Heads     int     `json:"num_attention_heads"`
	ImageSize int     `json:"image_size"`
	HiddenAct string  `json:"hidden_act"`
	Eps       float64 `json:"layer_norm_eps"`
}

func defaultInternVision() internVision {
	return internVision{Heads: 25, ImageSize: 224, HiddenAct: "gelu", Eps: 1e-6}
}

// internNames translates timm's names to InternViT's, which stand behind a prefix.
func internNames(prefix string) Names {
	return Names{
		{"patch_embed.proj.*", prefix + "embeddings.patch_embedding.*"},
		{"cls_token", prefix + "embeddings.class_embedding"},
		{"pos_embed", prefix + "embeddings.position_embedding"},
		{"blocks.#.ls#.gamma", prefix + "encoder.layers.#.ls#"},
		{"blocks.#.*", prefix + "encoder.layers.#.*"},
	}
}

// tower returns the vision transformer.
func (v *internVision) tower(b *graph.Builder, p *NamedParams) (*vitTower, error) {
	args := defaultViT(familyViT)
	args.EmbedDim, args.NumHeads, args.NormEps, args.ActLayer = p.dim("patch_embed.proj.weight", 0), v.Heads, v.Eps, v.HiddenAct
	args.ImgSize, args.positions = pair{v.ImageSize, v.ImageSize}, block.PlainBicubic
	return newViTTower(b, p, args)
}

// nameInternViT names the states of a tower.
func (v *vitValues) nameInternViT(b *graph.Builder) {
	b.Name(v.Embeddings, "embeddings")
	for i, x := range v.Attended {
		b.Namef(x, "layer%d.attn", i)
		b.Namef(v.Hidden[i+1], "layer%d", i)
	}
}

func buildInternViT(im *Import) (*graph.Model, error) {
	v := defaultInternVision()
	if err := im.Config(&v); err != nil {
		return nil, err
	}
	p := im.Params(internNames(""), "")
	b := graph.NewBuilder(p)
	t, err := v.tower(b, p)
	if err != nil {
		return nil, err
	}
	image, err := im.imagePipeline(pipeline.ImageInternVL(v.ImageSize, 1, 1, false))
	if err != nil {
		return nil, err
	}
	size := im.imageSize(t.image)
	x := t.encoder(im.pixels(b, image, t.channels, size), size)
	x.nameInternViT(b)
	b.Output(x.Last, graph.Vision, "last_hidden_state")
	b.Output(b.Token(x.Last, 0), graph.Vision, "pooler_output")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

func buildInternVL(im *Import) (*graph.Model, error) {
	c := struct {
		Vision     internVision `json:"vision_config"`
		Ratio      float64      `json:"downsample_ratio"`
		Version    string       `json:"ps_version"`
		Layer      int          `json:"select_layer"`
		ForceSize  int          `json:"force_image_size"`
		Dynamic    bool         `json:"dynamic_image_size"`
		Thumbnail  bool         `json:"use_thumbnail"`
		MinPatches int          `json:"min_dynamic_patch"`
		MaxPatches int          `json:"max_dynamic_patch"`
	}{Vision: defaultInternVision(), Ratio: 0.5, Version: "v1", Layer: -1, MinPatches: 1, MaxPatches: 6}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if !(c.Ratio > 0 && c.Ratio <= 1) || float64(int(1/c.Ratio)) != 1/c.Ratio {
		return nil, fmt.Errorf("config: downsample_ratio is %v; expected 1, 1/2, 1/3, …", c.Ratio)
	}
	im.languageModel("language_model.*")
	p := im.Params(append(Names{{"mlp1.*", "mlp1.*"}}, internNames("vision_model.")...), "")
	b := graph.NewBuilder(p)
	t, err := c.Vision.tower(b, p)
	if err != nil {
		return nil, err
	}
	if c.ForceSize != 0 {
		t.image = [2]int{c.ForceSize, c.ForceSize}
	}
	size := im.imageSize(t.image)
	most := 1
	if c.Dynamic {
		most = c.MaxPatches
	}
	image := pipeline.ImageInternVL(size[0], c.MinPatches, most, c.Thumbnail)
	if err := image.Check(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	tower := t.encoder(im.pixels(b, image, t.channels, size), size)
	tower.nameInternViT(b)
	if c.Layer < -t.depth-1 || c.Layer > t.depth {
		return nil, fmt.Errorf("config: select_layer is %d, and there are %d layers", c.Layer, t.depth)
	}
	x := tower.State(b, c.Layer) // counts the states, of which the first is the embeddings
	r := int(1 / c.Ratio)
	grid := [2]int{size[0] / t.patch[0], size[1] / t.patch[1]}
	if grid[0]%r != 0 || grid[1]%r != 0 {
		return nil, fmt.Errorf("config: downsample_ratio is %v, which does not divide the grid of %d x %d patches", c.Ratio, grid[0], grid[1])
	}
	pattern := "n (y v x u) c -> n y x (v u c)"
	if c.Version == "v1" {
		// The first version leaves rows and columns exchanged.
		pattern = "n (y v x u) c -> n x y (v u c)"
	}
	x = b.Rearrange(b.Slice(x, 1, 1, 0), pattern, "y", grid[0]/r, "x", grid[1]/r, "v", r, "u", r)
	b.Name(x, "pixel_shuffled")
	wide, out := t.width*r*r, p.dim("mlp1.1.weight", 0)
	x = b.Name(b.LayerNorm(b.Rearrange(x, "n y x c -> n (y x) c"), "mlp1.0", wide, 1e-5), "mlp1.norm")
	x = b.Act(b.Linear(x, "mlp1.1", wide, out), kernels.ActGELU)
	b.Output(b.Linear(x, "mlp1.3", out, out), graph.Projector, "visual_tokens")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
