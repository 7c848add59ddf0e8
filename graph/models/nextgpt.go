package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// NExT-GPT: Any-to-Any Multimodal LLM (Wu et al., arXiv:2309.05519): projections of ImageBind's embeddings into the language
// model, and of the language model's signal tokens into what diffusion decoders are conditioned on. Sources: NExT-GPT/NExT-GPT
// nextgpt/model/multimodal_projector/{builder,projector}.py; of the first release code/model/{layers,anyToImageVideoAudio}.py.

var _ = Register(&System{
	Name: "nextgpt", Title: "NExT-GPT", Row: 10,
	Namings: []Naming{
		{Name: "nextgpt", Looked: "tensors mm_input_projector.* or mm_output_img_projector.*", Recognise: func(im *Import) bool {
			return im.HasAny("*mm_input_projector.*") || im.HasAny("*mm_output_*_projector.*")
		}},
		{Name: "legacy", Looked: "tensors gen_text_hidden_fcs.*", Recognise: func(im *Import) bool { return im.HasAny("gen_text_hidden_fcs*.#.*") }},
	},
	Build: buildNExTGPT,
})

func buildNExTGPT(im *Import) (*graph.Model, error) {
	prefix := ""
	if im.HasAny("model.mm_*_projector.*") {
		prefix = "model."
	}
	im.languageModel("llama_model.*", "model.embed_tokens.*", "model.layers.*", "model.norm.*", "lm_head.*")
	for _, other := range []string{"visual_encoder.*", "model.multimodal_tower.*", "model.vision_tower.*"} {
		im.Ignore(other, "ImageBind, the frozen encoder")
	}
	for _, decoder := range []string{"sd_pipe.*", "vd_pipe.*", "ad_pipe.*", "model.image_decoder.*", "model.video_decoder.*", "model.audio_decoder.*"} {
		im.Ignore(decoder, "a diffusion model, which stays as it is")
	}
	p := im.Params(nil, prefix)
	n := &nextGPT{im: im, p: p, b: graph.NewBuilder(p)}
	if im.Naming == "legacy" {
		n.legacy()
	} else if err := n.current(); err != nil {
		return nil, err
	}
	g, err := n.b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{}}, err
}

type nextGPT struct {
	im *Import
	p  *NamedParams
	b  *graph.Builder
}

// linear is a linear layer of the sizes that its tensor has.
func (n *nextGPT) linear(x *graph.Node, stem string) *graph.Node {
	return n.b.Linear(x, stem, n.p.dim(stem+".weight", 1), n.p.dim(stem+".weight", 0))
}

// current builds the projectors of nextgpt/model.
func (n *nextGPT) current() error {
	b, p := n.b, n.p
	var c struct {
		Input string `json:"mm_input_projector_type"`
	}
	if n.im.HasConfig("mm_input_projector_type") {
		if err := n.im.Config(&c); err != nil {
			return err
		}
	}
	const input = "mm_input_projector"
	switch layers := n.im.Count(p.prefix + input + ".layer.#.weight"); {
	case p.Has(input + ".weight"):
		b.Output(n.linear(visionFeatures(b, p.dim(input+".weight", 1)), input), graph.Projector, "visual_tokens")
	case layers > 0:
		x := visionFeatures(b, p.dim(input+".layer.0.weight", 1))
		for i := 0; i < layers; i += 2 {
			if i > 0 {
				x = b.Act(x, kernels.ActGELU)
			}
			x = n.linear(x, fmt.Sprintf("%s.layer.%d", input, i))
		}
		b.Output(x, graph.Projector, "visual_tokens")
	case p.Has(input + ".in_fc.weight"):
		x := n.linear(visionFeatures(b, p.dim(input+".in_fc.weight", 1)), input+".in_fc")
		b.Output(n.linear(n.group(x, input), input+".out_fc"), graph.Projector, "visual_tokens")
	case n.im.HasAny(p.prefix + input + ".*"):
		return fmt.Errorf("config: mm_input_projector_type is %q, whose tensors are not those of linear, mlp or group", c.Input)
	}
	for _, kind := range []struct{ tensor, prefix string }{{"img", ""}, {"vid", "video."}, {"aud", "audio."}} {
		stem := "mm_output_" + kind.tensor + "_projector"
		switch {
		case p.Has(stem + ".weight"):
			x := b.Input(kind.prefix+"signal_hidden", -1, -2, p.dim(stem+".weight", 1))
			b.Output(n.linear(x, stem), graph.Projector, kind.prefix+"generation_condition")
		case p.Has(stem + ".in_fc.weight"):
			n.output(stem, kind.prefix, "in_fc", "out_fc")
		case n.im.HasAny(p.prefix + stem + ".*"):
			return fmt.Errorf("tensors %s%s.* are not those of a linear, transformer or qformer projector", p.prefix, stem)
		}
	}
	return nil
}

// legacy builds the projectors of the first release: one token of a pooled embedding, and for each kind of media TextFcLayer,
// which reads the last layer's states.
func (n *nextGPT) legacy() {
	b, p := n.b, n.p
	if p.Has("llama_proj.weight") {
		x := n.linear(b.Input("imagebind_embeds", -1, p.dim("llama_proj.weight", 1)), "llama_proj")
		b.Output(b.Rearrange(x, "b d -> b 1 d"), graph.Projector, "inputs_llama")
	}
	for _, kind := range []struct{ tensor, prefix string }{{"", ""}, {"_video", "video."}, {"_audio", "audio."}} {
		stem := "gen_text_hidden_fcs" + kind.tensor
		switch layers := n.im.Count(stem + ".#.model.weight"); {
		case layers > 1:
			b.Fail(fmt.Errorf("tensors %s.0 to %d: projectors of several layers' states are not supported", stem, layers-1))
		case layers == 1 && p.Has(stem+".0.fc.weight"):
			n.output(stem+".0", kind.prefix, "fc", "model")
		case layers == 1:
			x := b.Input(kind.prefix+"signal_hidden", -1, -2, p.dim(stem+".0.model.weight", 1))
			b.Output(n.linear(x, stem+".0.model"), graph.Projector, kind.prefix+"generation_condition")
		}
	}
}

// output is an output projector: the states of signal tokens and their input embeddings, summed and projected, are what learned
// queries look at through a transformer or a Q-Former.
func (n *nextGPT) output(stem, prefix, first, last string) {
	b, p := n.b, n.p
	wide := p.dim(stem+"."+first+".weight", 1)
	x := b.Add(b.Input(prefix+"signal_hidden", -1, -2, wide), b.Input(prefix+"signal_input_embeds", -1, -2, wide))
	x = b.Name(n.linear(x, stem+"."+first), prefix+"out_fc")
	if p.Has(stem + ".query_tokens") {
		c := qformerOf(p, stem+"."+qformerStem)
		q, err := newQFormer(b, stem+"."+qformerStem, c)
		if err != nil {
			b.Fail(err)
			return
		}
		x = q.apply(b, stem+".query_tokens", p.dim(stem+".query_tokens", 1), qformerSees{Tokens: x}).Last
	} else {
		x = n.transformer(x, stem+".tfm", b.Parameter(graph.Position, stem+".query_embs", 1, p.dim(stem+".query_embs", 1), p.dim(stem+".query_embs", 2)))
	}
	b.Output(n.linear(x, stem+"."+last), graph.Projector, prefix+"generation_condition")
}

// torchLayer has the names of torch's TransformerEncoderLayer and TransformerDecoderLayer with norm_first; the last norm of the
// latter is norm3.
var torchLayer = block.Layer{
	Norm: block.Norm{Eps: 1e-5}, Self: block.Branch{Norm: "norm1"}, Cross: block.Branch{Norm: "norm2"}, Feed: block.Branch{Norm: "norm2"},
	Attention: torchAttention("self_attn"),
	MLP:       block.MLP{Act: kernels.ActReLU, FC1: block.Projection{Stem: "linear1"}, FC2: block.Projection{Stem: "linear2"}},
}

// torchAttention has the names of torch's MultiheadAttention behind a stem.
func torchAttention(stem string) block.Attention {
	own := func(name string) block.Projection { return block.Projection{Stem: stem + "." + name} }
	return block.Attention{QKV: own("in_proj_"), Q: own("q_proj"), K: own("k_proj"), V: own("v_proj"), Out: own("out_proj")}
}

// transformer is torch's nn.Transformer from x to the queries, of four heads as the code has it.
func (n *nextGPT) transformer(x *graph.Node, stem string, queries *graph.Node) *graph.Node {
	const heads = 4
	b, p := n.b, n.p
	d, hidden := p.dim(stem+".encoder.layers.0.linear1.weight", 1), p.dim(stem+".encoder.layers.0.linear1.weight", 0)
	if err := checkSizes(stem, size{"hidden_dim", d}, size{"dim_feedforward", hidden}); err != nil {
		b.Fail(err)
		return x
	}
	stack := func(x *graph.Node, part string, l block.Layer, cross block.With) *graph.Node {
		at := stem + "." + part
		t := block.Transformer{Layer: l, Stem: at + ".layers.%d", Layers: p.layers(at + ".layers.%d.linear1.weight"), Norm: at + ".norm"}
		return t.Apply(b, x, block.With{}, cross).Last
	}
	layer := torchLayer.Sized(d, heads, hidden)
	memory := stack(x, "encoder", layer, block.With{})
	layer = layer.WithCross(torchAttention("multihead_attn"), d)
	layer.Feed.Norm = "norm3"
	return stack(b.Op(graph.Expand{}, nil, queries, x), "decoder", layer, block.With{KV: memory})
}

// group is GroupProjector without its first and last layers: GroupViT's stages (Xu et al., arXiv:2202.11094), each of which lets
// learned tokens attend beside the features and then assigns every feature to one of them.
func (n *nextGPT) group(x *graph.Node, stem string) *graph.Node {
	const heads = 8
	b, p := n.b, n.p
	d := p.dim(stem+".in_fc.weight", 0)
	layer := block.TimmLayer.Sized(d, heads, 4*d)
	layer.Norm.Eps = 1e-5
	var tokens *graph.Node // of the stage before
	for i := range b.Layers(p.layers(stem + ".layers.%d.blocks.0.norm1.weight")) {
		at := fmt.Sprintf("%s.layers.%d", stem, i)
		count := 0
		if p.Has(at + ".group_token") {
			count = p.dim(at+".group_token", 1)
			own := b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, at+".group_token", 1, count, d), x)
			if p.Has(at + ".group_projector.0.weight") {
				own = b.Add(own, n.mixed(b.LayerNorm(tokens, at+".group_projector.0", d, 1e-5), at+".group_projector.1"))
			}
			tokens = own
			x = b.Concat(1, x, tokens)
		}
		t := block.Transformer{Layer: layer, Stem: at + ".blocks.%d", Layers: p.layers(at + ".blocks.%d.norm1.weight")}
		x = t.Apply(b, x, block.With{}, block.With{}).Last
		if count > 0 {
			x, tokens = b.Slice(x, 1, 0, -count), b.Slice(x, 1, -count, 0)
		}
		if p.Has(at + ".downsample.norm_x.weight") {
			x = n.assign(x, tokens, at+".downsample")
		}
	}
	return b.LayerNorm(x, stem+".norm", d, 1e-5)
}

// mixed is an MLP over the tokens, channel by channel: [B, S, D] to [B, S', D].
func (n *nextGPT) mixed(x *graph.Node, stem string) *graph.Node {
	b := n.b
	x = b.Act(n.linear(b.Rearrange(x, "b s d -> b d s"), stem+".fc1"), kernels.ActGELU)
	return b.Rearrange(n.linear(x, stem+".fc2"), "b d s -> b s d")
}

// assign is GroupingBlock: fewer groups are made of the tokens, look at the features, and take the mean of those that are most
// like them, one counted more.
func (n *nextGPT) assign(x, tokens *graph.Node, at string) *graph.Node {
	const heads = 8
	b, p := n.b, n.p
	d := p.dim(at+".norm_x.weight", 0)
	norm := func(x *graph.Node, own string) *graph.Node { return b.LayerNorm(x, at+"."+own, d, 1e-5) }
	x = norm(x, "norm_x")
	groups := norm(n.mixed(norm(tokens, "norm_tokens"), at+".mlp_inter"), "norm_post_tokens")
	apart := func(stem string) block.Attention {
		own := func(name string) block.Projection {
			return block.Projection{Stem: stem + "." + name, Bias: block.Stored}
		}
		return block.Attention{Dim: d, Heads: heads, Q: own("q_proj"), K: own("k_proj"), V: own("v_proj"), Out: own("proj")}
	}
	groups = b.Add(groups, apart("attn").Apply(b, groups, at+".pre_assign_attn", block.With{KV: x}))
	mlp := block.MLP{Dim: d, Hidden: p.dim(at+".pre_assign_attn.mlp.fc1.weight", 0), Act: kernels.ActGELU, FC1: block.Projection{Stem: "fc1"}, FC2: block.Projection{Stem: "fc2"}}
	groups = b.Add(groups, mlp.Apply(b, norm(groups, "pre_assign_attn.norm2"), at+".pre_assign_attn.mlp"))
	groups = norm(groups, "pre_assign_attn.norm_post")

	// Every feature goes to one group whole: a row of the unit matrix tells to which.
	like := b.MatMulT(n.linear(x, at+".assign.k_proj"), n.linear(groups, at+".assign.q_proj")) // [B, S, groups]
	count := p.dim(at+".mlp_inter.fc2.weight", 0)
	unit := make([]float32, count*count)
	for i := range count {
		unit[i*count+i] = 1
	}
	table := b.Derived(graph.Table, at+".unit", graph.Values("unit", unit, count, count))
	member := b.Rearrange(b.Op(graph.Embedding{}, []*graph.Weight{table}, b.Op(graph.ArgMax{}, nil, like)), "b s g -> b g s")
	total := b.Op(graph.Scale{Mul: 1, Add: 1}, nil, b.Op(graph.Reduce{Kind: graph.Sum, Axis: 2}, nil, member))
	mean := b.Div(b.MatMul(member, n.linear(x, at+".assign.v_proj")), b.Rearrange(total, "b g -> b g 1"))
	groups = b.Add(n.linear(mean, at+".assign.proj"), groups)
	if p.Has(at + ".reduction.1.weight") {
		b.Fail(fmt.Errorf("tensor %s.reduction.1.weight: stages of different widths are not supported", at))
	}
	h := b.Act(n.linear(norm(groups, "norm_new_x"), at+".mlp_channels.fc1"), kernels.ActGELU)
	return b.Add(groups, n.linear(h, at+".mlp_channels.fc2"))
}
