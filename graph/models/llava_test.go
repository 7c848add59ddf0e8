package models

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// TestLLaVALayers: several layers are joined in each token; weights of zero for the second leave what the first gives.
func TestLLaVALayers(t *testing.T) {
	ts, files := golden(t, "llava15-hf-gelu")
	want := open(t, ts.write(t, files), Options{})
	const name = "multi_modal_projector.linear_1.weight"
	one := ts[name]
	out, in := one.Shape[0], one.Shape[1]
	two := graph.NewTensor(out, 2*in)
	for o := range out {
		copy(two.Data[o*2*in:], one.Data[o*in:(o+1)*in])
	}
	ts[name] = two
	own := files["config.json"]
	set := func(v any) {
		files["config.json"] = edited(t, own, func(c map[string]any) { c["vision_feature_layer"] = v })
	}
	set([]int{-2, 1})
	sameOutputs(t, open(t, ts.write(t, files), Options{}), want, 1e-5)
	set([]int{-2, 9})
	refused(t, ts.write(t, files), "feature layer is 9 of a tower of 3 layers")
	set("last")
	refused(t, ts.write(t, files), "vision_feature_layer is")
}

// TestLLaVATower: the tower may be a folder of both of CLIP's towers, and the projector nothing at all.
func TestLLaVATower(t *testing.T) {
	const source = "../../testdata/goldens/llava10-original-linear/checkpoint"
	want := open(t, source, Options{})
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	edit := func(file string, f func(map[string]any)) {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(edited(t, string(text), f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("vision_tower/config.json", func(c map[string]any) {
		text, _ := json.Marshal(c)
		var own map[string]any
		_ = json.Unmarshal(text, &own)
		clear(c)
		c["model_type"], c["vision_config"], c["projection_dim"] = "clip", own, 7
	})
	sameOutputs(t, open(t, dir, Options{}), want, 0)

	edit("config.json", func(c map[string]any) { c["s2"] = true })
	refused(t, dir, "s2 is true")
	edit("config.json", func(c map[string]any) { c["s2"] = false })

	for _, name := range []string{"model.safetensors", "mm_projector.bin"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	head := tensors{"lm_head.weight": graph.NewTensor(2, 2)}.write(t, nil)
	if err := os.Rename(filepath.Join(head, "model.safetensors"), filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	edit("config.json", func(c map[string]any) { c["mm_projector_type"] = "identity" })
	m := open(t, dir, Options{})
	if m.Graph.Value("image_features") != m.Graph.Value("selected_features") {
		t.Error("image_features are not the selected features")
	}
}

// TestLLaVASigLIP: a tower of SigLIP, all of whose patches are seen; its features are those of the tower alone.
func TestLLaVASigLIP(t *testing.T) {
	ts, files := golden(t, "siglip-hf-interp-48x96")
	alone := open(t, ts.write(t, files), Options{})
	var vision map[string]any
	if err := json.Unmarshal([]byte(files["config.json"]), &vision); err != nil {
		t.Fatal(err)
	}
	all := tensors{}
	for name, x := range ts {
		all["vision_tower."+name] = x
	}
	width := ts["vision_model.post_layernorm.weight"].Shape[0]
	r := rand.New(rand.NewPCG(1, 2))
	for _, i := range []string{"1", "2"} {
		all.random(r, "multi_modal_projector.linear_"+i+".weight", width, width)
		all.random(r, "multi_modal_projector.linear_"+i+".bias", width)
	}
	files["config.json"] = edited(t, `{"model_type": "llava", "vision_feature_select_strategy": "full", "vision_feature_layer": -1}`, func(c map[string]any) {
		c["vision_config"], c["text_config"] = vision, map[string]any{"hidden_size": width}
	})
	m := open(t, all.write(t, files), Options{})
	feeds := graphtest.Feeds(t, alone.Graph)
	last := fmt.Sprintf("hidden_state.%v", vision["num_hidden_layers"])
	a := graphtest.Run(t, m.Graph, feeds, "selected_features")["selected_features"]
	b := graphtest.Run(t, alone.Graph, feeds, last)[last]
	if e := graphtest.MaxError(t, last, a, b); e != 0 {
		t.Errorf("relative error %.2g against the tower alone", e)
	}
}
