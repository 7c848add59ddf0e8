package models

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/block"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/kernels"
)

// NFNet: High-Performance Large-Scale Image Recognition Without Normalization (Brock et al., arXiv:2102.06171), with the
// NF-ResNets and NF-RegNets of Characterizing signal propagation (arXiv:2101.08692). Source: huggingface/pytorch-image-models
// timm/models/nfnet.py, timm/layers/{std_conv,squeeze_excite,eca,padding}.py.

var _ = Register(&System{
	Name: "nfnet", Title: "NFNet", Row: 4,
	Namings: []Naming{
		{Name: "timm", Looked: "config.json with a timm architecture of nfnet.py, tensors stages.*.skipinit_gain or *.gain", Recognise: func(im *Import) bool {
			return timmFamily(im.timmArchitecture()) == familyNFNet && im.HasAny("stages.#.#.conv1.gain")
		}},
	},
	Build: buildNFNet,
})

// nfnetConfig is what timm's NfCfg says and tensors do not show. Widths, depths and groups follow from the tensors.
type nfnetConfig struct {
	Alpha        float64 `json:"alpha"`
	StemType     string  `json:"stem_type"`
	AttnGain     float64 `json:"attn_gain"`
	Reg          bool    `json:"reg"`
	GammaInAct   bool    `json:"gamma_in_act"`
	SamePadding  bool    `json:"same_padding"`
	StdConvEps   float64 `json:"std_conv_eps"`
	Act          string  `json:"act_layer"`
	OutputStride int     `json:"output_stride"`
	GlobalPool   string  `json:"global_pool"`
}

// nonlinearityGamma are the gains by which activations keep unit variance (deepmind-research nfnets/base.py).
var nonlinearityGamma = map[string]float64{
	"identity": 1, "celu": 1.270926833152771, "elu": 1.2716004848480225, "gelu": 1.7015043497085571,
	"leaky_relu": 1.70590341091156, "relu": 1.7139588594436646, "relu6": 1.7131484746932983,
	"selu": 1.0008515119552612, "sigmoid": 4.803835391998291, "silu": 1.7881293296813965,
	"tanh": 1.5939117670059204,
}

// nfnet is a network on its way into a graph.
type nfnet struct {
	*graph.Builder
	im    *Import
	c     *nfnetConfig
	act   kernels.Activation
	gamma float64
}

func buildNFNet(im *Import) (*graph.Model, error) {
	cfg, image, err := im.timmImage()
	if err != nil {
		return nil, err
	}
	c := &nfnetConfig{Alpha: 0.2, StemType: "3x3", AttnGain: 2, StdConvEps: 1e-5, Act: "silu", OutputStride: 32, GlobalPool: "avg"}
	if cfg.GlobalPool != nil {
		c.GlobalPool = *cfg.GlobalPool
	}
	if err := timmArguments(im.timmArchitecture(), c, cfg.ModelArgs); err != nil {
		return nil, err
	}
	gamma, ok := nonlinearityGamma[c.Act]
	if !ok {
		return nil, fmt.Errorf("config: model_args.act_layer is %q, for which no gain is known", c.Act)
	}
	if c.OutputStride != 32 {
		return nil, fmt.Errorf("config: model_args.output_stride is %d; only 32 is supported", c.OutputStride)
	}
	if c.GlobalPool != "avg" {
		return nil, fmt.Errorf("config: global_pool is %q; only avg is supported", c.GlobalPool)
	}
	act, err := activation("model_args.act_layer", c.Act)
	if err != nil {
		return nil, err
	}
	n := &nfnet{Builder: graph.NewBuilder(im.Params(nil, "")), im: im, c: c, act: act, gamma: gamma}
	hw := cfg.inputSize()
	if hw == (pair{}) {
		hw = pair{224, 224}
	}
	if im.Options.ImageSize != [2]int{} {
		hw = im.Options.ImageSize
	}
	if err := checkSizes("pretrained_cfg", size{"input_size", hw[0]}, size{"input_size", hw[1]}); err != nil {
		return nil, err
	}
	n.build(n.Rearrange(im.freePixels(n.Builder, image, 3, hw), "b c h w -> b h w c"))
	g, err := n.Graph()
	return &graph.Model{Graph: g, Pipeline: &pipeline.Pipeline{Image: image}}, err
}

// freePixels is pixels for networks that take images of any size; the size given is an example.
func (im *Import) freePixels(b *graph.Builder, image *pipeline.Image, channels int, size [2]int) *graph.Node {
	x := b.Name(b.Op(graph.Input{Dims: []int{-1, channels, -3, -4}, Example: []int{2, channels, size[0], size[1]}}, nil), "pixels")
	return b.Name(b.Op(graph.Normalize{Normalize: image.Normalize}, nil, x), "pixel_values")
}

// conv is timm's ScaledStdConv2d: weights standardised over each output channel's fan-in and scaled by
// gain gamma / sqrt(fan-in), all of it at conversion. Its sizes are those of its tensor.
func (n *nfnet) conv(x *graph.Node, stem string, stride int) *graph.Node {
	return n.grouped(x, stem, stride, false)
}

// grouped is conv, with as many groups as the kernel's width divides its output's: the 3x3 convolutions of blocks, whose
// input is as wide as their output.
func (n *nfnet) grouped(x *graph.Node, stem string, stride int, groups bool) *graph.Node {
	dim := func(axis int) int { return n.im.Dim(stem+".weight", axis) }
	out, in, kh, kw := dim(0), dim(1), dim(2), dim(3)
	if min(out, in, kh, kw) < 1 {
		n.Tensor(stem+".weight", max(out, 1), max(in, 1), max(kh, 1), max(kw, 1)) // names what is missing
		return x
	}
	gamma := n.gamma
	if n.c.GammaInAct {
		gamma = 1
	}
	w := graph.Apply(scaledWeightStandardization{Gamma: gamma, Eps: n.c.StdConvEps},
		n.Tensor(stem+".weight", out, in, kh, kw), n.Tensor(stem+".gain", out, 1, 1, 1))
	spec := graph.ConvSpec{Stride: [2]int{stride, stride}, Groups: 1, Pad: graph.Pad2((stride-1+kh-1)/2, (stride-1+kw-1)/2)}
	if groups {
		spec.Groups = max(1, out/in)
	}
	// With stride 1 the padding is the same on both sides whatever the size.
	spec.Same = n.c.SamePadding && !(stride == 1 && (kh-1)%2 == 0 && (kw-1)%2 == 0)
	return n.Op(spec.Op(), []*graph.Weight{
		n.Derived(graph.Kernel, stem+".weight", graph.RearrangeExpr(w, "o i h w -> o h w i", nil)),
		n.Weight(graph.Bias, stem+".bias", out)}, x)
}

var _ = graph.RegisterExpr(scaledWeightStandardization{})

// scaledWeightStandardization gives the weights of each output channel mean zero and variance Gamma^2 over their number,
// times a gain (arXiv:2101.08692, section 4; timm's ScaledStdConv2d). Arguments: weight [O, ...], gain of O elements.
type scaledWeightStandardization struct{ Gamma, Eps float64 }

func (scaledWeightStandardization) Infer(args []graph.Shape) (graph.Shape, error) {
	if len(args) != 2 || len(args[0]) == 0 || args[0].Len() == 0 || args[1].Len() != args[0][0] {
		return nil, fmt.Errorf("expected a weight and one gain for each of its output channels")
	}
	return args[0], nil
}

func (o scaledWeightStandardization) Eval(args []*graph.Tensor) ([]float32, error) {
	w := args[0].Data
	std := make([]float32, len(w))
	fan := args[0].Shape[1:].Len()
	scale := o.Gamma / math.Sqrt(float64(fan))
	for i, gain := range args[1].Data {
		row := w[i*fan : (i+1)*fan]
		mean, variance := 0.0, 0.0
		for _, x := range row {
			mean += float64(x)
		}
		mean /= float64(fan)
		for _, x := range row {
			variance += (float64(x) - mean) * (float64(x) - mean)
		}
		f := float64(gain) * scale / math.Sqrt(variance/float64(fan)+o.Eps)
		for j, x := range row {
			std[i*fan+j] = float32((float64(x) - mean) * f)
		}
	}
	return std, nil
}

// activate applies the activation, with its gain where that is not in the weights, times beta.
func (n *nfnet) activate(x *graph.Node, beta float64) *graph.Node {
	x = n.Act(x, n.act)
	if n.c.GammaInAct {
		beta *= n.gamma
	}
	if beta == 1 {
		return x
	}
	return n.Scale(x, float32(beta))
}

func (n *nfnet) build(x *graph.Node) {
	x, stride := n.stem(x)
	mapNamed(n.Builder, x, "stem")
	variance := 1.0
	for s := range n.im.Count("stages.#.0.conv1.weight") {
		step := 2
		if s == 0 && stride > 2 {
			step = 1
		}
		for i := range n.im.Count(fmt.Sprintf("stages.%d.#.conv1.weight", s)) {
			x = n.block(x, fmt.Sprintf("%d.%d", s, i), step, 1/math.Sqrt(variance))
			if i == 0 {
				variance = 1 // reset by the transition that begins a stage
			}
			variance += n.c.Alpha * n.c.Alpha
			step = 1
		}
		mapNamed(n.Builder, x, fmt.Sprintf("stage.%d", s))
	}
	if n.im.HasTensor("final_conv.weight") {
		x = mapNamed(n.Builder, n.conv(x, "final_conv", 1), "final_conv")
	}
	x = mapNamed(n.Builder, n.activate(x, 1), "forward_features")
	x = block.MeanOfMap(n.Builder, x)
	n.Output(x, graph.Vision, "pooled")
	n.Name(x, "pre_logits")
	if n.im.HasTensor("head.fc.weight") {
		n.Output(n.Linear(x, "head.fc", n.im.Dim("head.fc.weight", 1), n.im.Dim("head.fc.weight", 0)), graph.Vision, "logits")
	}
}

// stem returns the stem's output and its stride.
func (n *nfnet) stem(x *graph.Node) (*graph.Node, int) {
	stride := 2
	switch n.c.StemType {
	case "deep_quad":
		for i, step := range []int{2, 1, 1, 2} {
			if i > 0 {
				x = n.activate(x, 1)
			}
			x = n.conv(x, fmt.Sprintf("stem.conv%d", i+1), step)
		}
		stride = 4
	case "deep", "deep_tiered", "deep_pool":
		for i, step := range []int{2, 1, 1} {
			if i > 0 {
				x = n.activate(x, 1)
			}
			x = n.conv(x, fmt.Sprintf("stem.conv%d", i+1), step)
		}
	case "3x3", "7x7", "", "3x3_pool", "7x7_pool":
		x = n.conv(x, "stem.conv", 2)
	default:
		n.Fail(fmt.Errorf("config: model_args.stem_type %q is not known", n.c.StemType))
	}
	if strings.HasSuffix(n.c.StemType, "_pool") {
		x = n.Op(graph.Pool{Max: true, Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Pad2(1, 1)}, nil, x)
		stride = 4
	}
	return x, stride
}

// block is NormFreeBlock: a pre-activation bottleneck whose branch is scaled by alpha.
func (n *nfnet) block(x *graph.Node, at string, stride int, beta float64) *graph.Node {
	stem := "stages." + at
	h := n.activate(x, beta)
	shortcut := x
	if n.im.HasTensor(stem + ".downsample.conv.weight") {
		shortcut = h
		if stride > 1 {
			shortcut = n.Op(graph.Pool{Kernel: [2]int{2, 2}, Stride: [2]int{stride, stride}, Ceil: true}, nil, h)
		}
		shortcut = n.conv(shortcut, stem+".downsample.conv", 1)
	}
	h = n.conv(h, stem+".conv1", 1)
	h = n.grouped(n.activate(h, 1), stem+".conv2", stride, true)
	if n.im.HasTensor(stem + ".conv2b.weight") {
		h = n.grouped(n.activate(h, 1), stem+".conv2b", 1, true)
	}
	gain := 1.0
	if attended := n.attention(h, stem+".attn"); attended != nil {
		h = n.Scale(mapNamed(n.Builder, attended, "block."+at+".se"), float32(n.c.AttnGain))
	}
	h = n.conv(n.activate(h, 1), stem+".conv3", 1)
	if attended := n.attention(h, stem+".attn_last"); attended != nil {
		h, gain = mapNamed(n.Builder, attended, "block."+at+".se"), n.c.AttnGain
	}
	if n.im.HasTensor(stem + ".skipinit_gain") {
		// The gains are one number.
		k := float32(gain * n.c.Alpha)
		h = n.Mul(h, n.Value(n.Derived(graph.Scalar, stem+".gain", graph.ScaleExpr(n.Tensor(stem+".skipinit_gain", 1), k))))
	} else {
		h = n.Scale(h, float32(gain*n.c.Alpha))
	}
	return mapNamed(n.Builder, n.Add(h, shortcut), "block."+at)
}

// attention is the squeeze and excitation of Hu et al. 2018, or the efficient channel attention of Wang et al. 2020, as
// the tensors show; nil if there is none.
func (n *nfnet) attention(x *graph.Node, stem string) *graph.Node {
	channels := func(name string, axis int) int { return n.im.Dim(stem+name, axis) }
	switch {
	case n.im.HasTensor(stem + ".fc1.weight"):
		se := block.SE{Dim: channels(".fc1.weight", 1), Hidden: channels(".fc1.weight", 0), Act: kernels.ActReLU,
			FC1: block.Projection{Stem: "fc1"}, FC2: block.Projection{Stem: "fc2"}}
		return se.Apply(n.Builder, x, stem)
	case n.im.HasTensor(stem + ".conv.weight"):
		k := channels(".conv.weight", 2)
		gate := n.Rearrange(n.Conv1d(n.Rearrange(block.MeanOfMap(n.Builder, x), "b c -> b c 1"), stem+".conv",
			graph.ConvSpec{In: 1, Out: 1, KH: 1, KW: k, Pad: graph.Pad2(0, (k-1)/2), NoBias: true}), "b c 1 -> b c")
		return block.ScaleChannels(n.Builder, x, n.Act(gate, kernels.ActSigmoid))
	}
	return nil
}
