package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// AST: Audio Spectrogram Transformer (Gong et al., arXiv:2104.01778): a DeiT over overlapping patches of a Kaldi spectrogram. Source:
// huggingface/transformers models/audio_spectrogram_transformer/modeling_audio_spectrogram_transformer.py.

var _ = Register(&System{
	Name: "ast", Title: "Audio Spectrogram Transformer",
	ModelTypes: []string{"audio-spectrogram-transformer"},
	Namings: []Naming{{Name: "huggingface", Looked: "config.json with model_type audio-spectrogram-transformer", Recognise: func(im *Import) bool {
		return im.ModelType() == "audio-spectrogram-transformer"
	}}},
	Build: buildAST,
})

type astConfig struct {
	Dim             int     `json:"hidden_size"`
	Layers          int     `json:"num_hidden_layers"`
	Heads           int     `json:"num_attention_heads"`
	Hidden          int     `json:"intermediate_size"`
	Act             string  `json:"hidden_act"`
	Eps             float64 `json:"layer_norm_eps"`
	PatchSize       int     `json:"patch_size"`
	QKVBias         bool    `json:"qkv_bias"`
	FrequencyStride int     `json:"frequency_stride"`
	TimeStride      int     `json:"time_stride"`
	Frames          int     `json:"max_length"`
	Bins            int     `json:"num_mel_bins"`
}

// vitLayer is a layer in the names of transformers' ViT, DeiT and their kin, up to version 5.
func vitLayer(dim, heads, hidden int, eps float64, act kernels.Activation, qkvBias bool) block.Layer {
	bias := block.Required
	if !qkvBias {
		bias = block.Absent
	}
	l := block.Layer{
		Norm: block.Norm{Eps: eps}, Self: block.Branch{Norm: "layernorm_before"}, Feed: block.Branch{Norm: "layernorm_after"},
		Attention: block.Attention{Q: block.Projection{Stem: "attention.attention.query", Bias: bias}, K: block.Projection{Stem: "attention.attention.key", Bias: bias},
			V: block.Projection{Stem: "attention.attention.value", Bias: bias}, Out: block.Projection{Stem: "attention.output.dense"}},
		MLP: block.MLP{Act: act, FC1: block.Projection{Stem: "intermediate.dense"}, FC2: block.Projection{Stem: "output.dense"}},
	}
	return l.Sized(dim, heads, hidden)
}

func buildAST(im *Import) (*graph.Model, error) {
	c := astConfig{Dim: 768, Layers: 12, Heads: 12, Hidden: 3072, Act: "gelu", Eps: 1e-12, PatchSize: 16, QKVBias: true, FrequencyStride: 10, TimeStride: 10,
		Frames: 1024, Bins: 128}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if err := checkSizes("config", size{"hidden_size", c.Dim}, size{"num_attention_heads", c.Heads}, size{"intermediate_size", c.Hidden}, size{"patch_size", c.PatchSize},
		size{"frequency_stride", c.FrequencyStride}, size{"time_stride", c.TimeStride}, size{"max_length", c.Frames}, size{"num_mel_bins", c.Bins}); err != nil {
		return nil, err
	}
	if c.Frames < c.PatchSize || c.Bins < c.PatchSize {
		return nil, fmt.Errorf("config: %d frames of %d bins hold no patch of %d", c.Frames, c.Bins, c.PatchSize)
	}
	act, err := activation("hidden_act", c.Act)
	if err != nil {
		return nil, err
	}
	audio, err := im.audioPipeline("ASTFeatureExtractor", nil)
	if err != nil {
		return nil, err
	}
	if audio == nil {
		if audio, err = pipeline.ParseAudioExtractor(fmt.Appendf(nil, `{"num_mel_bins": %d, "max_length": %d}`, c.Bins, c.Frames), "ASTFeatureExtractor"); err != nil {
			return nil, err
		}
	}
	prefix, _ := im.prefixOf("embeddings.cls_token", "", "audio_spectrogram_transformer.")
	b := graph.NewBuilder(im.Params(Names{{"classifier.*", "classifier.*"}, {"*", prefix + "*"}}, ""))

	x := b.Rearrange(b.Input("input_values", -1, c.Frames, c.Bins), "b t f -> b f t 1")
	x = b.Conv(x, "embeddings.patch_embeddings.projection", graph.ConvSpec{In: 1, Out: c.Dim, KH: c.PatchSize, KW: c.PatchSize,
		Stride: [2]int{c.FrequencyStride, c.TimeStride}})
	x = b.Rearrange(x, "b f t c -> b (f t) c")
	patches := ((c.Bins-c.PatchSize)/c.FrequencyStride + 1) * ((c.Frames-c.PatchSize)/c.TimeStride + 1)
	x = b.Prepend(b.Concat(1, b.Parameter(graph.Position, "embeddings.cls_token", 1, 1, c.Dim), b.Parameter(graph.Position, "embeddings.distillation_token", 1, 1, c.Dim)), x)
	x = b.Name(b.Add(x, b.Parameter(graph.Position, "embeddings.position_embeddings", 1, patches+2, c.Dim)), "embeddings")
	t := (&block.Transformer{Layer: vitLayer(c.Dim, c.Heads, c.Hidden, c.Eps, act, c.QKVBias), Stem: "encoder.layer.%d", Layers: c.Layers, Norm: "layernorm"}).
		Apply(b, x, block.With{}, block.With{})
	t.NameLayers(b, "layer%d")
	b.Output(t.Last, graph.Audio, "last_hidden_state")
	pooled := b.Scale(b.Add(b.Token(t.Last, 0), b.Token(t.Last, 1)), 0.5)
	b.Output(pooled, graph.Audio, "pooler_output")
	p := &pipeline.Pipeline{Audio: audio}
	if b.Params.Has("classifier.dense.weight") {
		classes := im.Dim("classifier.dense.weight", 0)
		b.Output(b.Linear(b.LayerNorm(pooled, "classifier.layernorm", c.Dim, c.Eps), "classifier.dense", c.Dim, classes), graph.Audio, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}
