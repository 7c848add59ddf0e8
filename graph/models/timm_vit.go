package models

import (
	"encoding/json"
	"fmt"

	"github.com/mmconv/mmconv/graph"
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
	positions      interpolation
	featureName    string // of the normed tokens
	pooledName     string // of the pooled token after fc_norm; "" for none
	mapName        string // of the attention pooling's result; "" for none
	fcNormName     string // of the pooled token's norm; "" for none
	prefix         string // before the names of values
	rotaryFromFile string // the stem of stored tables of angles, "" to compute them

	embeddingsName string // of what the first block gets
	attentionName  string // of a block's attention before its gain, for the block's number; "" for none
	blockName      string // of a block's output, for its number
	firstBlock     int    // the first block's number there
}

// defaultViT are the defaults of timm's constructors.
func defaultViT(family string) vitArgs {
	a := vitArgs{EmbedDim: 768, NumHeads: 12, GlobalPool: "token", ActLayer: "gelu", NormEps: 1e-6, positions: timmBicubic,
		RotaryType: "cat", RotaryTemperature: 10000, RotaryGridIndexing: "ij", featureName: "forward_features", pooledName: "pre_logits",
		embeddingsName: "hidden_state.0", blockName: "hidden_state.%d", firstBlock: 1}
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
	pooled := t.pooled(t.features(pixels, im.imageSize(t.image)))
	b.SetOutput("pre_logits", graph.Vision)
	if t.has("head.weight") {
		classes := t.dim("head.weight", 0)
		b.Output(b.LinearIf(t.has("head.bias"), pooled, "head", t.width, classes), graph.Vision, "logits")
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
		t.stored = squareGrid(n)
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

// norm is a layer norm, or RMSNorm where there is no bias.
func (t *vitTower) norm(x *graph.Node, stem string, dim int) *graph.Node {
	return t.normEps(x, stem, dim, t.NormEps)
}

func (t *vitTower) normEps(x *graph.Node, stem string, dim int, eps float64) *graph.Node {
	if t.has(stem + ".bias") {
		return t.b.LayerNorm(x, stem, dim, eps)
	}
	return t.b.RMSNorm(x, stem, dim, eps)
}

// features builds the tower from NCHW pixels of the given height and width to the last block's output.
func (t *vitTower) features(pixels *graph.Node, image [2]int) *graph.Node {
	b, d := t.b, t.width
	grid, err := gridOf(image, t.patch, t.image)
	if err != nil {
		b.Fail(err)
		return pixels
	}
	x := b.Rearrange(pixels, "b c h w -> b h w c")
	x = b.Conv(x, "patch_embed.proj", graph.ConvSpec{In: t.channels, Out: d, KH: t.patch[0], KW: t.patch[1], Stride: t.patch,
		NoBias: !t.has("patch_embed.proj.bias")})
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	if t.has("patch_embed.norm.weight") {
		x = t.norm(x, "patch_embed.norm", d)
	}
	x = t.tokens(x, grid)
	if t.has("norm_pre.weight") {
		x = t.norm(x, "norm_pre", d)
	}
	b.Name(x, t.prefix+t.embeddingsName)
	turn := t.rotary(grid)
	for i := range b.Layers(t.depth) {
		x = t.block(x, i, turn)
		b.Namef(x, t.prefix+t.blockName, i+t.firstBlock)
	}
	return x
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
		table := b.Tensor("pos_embed", embedded+t.stored[0]*t.stored[1], d)
		positions = b.Value(b.Derived(graph.Position, "pos_embed", t.positions.expr(table, embedded, t.stored, grid)))
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

// projection is one of queries, keys and values, out of the fused matrix or of its own, without the bias that the
// architecture leaves out.
func (t *vitTower) projection(x *graph.Node, name string, i int) *graph.Node {
	b, d, a := t.b, t.width, t.attention()
	own := name + [...]string{".q_proj", ".k_proj", ".v_proj"}[i]
	var w, bias *graph.Weight
	if t.has(name + ".qkv.weight") {
		w = b.Derived(graph.Matrix, own+".weight", graph.SliceExpr(b.Tensor(name+".qkv.weight", 3*a, d), i*a, (i+1)*a))
	} else {
		w = b.Weight(graph.Matrix, own+".weight", a, d)
	}
	separate := name + [...]string{".q_bias", ".k_bias", ".v_bias"}[i]
	switch {
	case t.has(name + ".qkv.bias"):
		bias = b.Derived(graph.Bias, own+".bias", graph.SliceExpr(b.Tensor(name+".qkv.bias", 3*a), i*a, (i+1)*a))
	case t.has(separate) && i != 1:
		bias = b.Derived(graph.Bias, own+".bias", b.Tensor(separate, a))
	case t.has(own + ".bias"):
		bias = b.Weight(graph.Bias, own+".bias", a)
	}
	return b.Op(graph.Linear{}, []*graph.Weight{w, bias}, x)
}

// rotation turns [B, S, heads, head width] by the positions of a layer's tokens.
type rotation func(x *graph.Node, layer int) *graph.Node

// attend builds the self-attention of a layer.
func (t *vitTower) attend(x *graph.Node, layer int, turn rotation) *graph.Node {
	b, a := t.b, t.attention()
	name := fmt.Sprintf("blocks.%d.attn", layer)
	q, k, v := t.projection(x, name, 0), t.projection(x, name, 1), t.projection(x, name, 2)
	byHead := func(y *graph.Node, norm string) *graph.Node {
		// InternViT's norm is over all heads together.
		if t.heads > 1 && t.dim(norm+".weight", 0) == a {
			return t.norm(y, norm, a)
		}
		if !t.has(norm+".weight") && turn == nil {
			return y
		}
		y = b.Rearrange(y, "b s (h d) -> b s h d", "h", t.heads)
		if t.has(norm + ".weight") {
			y = t.norm(y, norm, a/t.heads)
		}
		if turn != nil {
			y = turn(y, layer)
		}
		return b.Rearrange(y, "b s h d -> b s (h d)")
	}
	y := b.Attention(byHead(q, name+".q_norm"), byHead(k, name+".k_norm"), v,
		graph.AttentionSpec{Heads: t.heads, HeadDim: a / t.heads})
	if t.has(name + ".norm.weight") {
		y = t.norm(y, name+".norm", a)
	}
	if t.has(name + ".gate.weight") {
		gate := b.LinearIf(t.has(name+".gate.bias"), x, name+".gate", t.width, a)
		y = b.Mul(y, b.Act(gate, kernels.ActSigmoid))
	}
	y = b.LinearIf(t.has(name+".proj.bias"), y, name+".proj", a, t.width)
	if t.attentionName != "" {
		b.Namef(y, t.prefix+t.attentionName, layer)
	}
	return y
}

// mlp builds the MLP of a layer: plain, gated with the gate's and the other half in one matrix or in two.
func (t *vitTower) mlp(x *graph.Node, name string) *graph.Node {
	b, d := t.b, t.width
	linear := func(x *graph.Node, stem string, in, out int) *graph.Node {
		return b.LinearIf(t.has(stem+".bias"), x, stem, in, out)
	}
	hidden := t.dim(name+".fc2.weight", 1)
	eps := t.NormEps
	switch {
	case t.has(name + ".fc1_g.weight"):
		x = b.Mul(b.Act(linear(x, name+".fc1_g", d, hidden), kernels.ActSiLU), linear(x, name+".fc1_x", d, hidden))
	case t.dim(name+".fc1.weight", 0) == 2*hidden:
		half := func(i int, own string) *graph.Node {
			w := graph.SliceExpr(b.Tensor(name+".fc1.weight", 2*hidden, d), i*hidden, (i+1)*hidden)
			params := []*graph.Weight{b.Derived(graph.Matrix, name+own+".weight", w), nil}
			if t.has(name + ".fc1.bias") {
				params[1] = b.Derived(graph.Bias, name+own+".bias", graph.SliceExpr(b.Tensor(name+".fc1.bias", 2*hidden), i*hidden, (i+1)*hidden))
			}
			return b.Op(graph.Linear{}, params, x)
		}
		x = b.Mul(b.Act(half(0, ".fc1_g"), kernels.ActSiLU), half(1, ".fc1_x"))
	default:
		x = b.Act(linear(x, name+".fc1", d, hidden), t.act)
		if t.mlpNormEps != 0 {
			eps = t.mlpNormEps
		}
	}
	if t.has(name + ".norm.weight") {
		x = t.normEps(x, name+".norm", hidden, eps)
	}
	return linear(x, name+".fc2", hidden, d)
}

// block builds one layer: norms before its branches, or behind them.
func (t *vitTower) block(x *graph.Node, layer int, turn rotation) *graph.Node {
	name := fmt.Sprintf("blocks.%d", layer)
	branch := func(x *graph.Node, i int, f func(*graph.Node) *graph.Node) *graph.Node {
		norm := fmt.Sprintf("%s.norm%d", name, i)
		var y *graph.Node
		if t.PostNorm {
			y = t.norm(f(x), norm, t.width)
		} else {
			y = f(t.norm(x, norm, t.width))
		}
		for _, gain := range []string{fmt.Sprintf("%s.gamma_%d", name, i), fmt.Sprintf("%s.ls%d.gamma", name, i)} {
			if t.has(gain) {
				y = t.b.Affine(y, t.b.Weight(graph.Norm, gain, t.width), nil)
			}
		}
		return t.b.Add(x, y)
	}
	x = branch(x, 1, func(y *graph.Node) *graph.Node { return t.attend(y, layer, turn) })
	return branch(x, 2, func(y *graph.Node) *graph.Node { return t.mlp(y, name+".mlp") })
}

// pooled builds what follows the blocks up to the head's input, and names the normed tokens on the way.
func (t *vitTower) pooled(x *graph.Node) *graph.Node {
	b, d := t.b, t.width
	normed := x
	if t.has("norm.weight") {
		normed = t.norm(x, "norm", d)
	}
	b.Name(normed, t.prefix+t.featureName)
	tail := func(x *graph.Node) *graph.Node {
		if t.PoolIncludePrefix || t.prefixTokens == 0 {
			return x
		}
		return b.Slice(x, 1, t.prefixTokens, 0)
	}
	mean := func(x *graph.Node) *graph.Node { return b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x) }
	greatest := func(x *graph.Node) *graph.Node { return b.Op(graph.Reduce{Kind: graph.Max, Axis: 1}, nil, x) }
	switch pool := t.GlobalPool; {
	case pool == "map" && t.has("attn_pool.latent"):
		if !t.poolsPrefix {
			normed = tail(normed)
		}
		x = t.attentionPool(normed)
	case pool == "token" || pool == "map":
		// The norm of the first token alone. open_clip drops the attention pooling where it adds a projection, and the
		// first token is what timm then takes.
		if x = b.Token(x, 0); t.has("norm.weight") {
			x = t.norm(x, "norm", d)
		}
	case pool == "avg":
		x = mean(tail(normed))
	case pool == "max":
		x = greatest(tail(normed))
	case pool == "avgmax":
		normed = tail(normed)
		x = b.Scale(b.Add(greatest(normed), mean(normed)), 0.5)
	default:
		x = normed
	}
	if t.has("fc_norm.weight") {
		x = t.norm(x, "fc_norm", d)
		if t.fcNormName != "" {
			b.Name(x, t.prefix+t.fcNormName)
		}
	}
	if t.pooledName != "" {
		b.Name(x, t.prefix+t.pooledName)
	}
	return x
}

// attentionPool is timm's AttentionPoolLatent: learned queries attend to the tokens, an MLP follows.
func (t *vitTower) attentionPool(x *graph.Node) *graph.Node {
	b, d := t.b, t.width
	const name = "attn_pool"
	heads := t.AttnPoolHeads
	if heads == 0 {
		heads = t.heads
	}
	if d%heads != 0 {
		b.Fail(fmt.Errorf("config: %d channels do not split into %d heads of the attention pooling", d, heads))
		return x
	}
	latent := b.Parameter(graph.Position, name+".latent", 1, t.dim(name+".latent", 1), d)
	q := b.Op(graph.Expand{}, nil, b.LinearIf(t.has(name+".q.bias"), latent, name+".q", d, d), x)
	half := func(i int, own string) *graph.Node {
		w := graph.SliceExpr(b.Tensor(name+".kv.weight", 2*d, d), i*d, (i+1)*d)
		params := []*graph.Weight{b.Derived(graph.Matrix, name+own+".weight", w), nil}
		if t.has(name + ".kv.bias") {
			params[1] = b.Derived(graph.Bias, name+own+".bias", graph.SliceExpr(b.Tensor(name+".kv.bias", 2*d), i*d, (i+1)*d))
		}
		return b.Op(graph.Linear{}, params, x)
	}
	y := b.Attention(q, half(0, ".k"), half(1, ".v"), graph.AttentionSpec{Heads: heads, HeadDim: d / heads})
	y = b.Linear(y, name+".proj", d, d)
	h := y
	if t.has(name + ".norm.weight") {
		h = t.norm(h, name+".norm", d)
	}
	hidden := t.dim(name+".mlp.fc1.weight", 0)
	// Eva's pooling has a GELU whatever the blocks have.
	act := t.act
	if t.poolsPrefix {
		act = kernels.ActGELU
	}
	h = b.Linear(b.Act(b.Linear(h, name+".mlp.fc1", d, hidden), act), name+".mlp.fc2", hidden, d)
	y = b.Token(b.Add(y, h), 0)
	if t.mapName != "" {
		b.Name(y, t.prefix+t.mapName)
	}
	return y
}
