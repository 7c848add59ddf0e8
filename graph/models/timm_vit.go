package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// vitArgs are the arguments of timm's VisionTransformer and Eva that tensors do not give. Eva's names for arguments that
// both have are read as well.
type vitArgs struct {
	ImgSize           pair            `json:"img_size"`
	EmbedDim          int             `json:"embed_dim"`
	NumHeads          int             `json:"num_heads"`
	GlobalPool        string          `json:"global_pool"`
	ActLayer          string          `json:"act_layer"`
	NormLayer         json.RawMessage `json:"norm_layer"` // in model_args only
	NormEps           float64         `json:"norm_eps"`
	NoEmbedClass      bool            `json:"no_embed_class"`
	PoolIncludePrefix bool            `json:"pool_include_prefix"`
	PostNorm          bool            `json:"use_post_norm"`
	AttnPoolHeads     int             `json:"attn_pool_num_heads"`

	Rotary             bool    `json:"use_rot_pos_emb"`
	RotaryType         string  `json:"rope_type"`
	RotaryTemperature  float64 `json:"rope_temperature"`
	RotaryGridOffset   float64 `json:"rope_grid_offset"`
	RotaryGridIndexing string  `json:"rope_grid_indexing"`
	RotateHalf         bool    `json:"rope_rotate_half"`
	RefFeatShape       *pair   `json:"ref_feat_shape"`

	// What the constructors differ in, and what other projects' variants of them have.
	poolsPrefix    bool    // attention pooling sees class and register tokens too
	mlpNormEps     float64 // of the norm inside a plain MLP; 0: as the others
	positions      block.Interpolation
	rotaryFromFile string // the stem of stored tables of angles, "" to compute them
}

// defaultViT are the defaults of timm's constructors.
func defaultViT(family string) vitArgs {
	a := vitArgs{EmbedDim: 768, NumHeads: 12, GlobalPool: "token", ActLayer: "gelu", NormEps: 1e-6, positions: block.TimmBicubic,
		RotaryType: "cat", RotaryTemperature: 10000, RotaryGridIndexing: "ij"}
	if family == familyEVA {
		a.GlobalPool, a.poolsPrefix = "avg", true
	}
	return a
}

// buildTimmViT builds a vision transformer or EVA of timm from its config.json.
func buildTimmViT(im *Import) (*graph.Model, error) {
	c, image, err := im.timmImage()
	if err != nil {
		return nil, err
	}
	architecture := im.timmArchitecture()
	args := defaultViT(timmFamily(architecture))
	args.ImgSize = c.inputSize()
	input := args.ImgSize
	if err := timmArguments(architecture, &args, c.ModelArgs); err != nil {
		return nil, err
	}
	// The table's size is the constructor's default, which the weights' own size replaces; model_args replace both.
	if input != (pair{}) {
		var own struct {
			ImgSize pair `json:"img_size"`
		}
		if args.ImgSize = input; len(c.ModelArgs) > 0 {
			if err := json.Unmarshal(c.ModelArgs, &own); err == nil && own.ImgSize != (pair{}) {
				args.ImgSize = own.ImgSize
			}
		}
	}
	if c.GlobalPool != nil {
		var own struct {
			GlobalPool *string `json:"global_pool"`
		}
		if _ = json.Unmarshal(c.ModelArgs, &own); own.GlobalPool == nil {
			args.GlobalPool = *c.GlobalPool
		}
	}
	p := im.Params(nil, "")
	b := graph.NewBuilder(p)
	t, err := newViTTower(b, p, args)
	if err != nil {
		return nil, err
	}
	im.ignoreEVABuffers("")
	pixels := im.pixels(b, image, t.channels, im.imageSize(t.image))
	x := t.tower(pixels, im.imageSize(t.image))
	x.NameStates(b, "hidden_state.%d")
	b.Name(x.Last, "forward_features")
	b.Output(x.Pooled, graph.Vision, "pre_logits")
	if t.has("head.weight") {
		classes := t.dim("head.weight", 0)
		b.Output(b.LinearIf(t.has("head.bias"), x.Pooled, "head", t.width, classes), graph.Vision, "logits")
	}
	g, err := b.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// ignoreEVABuffers leaves out what EVA's checkpoints store and timm computes.
func (im *Import) ignoreEVABuffers(prefix string) {
	im.Ignore(prefix+"rope.freqs_cos", "rotary angles, which the architecture gives")
	im.Ignore(prefix+"rope.freqs_sin", "rotary angles, which the architecture gives")
	im.Ignore(prefix+"rope.periods", "rotary periods, which the architecture gives")
	im.Ignore(prefix+"blocks.#.attn.rope.*", "rotary angles, which the architecture gives")
	im.Ignore(prefix+"blocks.#.attn.k_bias", "the bias of the keys, always zero")
	im.Ignore(prefix+"mask_token", "stands for masked patches in pre-training")
	im.Ignore(prefix+"lm_head.*", "the head of masked pre-training")
}

// vitTower builds a vision transformer from tensors in timm's names; the shapes come from them.
type vitTower struct {
	vitArgs
	b *graph.Builder
	p *NamedParams

	width, depth, heads, channels int
	patch, image                  [2]int // height, width
	stored                        [2]int // the grid of the stored positions, zeros without any
	prefixTokens                  int
	act                           kernels.Activation
}

// dim returns the size of a tensor's axis by its canonical name, 0 if there is no such tensor or axis.
func (p *NamedParams) dim(name string, axis int) int {
	return p.im.Dim(p.source(name), axis)
}

// layers counts the layers by a tensor that each has, whose name holds the layer's number.
func (p *NamedParams) layers(format string) int {
	n := 0
	for p.Has(fmt.Sprintf(format, n)) {
		n++
	}
	return n
}

func (t *vitTower) has(name string) bool          { return t.p.Has(name) }
func (t *vitTower) dim(name string, axis int) int { return t.p.dim(name, axis) }

// newViTTower reads the shapes. Where the width is not the arguments', the width of a head is, and the number of heads
// follows.
func newViTTower(b *graph.Builder, p *NamedParams, args vitArgs) (*vitTower, error) {
	t := &vitTower{vitArgs: args, b: b, p: p}
	if len(args.NormLayer) > 0 && string(args.NormLayer) != "null" {
		t.NormEps = 1e-6 // what timm's norms have where only their name is given
	}
	const proj = "patch_embed.proj.weight"
	t.width, t.channels, t.patch = t.dim(proj, 0), t.dim(proj, 1), [2]int{t.dim(proj, 2), t.dim(proj, 3)}
	if t.patch[1] == 0 {
		return nil, fmt.Errorf("tensor %s: expected a convolution's four axes", p.source(proj))
	}
	t.depth = p.layers("blocks.%d.norm1.weight")
	if err := checkSizes("model_args", size{"embed_dim", args.EmbedDim}, size{"num_heads", args.NumHeads}, size{"depth", t.depth}); err != nil {
		return nil, err
	}
	t.heads = args.NumHeads
	if t.width != args.EmbedDim {
		t.heads = t.width / max(args.EmbedDim/args.NumHeads, 1)
	}
	if t.heads < 1 || t.attention()%t.heads != 0 {
		return nil, fmt.Errorf("config: %d channels do not split into %d heads", t.attention(), t.heads)
	}
	if t.act = activations[args.ActLayer]; args.ActLayer == "gelu_erf" {
		t.act = kernels.ActGELU
	} else if _, ok := activations[args.ActLayer]; !ok {
		return nil, fmt.Errorf("config: act_layer is %q, which is no known activation", args.ActLayer)
	}
	switch t.GlobalPool {
	case "", "avg", "avgmax", "max", "token", "map":
	default:
		return nil, fmt.Errorf("config: global_pool is %q; expected avg, avgmax, max, token, map or nothing", t.GlobalPool)
	}
	if t.has("cls_token") {
		t.prefixTokens++
	}
	if t.has("reg_token") {
		t.prefixTokens += t.dim("reg_token", 1)
	}
	if t.GlobalPool == "token" && t.prefixTokens == 0 {
		return nil, fmt.Errorf("config: global_pool is token, and the checkpoint has no class token")
	}
	t.image = [2]int(args.ImgSize)
	if t.has("pos_embed") {
		n := t.dim("pos_embed", 1)
		if !t.NoEmbedClass {
			n -= t.prefixTokens
		}
		t.stored = block.SquareGrid(n)
		if own := [2]int{t.image[0] / t.patch[0], t.image[1] / t.patch[1]}; own[0]*own[1] == n {
			t.stored = own
		}
		if t.stored[0] == 0 {
			return nil, fmt.Errorf("tensor %s: %d positions are no square grid, and not that of images of %d x %d pixels", p.source("pos_embed"),
				n, t.image[0], t.image[1])
		}
		if t.image == [2]int{} {
			t.image = [2]int{t.stored[0] * t.patch[0], t.stored[1] * t.patch[1]}
		}
	}
	if t.image == [2]int{} {
		t.image = [2]int{224, 224}
	}
	const most = 1 << 14
	if min(t.image[0], t.image[1]) < 1 || max(t.image[0], t.image[1]) > most {
		return nil, fmt.Errorf("config: images of %d x %d pixels; expected 1 to %d", t.image[0], t.image[1], most)
	}
	return t, nil
}

// attention returns the width of queries, keys and values.
func (t *vitTower) attention() int {
	if t.has("blocks.0.attn.qkv.weight") {
		return t.dim("blocks.0.attn.qkv.weight", 0) / 3
	}
	return t.dim("blocks.0.attn.q_proj.weight", 0)
}

// norm describes the norms: layer norms, or RMSNorms where there is no bias.
func (t *vitTower) norm() block.Norm { return block.Norm{Kind: block.StoredNorm, Eps: t.NormEps} }

// normed applies the norm of a stem, where there is one.
func (t *vitTower) normed(x *graph.Node, stem string) *graph.Node {
	if !t.has(stem + ".weight") {
		return x
	}
	return t.norm().Apply(t.b, x, stem, t.width)
}

// vitValues is what a tower computes: Last are the normed tokens, Pooled is the head's input.
type vitValues struct {
	*block.Tower
	Attended []*graph.Node // each layer's attention, before its gain
	Mapped   *graph.Node   // the attention pooling's result; nil without one
}

// tower builds the tower from NCHW pixels of the given height and width.
func (t *vitTower) tower(pixels *graph.Node, image [2]int) *vitValues {
	x := t.encoder(pixels, image)
	t.pool(x)
	return x
}

// encoder builds the tower up to the last block, whose output is Last.
func (t *vitTower) encoder(pixels *graph.Node, image [2]int) *vitValues {
	b, d := t.b, t.width
	grid, err := block.Grid(image, t.patch, t.image)
	if err != nil {
		return &vitValues{Tower: block.Failed(b, err, pixels)}
	}
	patches := block.Patches{Channels: t.channels, Dim: d, Height: t.patch[0], Width: t.patch[1], Projection: block.Projection{Bias: block.Stored}}
	x := t.normed(patches.Apply(b, pixels, "patch_embed.proj"), "patch_embed.norm")
	x = t.normed(t.tokens(x, grid), "norm_pre")
	out := &vitValues{}
	turn := t.rotary(grid)
	stack := block.Transformer{Layer: t.layer(), Stem: "blocks.%d", Layers: t.depth, Each: func(i int, _ *block.Layer, self, _ *block.With) {
		if turn != nil {
			self.Rotate = turn(i)
		}
		self.Join = func(x *graph.Node) *graph.Node {
			out.Attended = append(out.Attended, x)
			return x
		}
	}}
	out.Tower = stack.Apply(b, x, block.With{}, block.With{})
	return out
}

// tokens adds positions and puts class and register tokens before the patches.
func (t *vitTower) tokens(x *graph.Node, grid [2]int) *graph.Node {
	b, d := t.b, t.width
	var before []*graph.Node
	if t.has("cls_token") {
		before = append(before, b.Parameter(graph.Position, "cls_token", 1, 1, d))
	}
	if t.has("reg_token") {
		before = append(before, b.Parameter(graph.Position, "reg_token", 1, t.dim("reg_token", 1), d))
	}
	var positions *graph.Node
	embedded := 0
	if t.stored[0] != 0 {
		if !t.NoEmbedClass {
			embedded = t.prefixTokens
		}
		positions = block.Positions{Interpolation: t.positions, Table: "pos_embed", Before: embedded, Stored: t.stored, Grid: grid, Dim: d}.Value(b)
	}
	if positions != nil && embedded == 0 {
		x = b.Add(x, positions)
	}
	switch len(before) {
	case 1:
		x = b.Prepend(before[0], x)
	case 2:
		x = b.Prepend(b.Concat(1, before...), x)
	}
	if positions != nil && embedded > 0 {
		x = b.Add(x, positions)
	}
	return x
}

// layer describes the layers, by what the tensors of the first one show.
func (t *vitTower) layer() block.Layer {
	const first = "blocks.0."
	stored := func(stem string) string { // of a norm that not all have
		if t.has(first + stem + ".weight") {
			return stem
		}
		return ""
	}
	hidden := t.dim(first+"mlp.fc2.weight", 1)
	l := block.TimmLayer.Sized(t.width, t.heads, hidden)
	l.Norm, l.Attention.Norm, l.MLP.Norm, l.MLP.Act = t.norm(), t.norm(), t.norm(), t.act
	if t.PostNorm {
		l.Order = block.BranchNorm
	}
	for i, br := range []*block.Branch{&l.Self, &l.Feed} {
		for _, gain := range []string{fmt.Sprintf("gamma_%d", i+1), fmt.Sprintf("ls%d.gamma", i+1)} {
			if t.has(first + gain) {
				br.Scale = gain
			}
		}
	}

	a := &l.Attention
	a.HeadDim = t.attention() / t.heads
	a.QBias, a.VBias = "attn.q_bias", "attn.v_bias"
	a.QNorm, a.KNorm, a.SubNorm = stored("attn.q_norm"), stored("attn.k_norm"), stored("attn.norm")
	// InternViT's norms of queries and keys are over all heads together.
	a.AllHeads = t.heads > 1 && t.dim(first+"attn.q_norm.weight", 0) == t.attention()
	if t.has(first + "attn.gate.weight") {
		a.Gate = block.Projection{Stem: "attn.gate", Bias: block.Stored}
	}

	m := &l.MLP
	m.SubNorm = stored("mlp.norm")
	switch {
	case t.has(first + "mlp.fc1_g.weight"):
		m.Act, m.Gate, m.FC1.Stem = kernels.ActSiLU, block.Projection{Stem: "mlp.fc1_g", Bias: block.Stored}, "mlp.fc1_x"
	case t.dim(first+"mlp.fc1.weight", 0) == 2*hidden:
		m.Act, m.Fused = kernels.ActSiLU, block.GateFirst
	case t.mlpNormEps != 0:
		m.Norm.Eps = t.mlpNormEps
	}
	return l
}

// pool builds what follows the blocks up to the head's input.
func (t *vitTower) pool(v *vitValues) {
	b, x := t.b, v.Last
	v.Last = t.normed(x, "norm")
	tail := func(x *graph.Node) *graph.Node {
		if t.PoolIncludePrefix || t.prefixTokens == 0 {
			return x
		}
		return b.Slice(x, 1, t.prefixTokens, 0)
	}
	greatest := func(x *graph.Node) *graph.Node { return b.Op(graph.Reduce{Kind: graph.Max, Axis: 1}, nil, x) }
	switch pool := t.GlobalPool; {
	case pool == "map" && t.has("attn_pool.latent"):
		tokens := v.Last
		if !t.poolsPrefix {
			tokens = tail(tokens)
		}
		v.Mapped = t.attentionPool(tokens)
		x = v.Mapped
	case pool == "token" || pool == "map":
		// The norm of the first token alone. open_clip drops the attention pooling where it adds a projection, and the
		// first token is what timm then takes.
		x = t.normed(b.Token(x, 0), "norm")
	case pool == "avg":
		x = block.Mean(b, tail(v.Last))
	case pool == "max":
		x = greatest(tail(v.Last))
	case pool == "avgmax":
		tokens := tail(v.Last)
		x = b.Scale(b.Add(greatest(tokens), block.Mean(b, tokens)), 0.5)
	default:
		x = v.Last
	}
	v.Pooled = t.normed(x, "fc_norm")
}

// attentionPool is timm's AttentionPoolLatent, whose first query counts.
func (t *vitTower) attentionPool(x *graph.Node) *graph.Node {
	const name = "attn_pool"
	heads := t.AttnPoolHeads
	if heads == 0 {
		heads = t.heads
	}
	p := block.TimmPool.Sized(t.width, heads, t.dim(name+".mlp.fc1.weight", 0))
	p.Queries, p.Norm, p.MLP.Act = t.dim(name+".latent", 1), t.norm(), t.act
	if !t.has(name + ".norm.weight") {
		p.SubNorm = ""
	}
	if t.poolsPrefix { // Eva's pooling has a GELU whatever the blocks have
		p.MLP.Act = kernels.ActGELU
	}
	_, pooled := p.Apply(t.b, x, name, block.With{})
	return t.b.Token(pooled, 0)
}
