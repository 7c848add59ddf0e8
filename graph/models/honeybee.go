package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// Honeybee: Locality-enhanced Projector for Multimodal LLM (Cha et al., arXiv:2312.06742): C-Abstractor, D-Abstractor, and
// the projectors that they are compared with, an MLP and mPLUG-Owl's resampler. Sources: khanrc/honeybee
// honeybee/projectors/{projectors,dabs,resamplers}.py, honeybee/modeling_honeybee.py; timm models/regnet.py;
// huggingface/transformers models/deformable_detr/modeling_deformable_detr.py.

var _ = Register(&System{
	Name: "honeybee", Title: "Honeybee", Row: 7,
	ModelTypes: []string{"honeybee", "mllm"},
	Namings: []Naming{
		{Name: "honeybee", Looked: "config.json with projector_config or visual_projector_config, tensors abstractor.*", Recognise: func(im *Import) bool {
			return (im.HasConfig("projector_config") || im.HasConfig("visual_projector_config")) && im.HasAny("abstractor.*")
		}},
	},
	Build: buildHoneybee,
})

// honeybeeProjector is a projector_config of Honeybee: HoneybeeVisualProjectorConfig, or for D-Abstractor
// DeformableDetrConfig.
type honeybeeProjector struct {
	Type         string          `json:"projector_type"`
	FeatureLayer json.RawMessage `json:"feature_layer_index"`
	EncoderWidth int             `json:"encoder_hidden_size"`
	Width        int             `json:"hidden_size"`
	OutputWidth  int             `json:"output_hidden_size"`
	Depth        int             `json:"depth"`
	MLPDepth     int             `json:"mlp_depth"`
	Queries      int             `json:"num_query_tokens"`
	EOSTokens    int             `json:"num_eos_tokens"`
	Positions    bool            `json:"pos_emb"`
	PreNorm      bool            `json:"prenorm"`

	// of the resampler
	Layers int     `json:"num_hidden_layers"`
	Heads  int     `json:"num_attention_heads"`
	Hidden int     `json:"intermediate_size"`
	Eps    float64 `json:"layer_norm_eps"`

	// of D-Abstractor
	DWidth   int    `json:"d_model"`
	DLayers  int    `json:"decoder_layers"`
	DHeads   int    `json:"decoder_attention_heads"`
	DHidden  int    `json:"decoder_ffn_dim"`
	DPoints  int    `json:"decoder_n_points"`
	DQueries int    `json:"num_queries"`
	Levels   int    `json:"num_feature_levels"`
	Pooled   string `json:"pooled_v_target"`
	Act      string `json:"activation_function"`

	tokens int         // that the vision tower gives for an image; 0: not known
	placed *graph.Node // the tower's features, where positions are added to them in place
}

func buildHoneybee(im *Import) (*graph.Model, error) {
	p := honeybeeProjector{Type: "resampler", EncoderWidth: 1024, Width: 1024, Layers: 6, Heads: 16, Hidden: 4096, Eps: 1e-6, EOSTokens: 1, MLPDepth: 2,
		DWidth: 256, DLayers: 6, DHeads: 8, DHidden: 1024, DPoints: 4, DQueries: 300, Levels: 4, Pooled: "none", Act: "relu"}
	c := struct {
		Own       *honeybeeProjector `json:"projector_config"`
		Published *honeybeeProjector `json:"visual_projector_config"`
		Queries   int                `json:"num_query_tokens"`
		Tokens    int                `json:"num_input_tokens"`
		Text      struct {
			HiddenSize int `json:"hidden_size"`
		} `json:"text_config"`
	}{Own: &p, Published: &p}
	if err := im.Config(&c); err != nil {
		return nil, err
	}
	if p.tokens = c.Tokens; p.Queries == 0 {
		p.Queries = c.Queries
	}
	if p.OutputWidth == 0 {
		p.OutputWidth = c.Text.HiddenSize
	}
	layers, err := featureLayers(p.FeatureLayer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("config: feature_layer_index is %s; expected a number", p.FeatureLayer)
	case len(layers) > 1 || p.Type == "d-abs" && p.Levels > 1:
		return nil, fmt.Errorf("config: features of several layers (feature_layer_index %s, num_feature_levels %d): Honeybee's own code refuses them", p.FeatureLayer, p.Levels)
	case len(p.FeatureLayer) == 0:
		layers = []int{-1}
	}
	im.languageModel("language_model.*")
	im.Ignore("*.embeddings.position_ids", "a buffer of consecutive numbers")
	params := im.Params(Names{{"vision_model.*", "vision_model.vision_model.*"}, {"*", "abstractor.*"}}, "")
	b := graph.NewBuilder(params)
	pipe := &pipeline.Pipeline{}
	var x *graph.Node
	var tower *llavaTower
	if im.HasAny("vision_model.*") {
		if tower, err = im.llavaTower(); err != nil {
			return nil, err
		}
		if pipe.Image, err = im.imagePipeline(pipeline.ImageSquash(tower.size[0], tower.size[1], pipeline.CLIPMean, pipeline.CLIPStd)); err != nil {
			return nil, err
		}
		tower.build(b, im.pixels(b, pipe.Image, tower.channels, tower.size))
		x = selectFeatures(b, layers, tower.depth, false)
		p.EncoderWidth = tower.width
		p.tokens = (tower.size[0] / max(tower.patch, 1)) * (tower.size[1] / max(tower.patch, 1))
	} else {
		x = visionFeatures(b, p.EncoderWidth)
	}
	if err := checkSizes("projector_config", size{"encoder_hidden_size", p.EncoderWidth}, size{"output_hidden_size", p.OutputWidth}); err != nil {
		return nil, err
	}
	switch p.Type {
	case "mlp", "c-abs":
		x = p.projector(b, params, x)
	case "d-abs":
		x = p.dAbstractor(b, params, x)
	case "resampler":
		x = p.resampler(b, params, x)
	default:
		return nil, fmt.Errorf("config: projector_type is %q; expected mlp, resampler, c-abs or d-abs", p.Type)
	}
	b.Output(x, graph.Projector, "visual_embeds")
	if tower != nil {
		p.nameStates(b, tower, layers[0])
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// nameStates names the tower's hidden states. The original adds positions to the selected one in place, and so it is recorded.
func (p *honeybeeProjector) nameStates(b *graph.Builder, t *llavaTower, selected int) {
	if selected < 0 {
		selected += t.depth + 1
	}
	for i := range b.Layers(t.depth + 1) {
		x, name := b.Named(fmt.Sprintf("vision.hidden_state.%d", i)), fmt.Sprintf("clip.layer%d", i)
		if i == 0 {
			name = "clip.embeddings"
		}
		if i == selected && p.placed != nil {
			x = b.Concat(1, b.Slice(x, 1, 0, 1), p.placed)
		}
		b.Name(x, name)
	}
}

// positions adds the learned positions called name, [1, tokens, dim]. Older checkpoints hold one for the class token before
// them, which is dropped (projectors.py, _load_from_state_dict).
func (p *honeybeeProjector) positions(b *graph.Builder, params *NamedParams, x *graph.Node, name string, dim int) *graph.Node {
	if !p.Positions {
		return x
	}
	stored := params.dim(name, 1)
	before := 0
	if p.tokens > 0 && stored == p.tokens+1 || p.tokens == 0 && block.SquareGrid(stored) == [2]int{} {
		before = 1
	}
	table := graph.SliceExpr(graph.ReshapeExpr(b.Tensor(name, 1, stored, dim), stored, dim), before, stored)
	return b.Add(x, b.Value(b.Derived(graph.Position, name, table)))
}

// eos puts learned tokens behind the others.
func (p *honeybeeProjector) eos(b *graph.Builder, x *graph.Node, name string, dim int) *graph.Node {
	if p.EOSTokens == 0 {
		return x
	}
	tokens := b.Parameter(graph.Position, name, 1, p.EOSTokens, dim)
	return b.Concat(1, x, b.Op(graph.Expand{}, nil, tokens, x))
}

// mlp is linear layers with SiLU between them, net.0, net.2, ….
func (p *honeybeeProjector) mlp(b *graph.Builder, x *graph.Node, stem string, depth, in int) *graph.Node {
	for i := range b.Layers(max(depth, 1)) {
		if i > 0 {
			x = b.Act(x, kernels.ActSiLU)
		}
		x = b.Linear(x, fmt.Sprintf("%s.%d", stem, 2*i), in, p.OutputWidth)
		in = p.OutputWidth
	}
	return x
}

// projector is Projector of projectors.py with the net of an MLP or of C-Abstractor.
func (p *honeybeeProjector) projector(b *graph.Builder, params *NamedParams, x *graph.Node) *graph.Node {
	if p.PreNorm {
		x = b.LayerNorm(x, "prenorm", p.EncoderWidth, 1e-6)
	}
	x = p.positions(b, params, x, "pos_emb", p.EncoderWidth)
	if p.Positions && !p.PreNorm {
		p.placed = x
	}
	if p.Type == "mlp" {
		x = p.mlp(b, x, "net", p.Depth, p.EncoderWidth)
	} else {
		x = p.cAbstractor(b, x)
	}
	return p.eos(b, x, "eos_tokens", p.OutputWidth)
}

// namedMap gives a channels-last map the name under which the original's NCHW one is recorded.
func namedMap(b *graph.Builder, x *graph.Node, format string, args ...any) {
	b.Namef(b.Rearrange(x, "b h w c -> b c h w"), format, args...)
}

// cAbstractor is convolutions before and behind an average pooling, and an MLP (section 3.3 of the paper).
func (p *honeybeeProjector) cAbstractor(b *graph.Builder, x *graph.Node) *graph.Node {
	side := block.SquareGrid(p.Queries)[0]
	if p.Queries < 1 || side == 0 {
		b.Fail(fmt.Errorf("config: num_query_tokens is %d; C-Abstractor's are a square number", p.Queries))
		return x
	}
	x = b.Op(graph.SquareGrid{}, nil, x)
	width := p.EncoderWidth
	stage := func(x *graph.Node, at string) *graph.Node {
		r := block.RegNet{Depth: p.Depth, In: width, Out: p.Width, SERatio: 0.25, Act: kernels.ActSiLU, Eps: 1e-5}
		for i, y := range r.Apply(b, x, at) {
			namedMap(b, y, "%s.b%d", at, i+1)
			x = y
		}
		namedMap(b, x, "%s", at)
		width = p.Width
		return x
	}
	pool := func(x *graph.Node, name string) *graph.Node {
		x = b.Op(graph.AdaptivePool{H: side, W: side}, nil, x)
		namedMap(b, x, "%s", name)
		return x
	}
	if p.Depth > 0 {
		if err := checkSizes("projector_config", size{"hidden_size", p.Width}); err != nil {
			b.Fail(err)
			return x
		}
		x = stage(pool(stage(x, "net.0"), "net.1"), "net.2")
	} else {
		x = pool(x, "net")
	}
	return p.mlp(b, b.Rearrange(x, "b h w c -> b (h w) c"), "readout", p.MLPDepth, width)
}

// dAbstractor is a decoder whose queries read the features by deformable attention (section 3.3 of the paper).
func (p *honeybeeProjector) dAbstractor(b *graph.Builder, params *NamedParams, x *graph.Node) *graph.Node {
	d := p.DWidth
	grid := block.SquareGrid(p.tokens)
	if p.tokens == 0 {
		grid = block.SquareGrid(params.dim("v_pos_emb", 1))
	}
	act, err := activation("activation_function", p.Act)
	if err == nil {
		err = checkSizes("projector_config", size{"d_model", d}, size{"decoder_attention_heads", p.DHeads}, size{"decoder_ffn_dim", p.DHidden},
			size{"decoder_n_points", p.DPoints}, size{"num_queries", p.DQueries})
	}
	if err == nil && grid[0] == 0 {
		err = fmt.Errorf("config: num_input_tokens is %d; expected a square number, the places of the features' map", p.tokens)
	}
	if err == nil && d%p.DHeads != 0 {
		err = fmt.Errorf("config: d_model %d does not split into %d heads", d, p.DHeads)
	}
	if err != nil {
		b.Fail(err)
		return x
	}
	if d != p.EncoderWidth {
		x = b.Linear(x, "input_proj.0", p.EncoderWidth, d)
	}
	x = p.positions(b, params, x, "v_pos_emb", d)
	query, position := p.queries(b, x, grid)

	reference := b.Parameter(graph.Position, "reference_points", 1, p.DQueries, 2)
	layer := block.BARTLayer.Sized(d, p.DHeads, p.DHidden)
	layer.Order, layer.MLP.Act = block.PostNorm, act
	for i := range b.Layers(p.DLayers) {
		at := fmt.Sprintf("layers.%d", i)
		query = layer.Add(b, query, at, layer.Self, func(h *graph.Node) *graph.Node {
			return layer.Attention.Apply(b, b.Add(h, position), at, block.With{V: h})
		})
		query = layer.Add(b, query, at, layer.Cross, func(h *graph.Node) *graph.Node {
			h = p.deform(b, b.Add(h, position), x, reference, grid, at+".encoder_attn")
			return b.Namef(h, "layer%d.deformable_attn", i)
		})
		query = b.Namef(layer.FeedForward(b, query, at), "layer%d", i)
	}
	query = p.eos(b, query, "eos_tokens", d)
	if p.OutputWidth != d {
		query = b.Linear(query, "output_proj", d, p.OutputWidth)
	}
	return query
}

// queries returns what the decoder starts from and what is added to it as its position, [B, queries, d] each: learned ones, or
// one of the two is the features, averaged (dabs.py, _make_pooled_queries).
func (p *honeybeeProjector) queries(b *graph.Builder, features *graph.Node, grid [2]int) (query, position *graph.Node) {
	d := p.DWidth
	const name = "query_position_embeddings.weight"
	learned := func(expr graph.Expr, name string) *graph.Node {
		w := b.Value(b.Derived(graph.Position, name, graph.ReshapeExpr(expr, 1, p.DQueries, d)))
		return b.Op(graph.Expand{}, nil, w, features)
	}
	if p.Pooled == "none" {
		both := b.Tensor(name, p.DQueries, 2*d)
		half := func(i int) graph.Expr {
			return graph.SliceExpr(graph.RearrangeExpr(both, "q (n d) -> n q d", map[string]int{"n": 2}), i, i+1)
		}
		return learned(half(1), "query_embeddings"), learned(half(0), "query_positions")
	}
	side := block.SquareGrid(p.DQueries)[0]
	if side == 0 {
		b.Fail(fmt.Errorf("config: num_queries is %d; pooled queries are a square number", p.DQueries))
		return features, features
	}
	own := learned(b.Tensor(name, p.DQueries, d), name)
	pooled := b.Rearrange(features, "b (h w) d -> b h w d", "h", grid[0], "w", grid[1])
	pooled = b.Rearrange(b.Op(graph.AdaptivePool{H: side, W: side}, nil, pooled), "b h w d -> b (h w) d")
	if p.Pooled == "tgt" {
		return pooled, own
	}
	return own, pooled
}

// deform is DeformableDetrMultiscaleDeformableAttention of one level.
func (p *honeybeeProjector) deform(b *graph.Builder, query, features, reference *graph.Node, grid [2]int, at string) *graph.Node {
	d, points := p.DWidth, p.DHeads*p.DPoints
	value := b.Linear(features, at+".value_proj", d, d)
	const offset = ".sampling_offsets"
	offsets := b.Op(graph.Linear{}, []*graph.Weight{b.Weight(graph.Place, at+offset+".weight", 2*points, d), b.Weight(graph.Bias, at+offset+".bias", 2*points)}, query)
	weights := b.Softmax(b.Rearrange(b.Linear(query, at+".attention_weights", d, points), "b q (h p) -> b q h p", "h", p.DHeads))
	h := b.Op(graph.DeformableAttention{Heads: p.DHeads, Points: p.DPoints, Levels: [][2]int{grid}}, nil, value, reference, offsets, weights)
	return b.Linear(h, at+".output_proj", d, d)
}

// resampler is mPLUG-Owl's abstractor (Ye et al., arXiv:2304.14178, section 3.2): queries attend to themselves and the
// features, both normed, and the normed ones are what is added to.
func (p *honeybeeProjector) resampler(b *graph.Builder, params *NamedParams, x *graph.Node) *graph.Node {
	d := p.Width
	if err := checkSizes("projector_config", size{"hidden_size", d}, size{"num_attention_heads", p.Heads}, size{"intermediate_size", p.Hidden},
		size{"num_query_tokens", p.Queries}); err != nil {
		b.Fail(err)
		return x
	}
	x = p.positions(b, params, x, "pos_emb", p.EncoderWidth)
	if p.Positions {
		p.placed = x
	}
	x = b.Linear(x, "visual_input_fc", p.EncoderWidth, d)
	query := b.Op(graph.Expand{}, nil, b.Parameter(graph.Position, "query_tokens", 1, p.Queries, d), x)
	attention := block.Attention{Dim: d, Heads: p.Heads, Q: block.Projection{Stem: "attention.query"}, K: block.Projection{Stem: "attention.key"},
		V: block.Projection{Stem: "attention.value"}, Out: block.Projection{Stem: "output.out_proj"}}
	mlp := block.MLP{Dim: d, Hidden: p.Hidden, Act: kernels.ActSiLU, Gate: block.Projection{Stem: "w1"}, FC1: block.Projection{Stem: "w3"},
		FC2: block.Projection{Stem: "w2"}, SubNorm: "ffn_ln", Norm: block.Norm{Eps: p.Eps}}
	for i := range b.Layers(p.Layers) {
		at := fmt.Sprintf("encoder.layers.%d.crossattention", i)
		query = b.LayerNorm(query, at+".norm1", d, 1e-5)
		keys := b.Concat(1, query, b.LayerNorm(x, at+".normk", d, 1e-5))
		query = b.Add(query, attention.Apply(b, query, at, block.With{KV: keys}))
		query = b.Add(query, mlp.Apply(b, b.LayerNorm(query, at+".output.norm2", d, 1e-5), at+".output.mlp"))
		b.Namef(query, "layer%d", i)
	}
	return p.eos(b, b.Linear(query, "visual_output_fc", d, p.OutputWidth), "vit_eos", p.OutputWidth)
}
