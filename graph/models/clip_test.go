package models

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// edited changes a JSON file.
func edited(t *testing.T, text string, f func(map[string]any)) string {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	f(c)
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// refused imports a folder, which must fail and say why.
func refused(t *testing.T, dir, why string) {
	t.Helper()
	c, err := formats.Open(dir, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Open(c, Options{}); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("error %v; expected one that says %q", err, why)
	}
}

// TestCLIPConfigTwice: settings that an older file holds twice, of which the second count whole.
func TestCLIPConfigTwice(t *testing.T) {
	ts, files := golden(t, "clip-hf-dual-quickgelu")
	want := open(t, ts.write(t, files), Options{})
	files["config.json"] = edited(t, files["config.json"], func(c map[string]any) {
		c["text_config_dict"], c["vision_config_dict"] = c["text_config"], nil
		c["text_config"] = map[string]any{"hidden_size": 3, "layer_norm_eps": 0.5, "hidden_act": "relu"}
	})
	sameOutputs(t, open(t, ts.write(t, files), Options{}), want, 0)
}

// TestOpenCLIPTextProjection: with a bias the projection is a layer, also where the text tower is at the top.
func TestOpenCLIPTextProjection(t *testing.T) {
	ts, files := golden(t, "openclip-vit-shared")
	want := open(t, ts.write(t, files), Options{})
	p := ts["text_projection"]
	delete(ts, "text_projection")
	ts["text_projection.weight"] = rearranged(t, p, "i o -> o i", nil)
	ts["text_projection.bias"] = graph.NewTensor(p.Shape[1])
	sameOutputs(t, open(t, ts.write(t, files), Options{}), want, 1e-6)
}

// TestOpenCLIPResNetSize: a size that the strides leave a rest of is the configuration's, not what positions times 32 give.
func TestOpenCLIPResNetSize(t *testing.T) {
	ts, files := golden(t, "clip-openai-rn-shared")
	for _, name := range []string{"input_resolution", "context_length", "vocab_size"} {
		delete(ts, name)
	}
	blocks := func(prefix string) int {
		n := map[string]bool{}
		for name := range ts {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				i, _, _ := strings.Cut(rest, ".")
				n[i] = true
			}
		}
		return len(n)
	}
	width := ts["ln_final.weight"].Shape[0]
	raw, err := json.Marshal(map[string]any{"model_cfg": map[string]any{
		"embed_dim": ts["text_projection"].Shape[1], "quick_gelu": true,
		"vision_cfg": map[string]any{"image_size": 100, "width": ts["visual.layer1.0.conv1.weight"].Shape[0],
			"layers": []int{blocks("visual.layer1."), blocks("visual.layer2."), blocks("visual.layer3."), blocks("visual.layer4.")}},
		"text_cfg": map[string]any{"width": width, "heads": width / 64, "layers": blocks("transformer.resblocks."),
			"context_length": ts["positional_embedding"].Shape[0], "vocab_size": ts["token_embedding.weight"].Shape[0]},
	}})
	if err != nil {
		t.Fatal(err)
	}
	files[openCLIPFile] = string(raw)
	m := open(t, ts.write(t, files), Options{})
	if dims := m.Graph.Value("pixels").Op.(graph.Input).Dims; dims[2] != 100 || dims[3] != 100 {
		t.Errorf("pixels %v, expected 100 x 100", dims)
	}
	files[openCLIPFile] = strings.Replace(files[openCLIPFile], "100", "160", 1)
	refused(t, ts.write(t, files), "attnpool.positional_embedding")
}

// TestTrunkWithoutPooling: open_clip drops the attention pooling of a trunk where it adds a projection.
func TestTrunkWithoutPooling(t *testing.T) {
	ts, files := golden(t, "siglip-openclip-shared")
	for name := range ts {
		if strings.Contains(name, ".attn_pool.") {
			delete(ts, name)
		}
	}
	m := open(t, ts.write(t, files), Options{})
	if s := m.Graph.ExampleShapes()[m.Graph.Value("image_features")]; len(s) != 2 {
		t.Errorf("image_features %v, expected one vector an image", s)
	}
}

func TestNFNetPooling(t *testing.T) {
	ts, files := golden(t, "nfnet-plain-shared")
	own := files["config.json"]
	files["config.json"] = edited(t, own, func(c map[string]any) { c["global_pool"] = "max" })
	refused(t, ts.write(t, files), `global_pool is "max"`)
	files["config.json"] = edited(t, own, func(c map[string]any) { delete(c["pretrained_cfg"].(map[string]any), "input_size") })
	open(t, ts.write(t, files), Options{})
}
