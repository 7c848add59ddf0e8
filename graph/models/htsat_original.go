package models

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/kernels"
)

// The towers of the original projects, whose names differ from transformers' and whose sizes are kept in code.

// htsatFromTensors reads from the tensors' shapes what they tell, for projects that keep their sizes in code. stem is the
// tower's prefix.
func (im *Import) htsatFromTensors(stem string) *htsat {
	h := &htsat{SpecSize: 256, Window: 8, MLPRatio: 4, QKVBias: true, Eps: 1e-5, Act: kernels.ActGELU, PatchNorm: true, FusionReduction: 4, InChannels: 1}
	h.MelBins = im.Dim(stem+"bn0.weight", 0)
	h.Dim = im.Dim(stem+"patch_embed.proj.weight", 0)
	h.Patch = [2]int{im.Dim(stem+"patch_embed.proj.weight", 2), im.Dim(stem+"patch_embed.proj.weight", 3)}
	h.Stride = h.Patch
	for i := range im.Count(stem + "layers.#.blocks.0.norm1.weight") {
		h.Depths = append(h.Depths, im.Count(fmt.Sprintf("%slayers.%d.blocks.#.norm1.weight", stem, i)))
		table := fmt.Sprintf("%slayers.%d.blocks.0.attn.relative_position_bias_table", stem, i)
		h.Heads = append(h.Heads, im.Dim(table, 1))
		if i == 0 {
			h.Window = int(math.Round(math.Sqrt(float64(im.Dim(table, 0))))+1) / 2
		}
	}
	if hidden := im.Dim(stem+"layers.0.blocks.0.mlp.fc1.weight", 0); h.Dim > 0 {
		h.MLPRatio = float64(hidden) / float64(h.Dim)
	}
	switch {
	case im.HasTensor(stem + "mel_conv1d.0.weight"):
		h.Fusion = fusionOf(im, stem+"fusion_model", "_1d")
	case im.HasTensor(stem + "patch_embed.mel_conv2d.weight"):
		h.Fusion = fusionOf(im, stem+"patch_embed.fusion_model", "_2d")
	case im.Dim(stem+"patch_embed.proj.weight", 1) == 4:
		h.Fusion = "channel_map"
	}
	return h
}

func fusionOf(im *Import, stem, kind string) string {
	switch {
	case im.HasAny(stem + ".local_att2.*"):
		return "iaff" + kind
	case im.HasAny(stem + ".local_att.*"):
		return "aff" + kind
	}
	return "daf" + kind
}

// fusions are the ways to fuse that are known.
var fusions = []string{"daf_1d", "aff_1d", "iaff_1d", "daf_2d", "aff_2d", "iaff_2d", "channel_map"}

func knownFusion(name string) error {
	if slices.Contains(fusions, name) {
		return nil
	}
	return fmt.Errorf("config: fusion_type is %q; expected one of %v", name, fusions)
}

// htsatNames translates transformers' names of the tower to those of the original projects.
func htsatNames(stem string) Names {
	return Names{
		{audioEncoder + "batch_norm.*", stem + "bn0.*"},
		{audioEncoder + "layers.#.blocks.#.layernorm_before.*", stem + "layers.#.blocks.#.norm1.*"},
		{audioEncoder + "layers.#.blocks.#.layernorm_after.*", stem + "layers.#.blocks.#.norm2.*"},
		{audioEncoder + "layers.#.blocks.#.attention.self.query.*", stem + "layers.#.blocks.#.attn.qkv.*[0/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.key.*", stem + "layers.#.blocks.#.attn.qkv.*[1/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.value.*", stem + "layers.#.blocks.#.attn.qkv.*[2/3]"},
		{audioEncoder + "layers.#.blocks.#.attention.self.relative_position_bias_table", stem + "layers.#.blocks.#.attn.relative_position_bias_table"},
		{audioEncoder + "layers.#.blocks.#.attention.output.dense.*", stem + "layers.#.blocks.#.attn.proj.*"},
		{audioEncoder + "layers.#.blocks.#.intermediate.dense.*", stem + "layers.#.blocks.#.mlp.fc1.*"},
		{audioEncoder + "layers.#.blocks.#.output.dense.*", stem + "layers.#.blocks.#.mlp.fc2.*"},
		{audioEncoder + "*", stem + "*"},
	}
}

// ignoreHTSAT leaves out what the original projects store beside the weights that are used.
func (im *Import) ignoreHTSAT(stem string) {
	im.Ignore(stem+"*.relative_position_index", "a buffer that the window gives")
	im.Ignore(stem+"*.attn_mask", "a buffer that the window gives")
	im.Ignore(stem+"tscam_conv.*", "the head of audio tagging")
	im.Ignore(stem+"head.*", "the head of audio tagging")
	im.Ignore(stem+"*fusion_model.global_att2.*", "a part of iAFF that the original does not use")
	im.Ignore("*.num_batches_tracked", "a counter of training")
}
