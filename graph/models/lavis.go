package models

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// What LAVIS and the projects that grew out of it share: EVA's ViT-g without its last layer (Fang et al., arXiv:2211.07636) or
// CLIP's ViT-L, the norm ln_vision and the Q-Former. Sources: salesforce/LAVIS lavis/models/{eva_vit,clip_vit}.py,
// blip2_models/blip2.py; Vision-CAIR/MiniGPT-4 minigpt4/models/{eva_vit,minigpt_base}.py; RenShuhuai-Andy/TimeChat
// timechat/models/{eva_vit,blip2}.py.

// lavisConfig is what a config.json may say beside checkpoints that are published without one: the projects keep sizes in code
// and YAML. Tensors give what it leaves out.
type lavisConfig struct {
	VisionModel string        `json:"vit_model"` // eva_clip_g or clip_L
	ViT         lavisViT      `json:"vit"`
	QFormer     qformerConfig `json:"qformer"`
	TextInput   *bool         `json:"qformer_text_input"`
}

// lavisViT are the options of the image encoder that no tensor shows, in an object or in the list [patch size, width, depth,
// heads, MLP ratio].
type lavisViT struct {
	Heads int `json:"num_heads"`
}

// UnmarshalJSON reads both forms.
func (v *lavisViT) UnmarshalJSON(raw []byte) error {
	var list []float64
	if json.Unmarshal(raw, &list) != nil {
		type object lavisViT
		return json.Unmarshal(raw, (*object)(v))
	}
	if len(list) != 5 {
		return fmt.Errorf("vit is a list of %d numbers; expected patch size, width, depth, heads and MLP ratio", len(list))
	}
	v.Heads = int(list[3])
	return nil
}

// lavisEncoder is an image encoder of LAVIS. Its class token and positions are those of its square grid of patches.
type lavisEncoder struct {
	Stem                           string // before all of the encoder's tensors, with a dot
	Patches, ClassToken, Positions string
	PatchBias                      block.Presence
	PreNorm                        string // stem of a norm before the layers; "" for none
	Layers                         string // stem of layer i, as a format
	Layer                          block.Layer
	HeadWidths                     map[int]int // of the releases, by width

	Image, Patch, Channels int
	Width, Depth, Heads    int
	Hidden                 int
}

// lavisEVA is eva_vit.py: biases of queries and values alone, no rotary positions, no norm behind the layers.
func lavisEVA() *lavisEncoder {
	e := &lavisEncoder{Stem: "visual_encoder.", Patches: "patch_embed.proj", ClassToken: "cls_token", Positions: "pos_embed", Layers: "blocks.%d",
		Layer: block.TimmLayer, HeadWidths: evaHeadWidths}
	e.Layer.Attention.QBias, e.Layer.Attention.VBias = "attn.q_bias", "attn.v_bias"
	return e
}

// lavisCLIP is clip_vit.py: the ViT-L of openai/CLIP without its last layer and the norm behind it.
func lavisCLIP() *lavisEncoder {
	return &lavisEncoder{Stem: "visual_encoder.", Patches: "conv1", PatchBias: block.Absent, ClassToken: "class_embedding", Positions: "positional_embedding",
		PreNorm: "ln_pre", Layers: "transformer.resblocks.%d", HeadWidths: map[int]int{1024: 64},
		Layer: block.Layer{Norm: block.Norm{Eps: 1e-5}, Self: block.Branch{Norm: "ln_1"}, Feed: block.Branch{Norm: "ln_2"},
			Attention: block.Attention{QKV: block.Projection{Stem: "attn.in_proj_"}, Q: block.Projection{Stem: "attn.q_proj"},
				K: block.Projection{Stem: "attn.k_proj"}, V: block.Projection{Stem: "attn.v_proj"}, Out: block.Projection{Stem: "attn.out_proj"}},
			MLP: block.MLP{Act: kernels.ActQuickGELU, FC1: block.Projection{Stem: "mlp.c_fc"}, FC2: block.Projection{Stem: "mlp.c_proj"}}}}
}

// sizes fills in what the tensors show, and the heads where they are not given: those of the releases of this width.
func (e *lavisEncoder) sizes(p *NamedParams) error {
	dim := func(name string, axis int) int { return p.dim(e.Stem+name, axis) }
	e.Width, e.Channels, e.Patch = dim(e.Patches+".weight", 0), dim(e.Patches+".weight", 1), dim(e.Patches+".weight", 3)
	e.Depth = p.layers(e.Stem + e.Layers + "." + e.Layer.Self.Norm + ".weight")
	e.Hidden = dim(fmt.Sprintf(e.Layers, 0)+"."+e.Layer.MLP.FC1.Stem+".weight", 0)
	rows := dim(e.Positions, 0) * max(dim(e.Positions, 1), 1) / max(e.Width, 1) // [1, N, width], or [N, width]
	if dim(e.Positions, 2) != 0 {
		rows = dim(e.Positions, 1)
	}
	if e.Image = block.SquareGrid(rows - 1)[0] * e.Patch; e.Image == 0 {
		return fmt.Errorf("tensor %s: %d positions are not those of a class token and a square grid", p.source(e.Stem+e.Positions), rows)
	}
	if e.Heads == 0 {
		if e.HeadWidths[e.Width] == 0 {
			return fmt.Errorf("config: vit.num_heads is missing, and no release has an encoder of %d channels", e.Width)
		}
		e.Heads = e.Width / e.HeadWidths[e.Width]
	}
	return nil
}

// lavisTower is what an image encoder computed.
type lavisTower struct {
	*block.Tower
	Patches *graph.Node // the tokens before positions and the class token
}

// build maps pixels [B, C, H, W] of that height and width to [B, 1 + patches, Width], the class token first.
func (e *lavisEncoder) build(b *graph.Builder, pixels *graph.Node, image [2]int) (*lavisTower, error) {
	err := checkSizes("vision_config", size{"image_size", e.Image}, size{"patch_size", e.Patch}, size{"num_channels", e.Channels},
		size{"hidden_size", e.Width}, size{"num_hidden_layers", e.Depth}, size{"num_attention_heads", e.Heads}, size{"intermediate_size", e.Hidden})
	if err != nil {
		return nil, err
	}
	grid, err := block.Grid(image, [2]int{e.Patch, e.Patch}, [2]int{e.Image, e.Image})
	if err != nil {
		return nil, err
	}
	patches := block.Patches{Projection: block.Projection{Stem: e.Patches, Bias: e.PatchBias}, Channels: e.Channels, Dim: e.Width, Height: e.Patch, Width: e.Patch}
	t := &lavisTower{Patches: patches.Apply(b, pixels, strings.TrimSuffix(e.Stem, "."))}
	x := b.Prepend(b.Parameter(graph.Position, e.Stem+e.ClassToken, 1, 1, e.Width), t.Patches)
	side := e.Image / e.Patch
	x = b.Add(x, block.Positions{Table: e.Stem + e.Positions, Before: 1, Stored: [2]int{side, side}, Grid: grid, Dim: e.Width}.Value(b))
	if e.PreNorm != "" {
		x = e.Layer.Norm.Apply(b, x, e.Stem+e.PreNorm, e.Width)
	}
	t.Tower = (&block.Transformer{Layer: e.Layer.Sized(e.Width, e.Heads, e.Hidden), Stem: e.Stem + e.Layers, Layers: e.Depth}).Apply(b, x, block.With{}, block.With{})
	return t, nil
}

// lavisModel is a model of LAVIS's kind up to its projector.
type lavisModel struct {
	*lavisConfig
	p     *NamedParams
	b     *graph.Builder
	image *pipeline.Image
	tower *lavisTower // nil where the encoder is not in the checkpoint
	// encoded is what the projector sees, behind ln_vision: [B, 1 + patches, width].
	encoded *graph.Node
	width   int
}

// lavis reads the configuration, into the project's own options if they are not nil too, and builds what comes before the
// projector. pixels adds the encoder's input [B, 3, H, W]; nil: as images have it.
func (im *Import) lavis(own any, pixels func(b *graph.Builder, image *pipeline.Image, channels int, size [2]int) *graph.Node) (*lavisModel, error) {
	m := &lavisModel{lavisConfig: new(lavisConfig), p: im.Params(nil, "")}
	m.b = graph.NewBuilder(m.p)
	m.QFormer = qformerOf(m.p, qformerStem)
	if len(im.config) > 0 {
		if err := im.Config(m.lavisConfig); err != nil {
			return nil, err
		}
		if own != nil {
			if err := im.Config(own); err != nil {
				return nil, err
			}
		}
	}
	normed := im.HasTensor("ln_vision.weight")
	if m.width = m.p.dim("ln_vision.weight", 0); !normed {
		m.width = m.QFormer.EncoderHidden
		im.Note("no tensor ln_vision.weight: the encoder's tokens are taken to have passed the norm")
	}
	if pixels == nil {
		pixels = im.pixels
	}
	x, err := m.encode(im, pixels)
	if err != nil {
		return nil, err
	}
	if m.encoded = x; normed {
		// The norm's epsilon is torch's, not the encoder's.
		m.encoded = m.b.LayerNorm(x, "ln_vision", m.width, 1e-5)
	}
	return m, nil
}

// encode builds the image encoder. Checkpoints of training hold what was trained, which the encoder often is not.
func (m *lavisModel) encode(im *Import, pixels func(b *graph.Builder, image *pipeline.Image, channels int, size [2]int) *graph.Node) (*graph.Node, error) {
	if !im.HasAny("visual_encoder.*") {
		return im.visionFeatures(m.b, m.width)
	}
	e := lavisEVA()
	if m.VisionModel == "clip_L" || m.VisionModel == "" && im.HasTensor("visual_encoder.conv1.weight") {
		e = lavisCLIP()
	}
	e.Heads = m.ViT.Heads
	if err := e.sizes(m.p); err != nil {
		return nil, err
	}
	target := im.imageSize([2]int{e.Image, e.Image})
	m.image = pipeline.ImageSquash(target[0], target[1], pipeline.CLIPMean, pipeline.CLIPStd)
	var err error
	if m.tower, err = e.build(m.b, pixels(m.b, m.image, e.Channels, target), target); err != nil {
		return nil, err
	}
	return m.tower.Last, nil
}

// queries returns the Q-Former and how many queries it has.
func (m *lavisModel) queries() (*qformer, int, error) {
	q, err := newQFormer(m.b, qformerStem, m.QFormer)
	return q, m.p.dim("query_tokens", 1), err
}
