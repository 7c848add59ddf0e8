package models

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

// rearranged returns a tensor with its axes reordered.
func rearranged(t testing.TB, x *graph.Tensor, pattern string, sizes map[string]int) *graph.Tensor {
	t.Helper()
	e := graph.RearrangeExpr(graph.Values("x", x.Data, x.Shape...), pattern, sizes)
	v, err := e.Eval()
	if err != nil {
		t.Fatal(err)
	}
	return &graph.Tensor{Shape: e.Shape(), Data: v}
}

// TestBigVision writes a SigLIP of transformers as big_vision does, layer by layer and with the layers stacked: the three
// must compute the same.
func TestBigVision(t *testing.T) {
	hf, files := golden(t, "siglip-hf-dual")
	const heads = 4
	flax := tensors{}
	layer := regexp.MustCompile(`^(vision|text)_model\.encoder\.layers\.(\d+)\.(.*)$`)
	inverse := map[string]string{
		"y x i o -> o i y x": "o i y x -> y x i o", "i o -> o i": "o i -> i o",
		"i h d -> (h d) i": "(h d) i -> i h d", "h d -> (h d)": "(h d) -> h d", "h d o -> o (h d)": "o (h d) -> h d o",
	}
	put := func(name, layout string, x *graph.Tensor) {
		if layout != "" {
			sizes := map[string]int{}
			if strings.Contains(layout, "h") {
				sizes["h"] = heads
			}
			x = rearranged(t, x, inverse[layout], sizes)
		}
		if strings.HasSuffix(name, "pos_embedding") {
			x = &graph.Tensor{Shape: append(graph.Shape{1}, x.Shape...), Data: x.Data}
		}
		flax["params/"+name] = x
	}
	for name, x := range hf {
		if m := layer.FindStringSubmatch(name); m != nil {
			tower := map[string]string{"vision": "img/Transformer", "text": "txt/Encoder_0"}[m[1]]
			for _, r := range bigVisionLayer {
				if r.canonical == m[3] {
					put(fmt.Sprintf("%s/encoderblock_%s/%s", tower, m[2], r.source), r.layout, x)
				}
			}
			continue
		}
		if kind, ok := strings.CutPrefix(name, "vision_model.head.attention.in_proj_"); ok {
			for i, part := range []string{"query", "key", "value"} {
				n := x.Shape[0] / 3
				size := len(x.Data) / 3
				third := &graph.Tensor{Shape: x.Shape.With(0, n), Data: x.Data[i*size : (i+1)*size]}
				leaf, layout := "kernel", "i h d -> (h d) i"
				if kind == "bias" {
					leaf, layout = "bias", "h d -> (h d)"
				}
				put("img/MAPHead_0/MultiHeadDotProductAttention_0/"+part+"/"+leaf, layout, third)
			}
			continue
		}
		for _, r := range bigVisionNames {
			if r.canonical == name {
				put(r.source, r.layout, x)
			}
		}
	}
	stacked := tensors{}
	block := regexp.MustCompile(`^(.*/encoderblock)_(\d+)(/.*)$`)
	for name, x := range flax {
		m := block.FindStringSubmatch(name)
		if m == nil {
			stacked[name] = x
			continue
		}
		if m[2] != "0" {
			continue
		}
		all := &graph.Tensor{Shape: append(graph.Shape{0}, x.Shape...)}
		for i := 0; flax[fmt.Sprintf("%s_%d%s", m[1], i, m[3])] != nil; i++ {
			all.Data = append(all.Data, flax[fmt.Sprintf("%s_%d%s", m[1], i, m[3])].Data...)
			all.Shape[0]++
		}
		stacked[m[1]+m[3]] = all
	}
	want := open(t, hf.write(t, files), Options{})
	image := map[string]string{"preprocessor_config.json": files["preprocessor_config.json"]}
	for _, ts := range []tensors{flax, stacked} {
		got := open(t, ts.write(t, image), Options{})
		if got.System != "siglip" || got.Naming != "big_vision" {
			t.Errorf("read as %s in %s naming", got.System, got.Naming)
		}
		sameOutputs(t, got, want, 0)
	}
}
