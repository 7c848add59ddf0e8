package models

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// microsoftConfig is the YAML of microsoft/CLAP (msclap/configs) as JSON; sizes of the towers that the project keeps in code
// are read from the tensors.
type microsoftConfig struct {
	TextModel string `json:"text_model"`
	TextLen   int    `json:"text_len"`
	Rate      int    `json:"sampling_rate"`
	Duration  int    `json:"duration"`
	Hop       int    `json:"hop_size"`
	FFT       int    `json:"window_size"`
	HTSAT     struct {
		SpecSize int             `json:"spec_size"`
		Stride   json.RawMessage `json:"patch_stride"`
	} `json:"htsat"`
	HTSATConfig struct {
		Hop int `json:"hop_size"`
	} `json:"htsat_config"`
	Text json.RawMessage `json:"text_config"`
}

func buildMicrosoftCLAP(im *Import) (*graph.Model, error) {
	const base, caption = "audio_encoder.base.", "caption_encoder.base."
	isHTSAT := im.HasTensor(base + "htsat.patch_embed.proj.weight")
	isGPT := im.HasTensor(caption + "wte.weight")
	c := microsoftConfig{TextLen: 100, Rate: 44100, Duration: 5, Hop: 320}
	c.HTSAT.SpecSize = 256
	if isHTSAT {
		c.Duration = 7
	}
	if isGPT {
		c.TextLen = 77
	}
	if im.HasConfig("sampling_rate") {
		if err := im.Config(&c); err != nil {
			return nil, err
		}
	} else {
		im.Note("no config.json: rates and lengths are those of the published models")
	}
	audio := pipeline.MicrosoftCLAPAudio(c.Rate, c.Duration)
	if err := audio.Check(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	stem := base
	if isHTSAT {
		stem += "htsat."
		if c.HTSATConfig.Hop != 0 {
			c.Hop = c.HTSATConfig.Hop // the tower has its own, of the rate that it was trained at
		}
	}
	if err := checkSizes("config", size{"hop_size", c.Hop}, size{"samples of a clip", audio.Samples}); err != nil {
		return nil, err
	}
	fft := im.Dim(stem+"spectrogram_extractor.stft.conv_real.weight", 2)
	bins := im.Dim(stem+"bn0.weight", 0)
	im.Ignore("*.num_batches_tracked", "a counter of training")
	im.Ignore(base+"fc_audioset.*", "the head of audio tagging")
	im.Ignore(caption+"embeddings.position_ids", "a buffer of consecutive numbers")
	im.Ignore(caption+"pooler.*", "the pooler, whose output is not used")
	im.Ignore(caption+"h.#.attn.bias", "the causal mask, which the architecture gives")
	im.Ignore(caption+"h.#.attn.masked_bias", "a constant of the causal mask")
	b := graph.NewBuilder(im.Params(htsatNames(stem), ""))
	p := &pipeline.Pipeline{Audio: audio, Task: &pipeline.Task{Kind: "contrastive", Query: "audio_embeds", Key: "text_embeds"}}
	wave := b.Input("waveform", -1, audio.Samples)
	var x *graph.Node
	var width int
	if isHTSAT {
		h := im.htsatFromTensors(stem)
		h.SpecSize, h.Frames = c.HTSAT.SpecSize, audio.Samples/c.Hop+1
		var err error
		if h.Stride, err = sidesOf(c.HTSAT.Stride, "patch_stride", h.Patch[0]); err != nil {
			return nil, err
		}
		if err := h.check(); err != nil {
			return nil, err
		}
		im.ignoreHTSAT(stem)
		x = h.build(b, logMel(b, wave, audioEncoder, fft, c.Hop, bins), nil)
		width = h.features()
	} else {
		tower := im.cnn14FromTensors(base)
		x = tower.build(b, logMel(b, wave, base, fft, c.Hop, bins), base)
		width = tower.Out
	}
	out := im.Dim("audio_encoder.projection.linear1.weight", 0)
	x = microsoftProjection(b, b.Name(x, "audio_embedding"), "audio_encoder.projection", width, out)
	audioEmbeds := b.Output(x, graph.Audio, "audio_embeds")
	y, dim, err := im.microsoftText(b, &c, p, caption, isGPT)
	if err != nil {
		return nil, err
	}
	textEmbeds := b.Output(microsoftProjection(b, y, "caption_encoder.projection", dim, out), graph.Text, "text_embeds")
	b.Output(scaledBy(b, b.MatMulT(b.L2Norm(audioEmbeds, 0), b.L2Norm(textEmbeds, 0)), "logit_scale"), graph.Joint, "similarity")
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: p}, err
}

// microsoftText builds the caption tower up to the token that stands for the text: the last of GPT-2, the first of BERT.
func (im *Import) microsoftText(b *graph.Builder, c *microsoftConfig, p *pipeline.Pipeline, stem string, isGPT bool) (x *graph.Node, dim int, err error) {
	read := func(into any) error {
		if len(c.Text) == 0 {
			return nil
		}
		if err := json.Unmarshal(c.Text, into); err != nil {
			return fmt.Errorf("config: text_config: %w", err)
		}
		return nil
	}
	if isGPT {
		t := &gpt2Text{VocabSize: im.Dim(stem+"wte.weight", 0), Dim: im.Dim(stem+"wte.weight", 1), Positions: im.Dim(stem+"wpe.weight", 0),
			Layers: im.Count(stem + "h.#.ln_1.weight"), Heads: 12, Act: "gelu_new", Eps: 1e-5, Scaled: true}
		if err := read(t); err != nil {
			return nil, 0, err
		}
		if p.Text, err = im.textPipeline("GPT2Tokenizer", min(c.TextLen, t.Positions), t.VocabSize); err != nil {
			return nil, 0, err
		}
		// The project writes " <|endoftext|>" behind every text and pads with "!", whose id is 0.
		p.Text.Suffix, p.Text.Pad = []string{"Ġ", "<|endoftext|>"}, pipeline.TextPad{ToContext: true}
		text := t.tower(b, stem, "text.")
		count := b.Op(graph.Reduce{Kind: graph.Max, Axis: 1}, nil, b.Op(graph.TokenPositions{}, nil, b.Named("input_ids")))
		return b.Op(graph.Select{}, nil, text.Last, b.Op(graph.Scale{Mul: 1, Add: -1}, nil, count)), t.Dim, nil
	}
	t := &bertConfig{VocabSize: im.Dim(stem+"embeddings.word_embeddings.weight", 0), Dim: im.Dim(stem+"embeddings.word_embeddings.weight", 1),
		Layers: im.Count(stem + "encoder.layer.#.attention.self.query.weight"), Heads: 12, Act: "gelu", Eps: 1e-12,
		Hidden:       im.Dim(stem+"encoder.layer.0.intermediate.dense.weight", 0),
		MaxPositions: im.Dim(stem+"embeddings.position_embeddings.weight", 0), TokenTypes: im.Dim(stem+"embeddings.token_type_embeddings.weight", 0)}
	if err := read(t); err != nil {
		return nil, 0, err
	}
	roberta := strings.Contains(c.TextModel, "roberta")
	t.fromPad = roberta
	class, most := "BertTokenizer", t.MaxPositions
	if roberta {
		class, most = "RobertaTokenizer", t.MaxPositions-t.Pad-1
	}
	if p.Text, err = im.textPipeline(class, min(c.TextLen, most), t.VocabSize); err != nil {
		return nil, 0, err
	}
	p.Text.Pad.ToContext = true
	return b.Token(t.tower(b, stem, "text.").Last, 0), t.Dim, nil
}

// microsoftProjection is norm(y + linear2(gelu(y))) of y = linear1(x), without biases.
func microsoftProjection(b *graph.Builder, x *graph.Node, stem string, in, out int) *graph.Node {
	y := b.LinearNoBias(x, stem+".linear1", in, out)
	z := b.LinearNoBias(b.Act(y, kernels.ActGELU), stem+".linear2", out, out)
	return b.LayerNorm(b.Add(y, z), stem+".layer_norm", out, 1e-5)
}
