package models

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// cnn14 is the audio tower of CLAP's first version. PANNs: Large-Scale Pretrained Audio Neural Networks (Kong et al.,
// arXiv:1912.10211); microsoft/CLAP msclap/models/audio.py.
type cnn14 struct {
	MelBins  int
	Channels []int // of each block
	Out      int
}

// cnn14FromTensors reads the sizes from the tensors under a prefix.
func (im *Import) cnn14FromTensors(stem string) *cnn14 {
	c := &cnn14{MelBins: im.Dim(stem+"bn0.weight", 0), Out: im.Dim(stem+"fc1.weight", 0)}
	for i := range max(im.Count(stem+"conv_block#.conv1.weight")-1, 0) {
		c.Channels = append(c.Channels, im.Dim(fmt.Sprintf("%sconv_block%d.conv1.weight", stem, i+1), 0))
	}
	return c
}

// build makes the tower of log-mel frames x [B, 1, frames, bins]; the value is its embedding [B, out].
func (c *cnn14) build(b *graph.Builder, x *graph.Node, stem string) *graph.Node {
	sizes := []size{{"mel_bins", c.MelBins}, {"out_emb", c.Out}, {"conv blocks", len(c.Channels)}}
	if err := checkSizes("config", sizes...); err != nil {
		b.Fail(err)
		return x
	}
	x = b.Rearrange(b.BatchNorm(x, stem+"bn0", c.MelBins, 1e-5), "b 1 t f -> b t f 1")
	in := 1
	for i, out := range c.Channels {
		name := fmt.Sprintf("%sconv_block%d", stem, i+1)
		if i == 0 {
			first := name + ".conv1.weight"
			b.Derived(graph.Stem, first, graph.RearrangeExpr(b.Tensor(first, out, in, 3, 3), "o i h w -> o h w i", nil))
		}
		for j, channels := range []int{in, out} {
			x = b.Conv(x, fmt.Sprintf("%s.conv%d", name, j+1), graph.ConvSpec{In: channels, Out: out, KH: 3, KW: 3, Pad: graph.Pad2(1, 1), NoBias: true})
			x = b.Act(b.BatchNorm(x, fmt.Sprintf("%s.bn%d", name, j+1), out, 1e-5), kernels.ActReLU)
		}
		if i < len(c.Channels)-1 {
			x = b.Op(graph.Pool{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
		}
		b.Namef(b.Rearrange(x, "b t f c -> b c t f"), "audio.conv_block%d", i+1)
		in = out
	}
	x = b.Op(graph.Reduce{Kind: graph.Mean, Axis: 2}, nil, x)
	x = b.Add(b.Op(graph.Reduce{Kind: graph.Max, Axis: 1}, nil, x), b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x))
	return b.Act(b.Linear(x, stem+"fc1", in, c.Out), kernels.ActReLU)
}

// logMel is the spectrogram that the original projects compute inside of the model, by convolutions with stored matrices
// (torchlibrosa's Spectrogram and LogmelFilterBank): waveform [B, samples] -> log-mel frames in dB [B, 1, frames, bins].
func logMel(b *graph.Builder, wave *graph.Node, stem string, fft, hop, bins int) *graph.Node {
	frequencies := fft/2 + 1
	x := b.Rearrange(b.Op(graph.ReflectPad{Before: fft / 2, After: fft / 2}, nil, wave), "b t -> b t 1")
	part := func(name string) *graph.Node {
		weight := stem + "spectrogram_extractor.stft." + name + ".weight"
		w := graph.RearrangeExpr(b.Tensor(weight, frequencies, 1, fft), "o i (h w) -> o h w i", map[string]int{"h": 1})
		return b.Conv1dOf(x, graph.ConvSpec{In: 1, Out: frequencies, KH: 1, KW: fft, Stride: [2]int{1, hop}}, b.Derived(graph.Stem, weight, w), nil)
	}
	re, im := part("conv_real"), part("conv_imag")
	power := b.Add(b.Mul(re, re), b.Mul(im, im))
	weight := stem + "logmel_extractor.melW"
	filters := b.Derived(graph.Stem, weight, graph.TransposeExpr(b.Tensor(weight, frequencies, bins)))
	mel := b.Op(graph.Linear{}, []*graph.Weight{filters, nil}, power)
	return b.Name(b.Rearrange(b.Op(graph.Decibel{Floor: 1e-10}, nil, mel), "b t f -> b 1 t f"), "logmel")
}
