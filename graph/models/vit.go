package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
)

// Vision transformers in timm's naming: An Image is Worth 16x16 Words (Dosovitskiy et al., arXiv:2010.11929), and ALBEF's
// image encoder (Li et al., arXiv:2107.07651). Sources: huggingface/pytorch-image-models timm/models/vision_transformer.py;
// salesforce/ALBEF models/{vit,model_pretrain}.py.

var _ = Register(&System{
	Name: "vit", Title: "ViT, alone or as ALBEF's image encoder",
	Namings: []Naming{
		{Name: "timm", Looked: "config.json with an architecture of timm's vision_transformer.py, tensors blocks.#.attn.qkv.weight", Recognise: func(im *Import) bool {
			return im.HasTensor("patch_embed.proj.weight") && timmFamily(im.timmArchitecture()) == familyViT
		}},
		{Name: "open_clip", Looked: "open_clip_config.json that names an architecture of timm's vision_transformer.py, tensors visual.trunk.*", Recognise: func(im *Import) bool {
			return im.HasTensor("visual.trunk.patch_embed.proj.weight") && timmFamily(im.timmTrunk()) == familyViT
		}},
		{Name: "albef", Looked: "tensors visual_encoder.blocks.#.attn.qkv.weight", Recognise: func(im *Import) bool {
			return im.HasTensor("visual_encoder.patch_embed.proj.weight") && im.HasTensor("visual_encoder.blocks.0.attn.qkv.weight")
		}},
	},
	Build: func(im *Import) (*graph.Model, error) {
		switch im.Naming {
		case "albef":
			return buildALBEFVision(im)
		case "open_clip":
			return buildTrunkCLIP(im)
		}
		return buildTimmViT(im)
	},
})

// albefVision are the options of ALBEF's image encoder; the release keeps them in code and YAML.
type albefVision struct {
	ImageRes    int `json:"image_res"`
	VisionWidth int `json:"vision_width"`
	NumHeads    int `json:"num_heads"` // 0: as many as make heads of 64 channels, of which ViT-B has 12
	EmbedDim    int `json:"embed_dim"`
}

// newALBEFVision returns the tower of the tensors behind visual_encoder, through whose table the builder reads.
func newALBEFVision(im *Import, b *graph.Builder, p *NamedParams) (*vitTower, error) {
	c := albefVision{}
	if len(im.config) > 0 {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	}
	args := defaultViT(familyViT)
	args.EmbedDim = p.dim("patch_embed.proj.weight", 0)
	if args.NumHeads = c.NumHeads; args.NumHeads == 0 {
		args.NumHeads = max(args.EmbedDim/64, 1)
	}
	args.ImgSize = pair{c.ImageRes, c.ImageRes}
	// interpolate_pos_embed in models/vit.py
	args.positions = block.PlainBicubic
	return newViTTower(b, p, args)
}

func buildALBEFVision(im *Import) (*graph.Model, error) {
	im.Ignore("visual_encoder_m.*", "the momentum encoder of training")
	im.Ignore("vision_proj_m.*", "the momentum encoder of training")
	for _, name := range []string{"image_queue", "text_queue", "queue_ptr", "temp"} {
		im.Ignore(name, "compares images with texts, and there is no text encoder")
	}
	p := im.Params(Names{{"vision_proj.*", "vision_proj.*"}, {"*", "visual_encoder.*"}}, "")
	b := graph.NewBuilder(p)
	t, err := newALBEFVision(im, b, p)
	if err != nil {
		return nil, err
	}
	size := im.imageSize(t.image)
	image, err := im.imagePipeline(pipeline.ImageSquash(size[0], size[1], pipeline.CLIPMean, pipeline.CLIPStd))
	if err != nil {
		return nil, err
	}
	tower := t.tower(im.pixels(b, image, t.channels, size), size)
	tower.NameStates(b, "hidden_state.%d")
	b.Output(tower.Last, graph.Vision, "image_embeds")
	if t.has("vision_proj.weight") {
		x := b.Name(b.LinearIf(t.has("vision_proj.bias"), tower.Pooled, "vision_proj", t.width, t.dim("vision_proj.weight", 0)), "image_feat_raw")
		b.Output(b.L2Norm(x, 1e-12), graph.Vision, "image_feat")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}
