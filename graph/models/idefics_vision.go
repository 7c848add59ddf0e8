package models

import (
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
)

// ideficsVision is the vision tower of Idefics2, Idefics3 and SmolVLM, a vision_config: SigLIP's, for pictures of any size, whose
// patches have positions by the fraction of the picture that they lie at. Sources: huggingface/transformers
// models/idefics2/modeling_idefics2.py, models/idefics3/modeling_idefics3.py, models/smolvlm/modeling_smolvlm.py.
type ideficsVision struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        int     `json:"image_size"`
	PatchSize        int     `json:"patch_size"`
	HiddenAct        string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
}

// ideficsTower is a vision tower as it is built.
type ideficsTower struct {
	*block.Tower
	Mask      *graph.Node // 1 for patches with pixels of the picture, [M, patches]
	Positions *graph.Node // in the table, [M, patches]
}

// ideficsPixels adds the inputs of pictures that share a batch: [M, C, H, W], and the mask [M, H, W] of what is not padding. The
// feeder of samples fills them.
func ideficsPixels(b *graph.Builder, channels int) (pixels, mask *graph.Node) {
	return maskedPixels(b, "real_pixel_values", "real_pixel_mask", channels)
}

// maskedPixels adds inputs of those names: pictures [M, C, H, W] that are padded to one size, and the mask [M, H, W] of what is not
// padding, which is all of it where none is given.
func maskedPixels(b *graph.Builder, values, mask string, channels int) (*graph.Node, *graph.Node) {
	pixels := b.Input(values, -1, channels, -3, -4)
	whole := b.Op(graph.FillLike{Value: 1}, nil, b.Rearrange(b.Slice(pixels, 1, 0, 1), "b 1 h w -> b h w"))
	return pixels, b.InputOr(mask, whole, -1, -3, -4)
}

// build maps pixels [M, C, H, W] with a mask [M, H, W] to [M, patches, HiddenSize], behind the last norm. at is where the tower's
// tensors stand, "vision_model".
func (v *ideficsVision) build(b *graph.Builder, pixels, mask *graph.Node, at string) (*ideficsTower, error) {
	act, err := activation("vision_config.hidden_act", v.HiddenAct)
	if err == nil {
		err = checkSizes("vision_config", size{"hidden_size", v.HiddenSize}, size{"intermediate_size", v.IntermediateSize}, size{"num_attention_heads", v.Heads},
			size{"num_channels", v.Channels}, size{"image_size", v.ImageSize}, size{"patch_size", v.PatchSize})
	}
	if err != nil {
		return nil, err
	}
	d, side := v.HiddenSize, v.ImageSize/v.PatchSize
	patches := block.Patches{Projection: block.Projection{Stem: "patch_embedding"}, Channels: v.Channels, Dim: d, Height: v.PatchSize, Width: v.PatchSize}
	x := patches.Apply(b, pixels, at+".embeddings")
	seen := b.Op(graph.PatchMask{Size: v.PatchSize}, nil, mask)
	t := &ideficsTower{Mask: b.Rearrange(seen, "b h w -> b (h w)"), Positions: b.Op(graph.FractionalPositions{Side: side}, nil, seen)}
	x = b.Add(x, b.Embedding(t.Positions, at+".embeddings.position_embedding", side*side, d))

	layer := block.CLIPLayer.Sized(d, v.Heads, v.IntermediateSize)
	layer.Norm.Eps, layer.MLP.Act = v.Eps, act
	tower := block.Transformer{Layer: layer, Stem: at + ".encoder.layers.%d", Layers: v.Layers, Norm: at + ".post_layernorm"}
	t.Tower = tower.Apply(b, x, block.With{Bias: block.HideKeys(b, t.Mask)}, block.With{})
	return t, nil
}
