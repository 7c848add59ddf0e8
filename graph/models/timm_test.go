package models

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// TestTimmTables holds every architecture of the tables against what the towers need.
func TestTimmTables(t *testing.T) {
	for _, family := range []string{familyViT, familyEVA} {
		for name := range timmArchitectures[family] {
			a := defaultViT(family)
			if err := timmArguments(name, &a); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if a.EmbedDim < 1 || a.NumHeads < 1 || a.EmbedDim%a.NumHeads != 0 || a.Rotary && a.EmbedDim/a.NumHeads%4 != 0 {
				t.Errorf("%s: %d channels in %d heads", name, a.EmbedDim, a.NumHeads)
			}
			if _, ok := activations[a.ActLayer]; !ok {
				t.Errorf("%s: activation %q", name, a.ActLayer)
			}
			want := family
			if strings.Contains(name, "siglip") {
				want = familySigLIP
			}
			if got := timmFamily(name); got != want {
				t.Errorf("%s belongs to %q, want %q", name, got, want)
			}
		}
	}
	if err := timmArguments("vit_base_patch16_224", &vitArgs{}, []byte(`{"img_size": [1,2,3]}`)); err == nil || !strings.Contains(err.Error(), "model_args") {
		t.Errorf("three sizes: %v", err)
	}
	if err := timmArguments("no_such_net", &vitArgs{}); err == nil || !strings.Contains(err.Error(), "no_such_net") {
		t.Errorf("an unknown architecture: %v", err)
	}
}

// tinyEVA makes up a checkpoint of timm's Eva with one matrix each for queries, keys, values and both halves of the MLP.
func tinyEVA(r *rand.Rand) tensors {
	ts := tensors{}
	const d, hidden = 16, 24
	ts.random(r, "patch_embed.proj.weight", d, 3, 4, 4)
	ts.random(r, "patch_embed.proj.bias", d)
	ts.random(r, "cls_token", 1, 1, d)
	ts.random(r, "pos_embed", 1, 1+9, d)
	for i := range 2 {
		name := fmt.Sprintf("blocks.%d.", i)
		for _, norm := range []string{"norm1", "norm2"} {
			ts.random(r, name+norm+".weight", d)
			ts.random(r, name+norm+".bias", d)
		}
		for _, p := range []string{"q", "k", "v"} {
			ts.random(r, name+"attn."+p+"_proj.weight", d, d)
		}
		ts.random(r, name+"attn.q_proj.bias", d)
		ts.random(r, name+"attn.v_proj.bias", d)
		ts.random(r, name+"attn.proj.weight", d, d)
		ts.random(r, name+"attn.proj.bias", d)
		for _, half := range []string{"fc1_g", "fc1_x"} {
			ts.random(r, name+"mlp."+half+".weight", hidden, d)
			ts.random(r, name+"mlp."+half+".bias", hidden)
		}
		ts.random(r, name+"mlp.fc2.weight", d, hidden)
		ts.random(r, name+"mlp.fc2.bias", d)
	}
	ts.random(r, "fc_norm.weight", d)
	ts.random(r, "fc_norm.bias", d)
	ts.random(r, "head.weight", 5, d)
	ts.random(r, "head.bias", 5)
	return ts
}

// joined moves tensors into one, along the first axis.
func (ts tensors) joined(name string, parts ...string) {
	x := &graph.Tensor{Shape: ts[parts[0]].Shape.With(0, 0)}
	for _, p := range parts {
		x.Shape[0] += ts[p].Shape[0]
		x.Data = append(x.Data, ts[p].Data...)
		delete(ts, p)
	}
	ts[name] = x
}

func evaConfigJSON(args string) map[string]string {
	return map[string]string{"config.json": `{"architecture": "eva02_base_patch14_224", "model_args": {"img_size": 12, "embed_dim": 16, "num_heads": 2` + args + `},
		"pretrained_cfg": {"input_size": [3, 12, 12], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}`}
}

// TestEVALayouts holds fused matrices against separate ones.
func TestEVALayouts(t *testing.T) {
	separate, fused := tinyEVA(rand.New(rand.NewPCG(1, 1))), tinyEVA(rand.New(rand.NewPCG(1, 1)))
	for i := range 2 {
		name := fmt.Sprintf("blocks.%d.", i)
		fused.joined(name+"attn.qkv.weight", name+"attn.q_proj.weight", name+"attn.k_proj.weight", name+"attn.v_proj.weight")
		fused.joined(name+"attn.q_bias", name+"attn.q_proj.bias")
		fused.joined(name+"attn.v_bias", name+"attn.v_proj.bias")
		fused.joined(name+"mlp.fc1.weight", name+"mlp.fc1_g.weight", name+"mlp.fc1_x.weight")
		fused.joined(name+"mlp.fc1.bias", name+"mlp.fc1_g.bias", name+"mlp.fc1_x.bias")
	}
	a, b := open(t, separate.write(t, evaConfigJSON("")), Options{}), open(t, fused.write(t, evaConfigJSON("")), Options{})
	if a.System != "eva-clip" || a.Naming != "timm" {
		t.Errorf("read as %s in %s naming", a.System, a.Naming)
	}
	sameOutputs(t, b, a, 0)
}

// TestMixedRotary learns the frequencies that axial positions have: both must turn alike.
func TestMixedRotary(t *testing.T) {
	axial, mixed := tinyEVA(rand.New(rand.NewPCG(2, 2))), tinyEVA(rand.New(rand.NewPCG(2, 2)))
	const depth, heads, half = 2, 2, 4
	freqs := graph.NewTensor(2, depth, heads, half)
	for axis := range 2 {
		for i := range depth * heads {
			for j := range half / 2 {
				freqs.Data[(axis*depth*heads+i)*half+axis*half/2+j] = float32(math.Pow(10000, -float64(j)/(half/2)))
			}
		}
	}
	mixed["rope.freqs"] = freqs
	a := open(t, axial.write(t, evaConfigJSON(`, "ref_feat_shape": null`)), Options{})
	b := open(t, mixed.write(t, evaConfigJSON(`, "ref_feat_shape": null, "rope_type": "mixed"`)), Options{})
	sameOutputs(t, b, a, 1e-6)
	still := open(t, axial.write(t, evaConfigJSON(`, "use_rot_pos_emb": false`)), Options{})
	if still.Graph.Value("logits") == nil {
		t.Error("no logits")
	}
}

// TestEVANamings writes one tower as timm and as EVA-CLIP, with every option that both have: they must compute the same.
func TestEVANamings(t *testing.T) {
	const text = `"text_cfg": {"context_length": 6, "vocab_size": 9, "width": 8, "heads": 2, "layers": 1}`
	for _, c := range []struct{ name, timm, eva string }{
		{"EVA-02", `, "global_pool": "token", "ref_feat_shape": [16, 16]`, `"rope": true, "intp_freq": true, "naiveswiglu": true, "subln": true`},
		{"post-norm", `, "global_pool": "token", "use_rot_pos_emb": false, "use_post_norm": true`, `"postnorm": true`},
		{"mean", `, "global_pool": "avg", "pool_include_prefix": true, "use_rot_pos_emb": false`, `"global_average_pool": true, "ls_init_value": 0.1`},
	} {
		ts := tinyEVA(rand.New(rand.NewPCG(3, 3)))
		r := rand.New(rand.NewPCG(4, 4))
		for i := range 2 {
			name := fmt.Sprintf("blocks.%d.", i)
			switch c.name {
			case "EVA-02":
				for stem, n := range map[string]int{"attn.norm": 16, "mlp.norm": 24} {
					ts.random(r, name+stem+".weight", n)
					ts.random(r, name+stem+".bias", n)
				}
			default:
				// One matrix for queries, keys and values, a plain MLP, and gains for the mean's sake.
				ts.joined(name+"attn.qkv.weight", name+"attn.q_proj.weight", name+"attn.k_proj.weight", name+"attn.v_proj.weight")
				ts.joined(name+"attn.q_bias", name+"attn.q_proj.bias")
				ts.joined(name+"attn.v_bias", name+"attn.v_proj.bias")
				ts.joined(name+"mlp.fc1.weight", name+"mlp.fc1_g.weight")
				ts.joined(name+"mlp.fc1.bias", name+"mlp.fc1_g.bias")
				delete(ts, name+"mlp.fc1_x.weight")
				delete(ts, name+"mlp.fc1_x.bias")
				if c.name == "mean" {
					ts.random(r, name+"gamma_1", 16)
					ts.random(r, name+"gamma_2", 16)
				}
			}
		}
		if c.name != "mean" {
			ts.joined("norm.weight", "fc_norm.weight")
			ts.joined("norm.bias", "fc_norm.bias")
		}
		released := tensors{}
		names := strings.NewReplacer("attn.norm", "attn.inner_attn_ln", "mlp.norm", "mlp.ffn_ln", "fc1_g", "w1", "fc1_x", "w2",
			"q_proj.bias", "q_bias", "v_proj.bias", "v_bias")
		for name, x := range ts {
			if c.name == "EVA-02" {
				name = strings.Replace(name, "mlp.fc2", "mlp.w3", 1)
			}
			released["visual."+names.Replace(name)] = x
		}
		released.random(r, "logit_scale")
		for name, shape := range map[string][]int{
			"token_embedding.weight": {9, 8}, "positional_embedding": {6, 8}, "ln_final.weight": {8}, "ln_final.bias": {8}, "text_projection": {8, 5},
			"ln_1.weight": {8}, "ln_1.bias": {8}, "ln_2.weight": {8}, "ln_2.bias": {8}, "attn.in_proj_weight": {24, 8}, "attn.in_proj_bias": {24},
			"attn.out_proj.weight": {8, 8}, "attn.out_proj.bias": {8}, "mlp.c_fc.weight": {32, 8}, "mlp.c_fc.bias": {32},
			"mlp.c_proj.weight": {8, 32}, "mlp.c_proj.bias": {8},
		} {
			if strings.HasPrefix(name, "attn.") || strings.HasPrefix(name, "mlp.") || strings.HasPrefix(name, "ln_1") || strings.HasPrefix(name, "ln_2") {
				name = "transformer.resblocks.0." + name
			}
			released.random(r, "text."+name, shape...)
		}
		a := open(t, ts.write(t, evaConfigJSON(c.timm)), Options{})
		b := open(t, released.write(t, map[string]string{"config.json": `{"embed_dim": 5, "vision_cfg": {"image_size": 12, "width": 16, "head_width": 8,
			"eva_model_name": "x", ` + c.eva + `}, ` + text + `}`}), Options{})
		if b.System != "eva-clip" || b.Naming != "baaivision" {
			t.Errorf("%s: read as %s in %s naming", c.name, b.System, b.Naming)
		}
		feed := map[string]*graph.Tensor{"pixel_values": graph.NewTensor(2, 3, 12, 12)}
		for i := range feed["pixel_values"].Data {
			feed["pixel_values"].Data[i] = float32(r.NormFloat64())
		}
		want := graphtest.Run(t, a.Graph, feed, "logits")["logits"]
		got := graphtest.Run(t, b.Graph, feed, "image_features")["image_features"]
		if e := graphtest.MaxError(t, c.name, got, want); e > 1e-6 {
			t.Errorf("%s: relative error %.2g", c.name, e)
		}
	}
}
