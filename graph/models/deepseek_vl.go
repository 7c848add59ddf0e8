package models

import (
	"fmt"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// DeepSeek-VL (Lu et al., arXiv:2403.05525): SigLIP, or SAM at a high resolution beside SigLIP at a low one, and an MLP or a
// hybrid of two projections. Sources: deepseek-ai/DeepSeek-VL deepseek_vl/models/{clip_encoder,sam,siglip_vit,projector,
// image_processing_vlm}.py.

var _ = Register(&System{
	Name: "deepseek-vl", Title: "DeepSeek-VL", Row: 11,
	ModelTypes: []string{"multi_modality"},
	Namings: []Naming{
		{Name: "deepseek", Looked: "config.json with model_type multi_modality, tensors aligner.* or vision_model.vision_tower.*", Recognise: func(im *Import) bool {
			return im.ModelType() == "multi_modality" && (im.HasAny("aligner.*") || im.HasAny("vision_model.vision_tower*"))
		}},
	},
	Build: buildDeepSeekVL,
})

// deepSeekTower is a tower's part of a configuration: the arguments of CLIPVisionTower, whose sizes go by model_name.
type deepSeekTower struct {
	ModelName string    `json:"model_name"`
	ImageSize int       `json:"image_size"`
	Mean      []float64 `json:"pixel_mean"`
	Std       []float64 `json:"pixel_std"`

	// What the code keeps by model_name, where a configuration gives it.
	Heads   int   `json:"heads"`
	SAMSize int   `json:"img_size"`
	SAMHead int   `json:"num_heads"`
	Window  int   `json:"window_size"`
	Global  []int `json:"global_attn_indexes"`
}

// normalised applies the tower's own normalisation of pixels 0..1 [B, 3, H, W], if it has one. at is the tower's stem.
func (t *deepSeekTower) normalised(b *graph.Builder, pixels *graph.Node, at string) *graph.Node {
	if len(t.Mean) == 0 && len(t.Std) == 0 {
		return pixels
	}
	n := pipeline.Normalize{Mean: t.Mean, Std: t.Std}
	if err := (&pipeline.Image{Normalize: n}).Check(); err != nil {
		b.Fail(fmt.Errorf("config: pixel_mean and pixel_std: %w", err))
		return pixels
	}
	scale, shift := make([]float32, 3), make([]float32, 3)
	for i := range 3 {
		scale[i], shift[i] = float32(1/n.Std[i]), float32(-n.Mean[i]/n.Std[i])
	}
	value := func(name string, v []float32) *graph.Node {
		return b.Value(b.Derived(graph.Norm, at+"."+name, graph.Values(name, v, 3, 1, 1)))
	}
	return b.Add(b.Mul(pixels, value("1/std", scale)), value("-mean/std", shift))
}

// orNormalise lets the tower normalise by the statistics that it was trained with, where neither the processor nor the
// configuration does.
func (t *deepSeekTower) orNormalise(image *pipeline.Image, mean, std []float64) {
	if len(image.Normalize.Mean) == 0 && len(t.Mean) == 0 && len(t.Std) == 0 {
		t.Mean, t.Std = mean, std
	}
}

type deepSeekVL struct {
	Aligner struct {
		Params struct {
			Type     string `json:"projector_type"`
			InputDim int    `json:"input_dim"`
			Embed    int    `json:"n_embed"`
		} `json:"params"`
	} `json:"aligner_config"`
	Vision struct {
		Params struct {
			deepSeekTower
			High   *deepSeekTower `json:"high_res_cfg"`
			Low    *deepSeekTower `json:"low_res_cfg"`
			Concat string         `json:"concat_type"`
		} `json:"params"`
	} `json:"vision_config"`
	// The towers' sizes where they are not left to model_name.
	SigLIP *deepSeekTower `json:"siglip"`
	SAM    *deepSeekTower `json:"sam"`

	im *Import
	b  *graph.Builder
	p  *NamedParams
}

func buildDeepSeekVL(im *Import) (*graph.Model, error) {
	c := &deepSeekVL{im: im}
	c.Vision.Params.Concat = "tuple"
	if err := im.Config(c); err != nil {
		return nil, err
	}
	im.languageModel("language_model.*")
	for _, gen := range []string{"gen_vision_model.*", "gen_aligner.*", "gen_head.*", "gen_embed.*"} {
		im.Ignore(gen, "Janus's way to make images")
	}
	im.Ignore("*.attn_pool.*", "SigLIP's pooling head, which the tower does not use")
	im.Ignore("vision_model.high_layer_norm.*", "a norm that the code never applies")
	im.Ignore("vision_model.low_layer_norm.*", "a norm that the code never applies")
	c.p = im.Params(nil, "")
	c.b = graph.NewBuilder(c.p)
	pipe := &pipeline.Pipeline{}
	var features []*graph.Node // of one tower, or of the high and the low resolution
	var err error
	switch {
	case im.HasAny("vision_model.vision_tower_high.*"):
		pipe.Image, features, err = c.hybrid()
	case im.HasAny("vision_model.vision_tower.*"):
		pipe.Image, features, err = c.single()
	case c.p.Has("aligner.high_up_proj.weight"):
		for _, name := range []string{"high_res_features", "low_res_features"} {
			features = append(features, c.b.Input(name, -1, -2, c.p.dim("aligner.high_up_proj.weight", 1)))
		}
	default:
		features = []*graph.Node{visionFeatures(c.b, c.inputDim())}
	}
	if err != nil {
		return nil, err
	}
	c.b.Output(c.align(features), graph.Projector, "visual_tokens")
	g, err := c.b.Graph()
	return &graph.Model{Graph: g, Pipeline: pipe}, err
}

// inputDim returns the width of what the projector sees.
func (c *deepSeekVL) inputDim() int {
	for _, name := range []string{"aligner.layers.weight", "aligner.layers.0.weight", "aligner.high_up_proj.weight"} {
		if c.p.Has(name) {
			return c.p.dim(name, 1)
		}
	}
	return c.Aligner.Params.InputDim
}

// align is MlpProjector, of which the tensors tell the kind: two projections side by side, where there are features of two
// resolutions, then linear layers with GELUs between them, or before each.
func (c *deepSeekVL) align(features []*graph.Node) *graph.Node {
	b, p := c.b, c.p
	linear := func(x *graph.Node, stem string) *graph.Node {
		return b.Linear(x, stem, p.dim(stem+".weight", 1), p.dim(stem+".weight", 0))
	}
	x, first := features[0], 0
	if len(features) == 2 {
		if !p.Has("aligner.high_up_proj.weight") {
			switch c.Vision.Params.Concat {
			case "feature":
				x = b.Concat(2, features...)
			case "sequence":
				x = b.Concat(1, features...)
			case "add":
				x = b.Add(features[0], features[1])
			default:
				b.Fail(fmt.Errorf("config: vision_config.params.concat_type is %q, and tensor aligner.high_up_proj.weight is missing; expected feature, sequence, add or a hybrid projector", c.Vision.Params.Concat))
			}
		} else {
			x = b.Concat(2, linear(features[0], "aligner.high_up_proj"), linear(features[1], "aligner.low_up_proj"))
			first = 1 // the first of the layers is a GELU
		}
	}
	if p.Has("aligner.layers.weight") {
		return linear(x, "aligner.layers")
	}
	for i := first; i < c.im.Count("aligner.layers.#.weight"); i += 2 {
		if i > 0 {
			x = b.Act(x, kernels.ActGELU)
		}
		x = linear(x, fmt.Sprintf("aligner.layers.%d", i))
	}
	return x
}

// preprocess returns how images get to a size, and whether they are normalised before the towers see them.
func (c *deepSeekVL) preprocess(size int, mean []float64) (*pipeline.Image, error) {
	var fill []uint8
	for _, m := range mean {
		fill = append(fill, uint8(max(0, min(m*255, 255))))
	}
	return c.im.imagePipeline(&pipeline.Image{Steps: []pipeline.ImageStep{
		{Op: pipeline.ResizeLongest, Filter: pipeline.Bicubic, Longest: size, Shortest: 14}, {Op: pipeline.PadSquare, Fill: fill}},
		Normalize: pipeline.Normalize{Factor: 1.0 / 255}})
}

// single is one SigLIP tower.
func (c *deepSeekVL) single() (*pipeline.Image, []*graph.Node, error) {
	t := c.Vision.Params.deepSeekTower
	if c.SigLIP != nil {
		t = *c.SigLIP
	}
	const at = "vision_model.vision_tower."
	tower, err := c.siglip(at, &t)
	if err != nil {
		return nil, nil, err
	}
	image, err := c.preprocess(t.ImageSize, pipeline.HalfMean)
	if err != nil {
		return nil, nil, err
	}
	t.orNormalise(image, pipeline.HalfMean, pipeline.HalfStd)
	x := t.normalised(c.b, c.im.pixels(c.b, image, 3, [2]int{t.ImageSize, t.ImageSize}), "vision_tower")
	states := tower(x, "vision_tower.patch_embed")
	for i, y := range states.Hidden[1:] {
		c.b.Namef(y, "vision_tower.blocks.%d", i)
	}
	return image, []*graph.Node{c.b.Name(states.Last, "vision_features")}, nil
}

// hybrid is SAM on the image and SigLIP on a smaller copy of it.
func (c *deepSeekVL) hybrid() (*pipeline.Image, []*graph.Node, error) {
	high, low := &deepSeekTower{ImageSize: 1024}, &deepSeekTower{}
	v := &c.Vision.Params
	for _, own := range []struct{ from, to *deepSeekTower }{{v.High, high}, {v.Low, low}, {c.SAM, high}, {c.SigLIP, low}} {
		if own.from != nil {
			own.from.onto(own.to)
		}
	}
	image, err := c.preprocess(high.ImageSize, pipeline.CLIPMean)
	if err != nil {
		return nil, nil, err
	}
	high.orNormalise(image, pipeline.CLIPMean, pipeline.CLIPStd)
	low.orNormalise(image, pipeline.HalfMean, pipeline.HalfStd)
	b := c.b
	const lowAt = "vision_model.vision_tower_low.vision_tower."
	siglip, err := c.siglip(lowAt, low)
	if err != nil {
		return nil, nil, err
	}
	pixels := c.im.pixels(b, image, 3, [2]int{high.ImageSize, high.ImageSize})
	x, err := c.sam(high, high.normalised(b, pixels, "vision_tower_high"))
	if err != nil {
		return nil, nil, err
	}
	namedMap(b, x, "vision_tower_high")
	x = b.Rearrange(x, "b h w c -> b (h w) c")
	small := b.Op(graph.Resize{H: low.ImageSize, W: low.ImageSize, Mode: "bilinear", Antialias: true}, nil, b.Rearrange(pixels, "b c h w -> b h w c"))
	y := siglip(low.normalised(b, b.Rearrange(small, "b h w c -> b c h w"), "vision_tower_low"), "").Last
	return image, []*graph.Node{b.Name(x, "high_res_features"), b.Name(b.Name(y, "vision_tower_low"), "low_res_features")}, nil
}

// onto fills in what is given.
func (t *deepSeekTower) onto(to *deepSeekTower) {
	set := func(from int, to *int) {
		if from != 0 {
			*to = from
		}
	}
	set(max(t.ImageSize, t.SAMSize), &to.ImageSize)
	set(max(t.Heads, t.SAMHead), &to.Heads)
	set(t.Window, &to.Window)
	if len(t.Mean) > 0 || len(t.Std) > 0 {
		to.Mean, to.Std = t.Mean, t.Std
	}
	if t.Global != nil {
		to.Global = t.Global
	}
}

// siglip reads the sizes of the tower behind a stem and returns what builds it. The checkpoint holds as many layers as
// select_layer has left.
func (c *deepSeekVL) siglip(at string, t *deepSeekTower) (func(pixels *graph.Node, patchesName string) *block.Tower, error) {
	p := c.p
	const proj = "patch_embed.proj.weight"
	width, patch := p.dim(at+proj, 0), p.dim(at+proj, 2)
	if t.Heads == 0 {
		t.Heads = 16 // of every size in siglip_vit.py
	}
	grid := block.SquareGrid(p.dim(at+"pos_embed", 1))
	hidden := p.dim(at+"blocks.0.mlp.fc1.weight", 0)
	if t.ImageSize == 0 {
		t.ImageSize = grid[0] * patch
	}
	if err := checkSizes("siglip", size{"image_size", t.ImageSize}, size{"width", width}, size{"heads", t.Heads}, size{"patch_size", patch},
		size{"positions", grid[0]}, size{"mlp_ratio * width", hidden}); err != nil {
		return nil, err
	}
	if t.ImageSize/patch != grid[0] {
		return nil, fmt.Errorf("config: image_size is %d, which patches of %d do not cut into the %d x %d that there are positions of", t.ImageSize, patch, grid[0], grid[1])
	}
	return func(pixels *graph.Node, patchesName string) *block.Tower {
		b := c.b
		x := block.Patches{Projection: block.Projection{Stem: "patch_embed.proj"}, Channels: 3, Dim: width, Height: patch, Width: patch}.Apply(b, pixels, at[:len(at)-1])
		if patchesName != "" {
			b.Name(x, patchesName)
		}
		x = b.Add(x, b.Parameter(graph.Position, at+"pos_embed", 1, grid[0]*grid[1], width))
		layers := block.Transformer{Layer: block.TimmLayer.Sized(width, t.Heads, hidden), Stem: at + "blocks.%d",
			Layers: p.layers(at + "blocks.%d.norm1.weight"), Norm: at + "norm"}
		return layers.Apply(b, x, block.With{}, block.With{})
	}, nil
}

// sam is ImageEncoderViT of sam.py: SAM whose neck's map is brought to 96 x 96 and twice halved; what the neck of their own
// makes of the first global block's output goes the same way and is added.
func (c *deepSeekVL) sam(t *deepSeekTower, pixels *graph.Node) (*graph.Node, error) {
	b, p := c.b, c.p
	const at = "vision_model.vision_tower_high.vision_tower"
	const proj = at + ".patch_embed.proj.weight"
	width, patch, grid := p.dim(proj, 0), p.dim(proj, 2), p.dim(at+".pos_embed", 1)
	if t.Heads == 0 {
		t.Heads = 12 // of sam_b_downsample, as the rest of these
	}
	if t.Window == 0 {
		t.Window = 14
	}
	if t.Global == nil {
		t.Global = []int{2, 5, 8, 11}
	}
	depth := p.layers(at + ".blocks.%d.norm1.weight")
	hidden := p.dim(at+".blocks.0.mlp.lin1.weight", 0)
	if err := checkSizes("sam", size{"image_size", t.ImageSize}, size{"embed_dim", width}, size{"num_heads", t.Heads}, size{"patch_size", patch},
		size{"window_size", t.Window}, size{"positions", grid}, size{"depth", depth}, size{"mlp_ratio * embed_dim", hidden}); err != nil {
		return nil, err
	}
	if t.ImageSize != grid*patch || t.Window > grid {
		return nil, fmt.Errorf("config: SAM's image_size is %d with windows of %d; there are positions of %d x %d patches of %d pixels", t.ImageSize, t.Window, grid, grid, patch)
	}
	x := block.Patches{Projection: block.Projection{Stem: "patch_embed.proj"}, Channels: 3, Dim: width, Height: patch, Width: patch}.Apply(b, pixels, at)
	positions := b.Tensor(at+".pos_embed", 1, grid, grid, width)
	x = b.Add(x, b.Value(b.Derived(graph.Position, at+".pos_embed", graph.ReshapeExpr(positions, 1, grid*grid, width))))
	s := block.SAM{Layer: block.SAMLayer.Sized(width, t.Heads, hidden), Stem: at + ".blocks.%d", Layers: depth, Grid: grid, Window: t.Window, Global: t.Global,
		Rows: "attn.rel_pos_h", Columns: "attn.rel_pos_w"}
	s.Layer.MLP.Act = kernels.ActGELU
	tower := s.Apply(b, x)
	toMap := func(x *graph.Node) *graph.Node { return b.Rearrange(x, "b (h w) c -> b h w c", "h", grid) }
	for i, y := range tower.Hidden[1:] {
		b.Namef(toMap(y), "vision_tower_high.vision_tower.blocks.%d", i)
	}
	channels := p.dim(at+".neck.0.weight", 0)
	neck := func(x *graph.Node, own string) *graph.Node {
		own = at + "." + own
		x = b.LayerNorm(b.Conv(x, own+".0", graph.ConvSpec{In: width, Out: channels, KH: 1, KW: 1, NoBias: true}), own+".1", channels, 1e-6)
		x = b.Conv(x, own+".2", graph.ConvSpec{In: channels, Out: channels, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), NoBias: true})
		return b.LayerNorm(x, own+".3", channels, 1e-6)
	}
	down := func(x *graph.Node) *graph.Node {
		x = b.Op(graph.Resize{H: 96, W: 96, Mode: "bilinear"}, nil, x)
		in := channels
		for i := range b.Layers(c.im.Count(at + ".downsamples.#.weight")) {
			name := fmt.Sprintf("%s.downsamples.%d", at, i)
			out := p.dim(name+".weight", 0)
			x = b.Conv(x, name, graph.ConvSpec{In: in, Out: out, KH: 3, KW: 3, Stride: [2]int{2, 2}, Pad: graph.Pad2(1, 1), NoBias: true})
			in = out
		}
		return x
	}
	x = neck(toMap(tower.Last), "neck")
	namedMap(b, x, "vision_tower_high.vision_tower.neck")
	x = down(x)
	first := slices.IndexFunc(tower.Hidden[1:], func(y *graph.Node) bool {
		return slices.Contains(t.Global, slices.Index(tower.Hidden[1:], y))
	})
	if alpha := at + ".hd_alpha_downsamples"; p.Has(alpha) && first >= 0 {
		hd := down(neck(toMap(tower.Hidden[first+1]), "neck_hd"))
		x = b.Add(x, b.Mul(hd, b.Parameter(graph.Scalar, alpha, 1)))
	}
	return x, nil
}
