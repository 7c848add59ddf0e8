package block

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/kernels"
)

// ResNet is the residual network of He et al. (arXiv:1512.03385) with batch norm, in the stems of torchvision's
// models/resnet.py: conv1, bn1, layer1.0.conv1, layer1.0.downsample.0 …. Maps are channels-last.
type ResNet struct {
	Blocks   []int // of each stage
	Width    int   // channels of the stem and inside the first stage's blocks; each stage has twice as many as the last
	Channels int   // of the image; 0: 3
	Basic    bool  // blocks of two 3x3 convolutions (ResNet-18, -34) instead of bottlenecks, which end 4 times as wide

	Groups        int // of the 3x3 convolutions (ResNeXt); 0: 1
	WidthPerGroup int // 0: Width

	Eps float64 // of the batch norms; 0: 1e-5
	// StrideFirst has a bottleneck's stride in its first convolution, as the paper and Caffe's models (Detectron's, bottom-up
	// attention's) have it; else it is in the second ("v1.5").
	StrideFirst bool
	// DeepStem is of three 3x3 convolutions, conv1 to conv3, the first two half as wide (ResNet-C), instead of one of 7x7.
	DeepStem bool
	// AveragePool takes strides, the stem's second one included, by average pooling (ResNet-D; CLIP's ModifiedResNet).
	AveragePool bool
}

// Apply runs pixels [B, H, W, C] through the network: the stem's output behind its pooling, and each stage's. at is what
// stands before the stems.
func (r *ResNet) Apply(b *graph.Builder, x *graph.Node, at string) (stem *graph.Node, stages []*graph.Node) {
	in := r.Width
	stem = r.stem(b, x, at)
	x = stem
	for s, blocks := range r.Blocks {
		width := r.Width << s
		for i := range b.Layers(blocks) {
			stride := 1
			if s > 0 && i == 0 {
				stride = 2
			}
			name := join(at, fmt.Sprintf("layer%d.%d", s+1, i))
			if r.Basic {
				x = r.basic(b, x, name, in, width, stride)
			} else {
				x = r.bottleneck(b, x, name, in, width, stride)
			}
			in = r.out(width)
		}
		stages = append(stages, x)
	}
	return stem, stages
}

// Out returns the channels of the last stage.
func (r *ResNet) Out() int { return r.out(r.Width << max(len(r.Blocks)-1, 0)) }

func (r *ResNet) out(width int) int {
	if r.Basic {
		return width
	}
	return 4 * width
}

func (r *ResNet) stem(b *graph.Builder, x *graph.Node, at string) *graph.Node {
	in := r.Channels
	if in == 0 {
		in = 3
	}
	if r.DeepStem {
		for i, out := range []int{r.Width / 2, r.Width / 2, r.Width} {
			stride := 1
			if i == 0 {
				stride = 2
			}
			x = b.Act(r.conv(b, x, join(at, fmt.Sprintf("conv%d", i+1)), join(at, fmt.Sprintf("bn%d", i+1)), in, out, 3, stride, 1), kernels.ActReLU)
			in = out
		}
	} else {
		x = b.Act(r.conv(b, x, join(at, "conv1"), join(at, "bn1"), in, r.Width, 7, 2, 1), kernels.ActReLU)
	}
	if r.AveragePool {
		return averagePool(b, x, 2)
	}
	return b.Op(graph.Pool{Max: true, Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Pad2(1, 1)}, nil, x)
}

// conv is a convolution of k x k without bias and its batch norm.
func (r *ResNet) conv(b *graph.Builder, x *graph.Node, stem, norm string, in, out, k, stride, groups int) *graph.Node {
	eps := r.Eps
	if eps == 0 {
		eps = 1e-5
	}
	x = b.Conv(x, stem, graph.ConvSpec{In: in, Out: out, KH: k, KW: k, Stride: [2]int{stride, stride}, Pad: graph.Pad2(k/2, k/2), Groups: groups, NoBias: true})
	return b.BatchNorm(x, norm, out, eps)
}

func (r *ResNet) bottleneck(b *graph.Builder, x *graph.Node, name string, in, width, stride int) *graph.Node {
	out, groups := 4*width, max(r.Groups, 1)
	inner := width
	if r.WidthPerGroup > 0 {
		inner = width * r.WidthPerGroup / 64 * groups
	}
	first, second, pooled := 1, stride, 1
	switch {
	case r.AveragePool:
		second, pooled = 1, stride
	case r.StrideFirst:
		first, second = stride, 1
	}
	h := b.Act(r.conv(b, x, name+".conv1", name+".bn1", in, inner, 1, first, 1), kernels.ActReLU)
	h = b.Act(r.conv(b, h, name+".conv2", name+".bn2", inner, inner, 3, second, groups), kernels.ActReLU)
	h = r.conv(b, averagePool(b, h, pooled), name+".conv3", name+".bn3", inner, out, 1, 1, 1)
	return b.Act(b.Add(h, r.shortcut(b, x, name, in, out, stride)), kernels.ActReLU)
}

func (r *ResNet) basic(b *graph.Builder, x *graph.Node, name string, in, width, stride int) *graph.Node {
	h := b.Act(r.conv(b, x, name+".conv1", name+".bn1", in, width, 3, stride, 1), kernels.ActReLU)
	h = r.conv(b, h, name+".conv2", name+".bn2", width, width, 3, 1, 1)
	return b.Act(b.Add(h, r.shortcut(b, x, name, in, width, stride)), kernels.ActReLU)
}

// shortcut is the input, brought to the block's size where that differs.
func (r *ResNet) shortcut(b *graph.Builder, x *graph.Node, name string, in, out, stride int) *graph.Node {
	if stride == 1 && in == out {
		return x
	}
	if r.AveragePool {
		x, stride = averagePool(b, x, stride), 1
	}
	return r.conv(b, x, name+".downsample.0", name+".downsample.1", in, out, 1, stride, 1)
}

func averagePool(b *graph.Builder, x *graph.Node, stride int) *graph.Node {
	if stride == 1 {
		return x
	}
	return b.Op(graph.Pool{Kernel: [2]int{stride, stride}, Stride: [2]int{stride, stride}}, nil, x)
}
