package models

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// TestNExTGPTGroup holds the grouping projector, of which there is no recorded case, against loops: two stages that group and a
// last one that does not.
func TestNExTGPTGroup(t *testing.T) {
	const in, d, out, heads = 10, 16, 12, 8
	const root = "model.mm_input_projector"
	ts, r := tensors{}, rand.New(rand.NewPCG(5, 6))
	linear := func(stem string, o, i int, biased bool) {
		ts.random(r, stem+".weight", o, i)
		if biased {
			ts.random(r, stem+".bias", o)
		}
	}
	norm := func(stem string) {
		ts.random(r, stem+".weight", d)
		ts.random(r, stem+".bias", d)
	}
	linear(root+".in_fc", d, in, true)
	linear(root+".out_fc", out, d, true)
	norm(root + ".norm")
	tokens, groups, depths := []int{6, 3, 0}, []int{5, 2}, []int{2, 1, 1}
	for i, depth := range depths {
		at := fmt.Sprintf("%s.layers.%d", root, i)
		for j := range depth {
			blk := fmt.Sprintf("%s.blocks.%d", at, j)
			norm(blk + ".norm1")
			norm(blk + ".norm2")
			linear(blk+".attn.qkv", 3*d, d, false)
			linear(blk+".attn.proj", d, d, true)
			linear(blk+".mlp.fc1", 4*d, d, true)
			linear(blk+".mlp.fc2", d, 4*d, true)
		}
		if tokens[i] == 0 {
			continue
		}
		ts.random(r, at+".group_token", 1, tokens[i], d)
		if i > 0 {
			norm(at + ".group_projector.0")
			linear(at+".group_projector.1.fc1", d/2, tokens[i-1], true)
			linear(at+".group_projector.1.fc2", tokens[i], d/2, true)
		}
		down := at + ".downsample"
		for _, name := range []string{".norm_x", ".norm_tokens", ".norm_post_tokens", ".norm_new_x", ".pre_assign_attn.norm2", ".pre_assign_attn.norm_post"} {
			norm(down + name)
		}
		linear(down+".mlp_inter.fc1", d/2, tokens[i], true)
		linear(down+".mlp_inter.fc2", groups[i], d/2, true)
		linear(down+".mlp_channels.fc1", 4*d, d, true)
		linear(down+".mlp_channels.fc2", d, 4*d, true)
		linear(down+".pre_assign_attn.mlp.fc1", 4*d, d, true)
		linear(down+".pre_assign_attn.mlp.fc2", d, 4*d, true)
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "proj"} {
			linear(down+".pre_assign_attn.attn."+name, d, d, true)
			linear(down+".assign."+name, d, d, true)
		}
	}
	m := open(t, ts.write(t, map[string]string{"config.json": `{"mm_input_projector_type": "group"}`}), Options{})
	x := graph.NewTensor(2, 9, in)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	got := graphtest.Run(t, m.Graph, map[string]*graph.Tensor{"vision_features": x}, "visual_tokens")["visual_tokens"]

	const eps = 1e-5
	mlp := func(x tokenRows, stem string) tokenRows {
		return ts.linear(ts.linear(x, stem+".fc1").gelu(), stem+".fc2")
	}
	mixed := func(x tokenRows, stem string) tokenRows { return mlp(x.turned(), stem).turned() }
	part := func(x tokenRows, i int) tokenRows {
		var y tokenRows
		for _, row := range x {
			y = append(y, row[i*d:(i+1)*d])
		}
		return y
	}
	want := graph.NewTensor(2, groups[1], out)
	for sample := range 2 {
		x := ts.linear(rowsOf(x, sample), root+".in_fc")
		var previous tokenRows
		for i, depth := range depths {
			at := fmt.Sprintf("%s.layers.%d", root, i)
			if tokens[i] > 0 {
				own := rowsOf(ts[at+".group_token"], 0)
				if i > 0 {
					own = own.plus(mixed(ts.layerNorm(previous, at+".group_projector.0", eps), at+".group_projector.1"))
				}
				x = slices.Concat(x, own)
			}
			for j := range depth {
				blk := fmt.Sprintf("%s.blocks.%d", at, j)
				qkv := ts.linear(ts.layerNorm(x, blk+".norm1", eps), blk+".attn.qkv")
				x = x.plus(ts.linear(attend(part(qkv, 0), part(qkv, 1), part(qkv, 2), heads), blk+".attn.proj"))
				x = x.plus(mlp(ts.layerNorm(x, blk+".norm2", eps), blk+".mlp"))
			}
			if tokens[i] == 0 {
				continue
			}
			x, previous = x[:len(x)-tokens[i]], x[len(x)-tokens[i]:]
			down := at + ".downsample"
			x = ts.layerNorm(x, down+".norm_x", eps)
			g := ts.layerNorm(mixed(ts.layerNorm(previous, down+".norm_tokens", eps), down+".mlp_inter"), down+".norm_post_tokens", eps)
			a := down + ".pre_assign_attn"
			g = g.plus(ts.linear(attend(ts.linear(g, a+".attn.q_proj"), ts.linear(x, a+".attn.k_proj"), ts.linear(x, a+".attn.v_proj"), heads), a+".attn.proj"))
			g = g.plus(mlp(ts.layerNorm(g, a+".norm2", eps), a+".mlp"))
			g = ts.layerNorm(g, a+".norm_post", eps)
			q, k, v := ts.linear(g, down+".assign.q_proj"), ts.linear(x, down+".assign.k_proj"), ts.linear(x, down+".assign.v_proj")
			sums, counts := make(tokenRows, len(g)), make([]float64, len(g))
			for n := range sums {
				sums[n] = make([]float64, d)
			}
			for s := range x {
				best, at := 0, -1e30
				for n := range g {
					like := 0.0
					for c := range d {
						like += q[n][c] * k[s][c]
					}
					if like > at {
						best, at = n, like
					}
				}
				counts[best]++
				for c := range d {
					sums[best][c] += v[s][c]
				}
			}
			for n := range sums {
				for c := range d {
					sums[n][c] /= counts[n] + 1
				}
			}
			g = g.plus(ts.linear(sums, down+".assign.proj"))
			x = g.plus(mlp(ts.layerNorm(g, down+".norm_new_x", eps), down+".mlp_channels"))
		}
		for i, row := range ts.linear(ts.layerNorm(x, root+".norm", eps), root+".out_fc") {
			for c, v := range row {
				want.Data[(sample*groups[1]+i)*out+c] = float32(v)
			}
		}
	}
	if e := graphtest.MaxError(t, "visual_tokens", got, want); e > 1e-5 {
		t.Errorf("relative error %.2g", e)
	}
}

// TestNExTGPTOutputs: the projectors of each kind of media have inputs and outputs of their own.
func TestNExTGPTOutputs(t *testing.T) {
	ts, r := tensors{}, rand.New(rand.NewPCG(1, 1))
	for i, name := range []string{"img", "vid", "aud"} {
		ts.random(r, "mm_output_"+name+"_projector.weight", 4+i, 6)
		ts.random(r, "mm_output_"+name+"_projector.bias", 4+i)
	}
	m := open(t, ts.write(t, nil), Options{})
	for i, prefix := range []string{"", "video.", "audio."} {
		out := graphtest.Run(t, m.Graph, map[string]*graph.Tensor{prefix + "signal_hidden": graph.NewTensor(2, 3, 6)}, prefix+"generation_condition")
		if s := out[prefix+"generation_condition"].Shape; !s.Equal(graph.Shape{2, 3, 4 + i}) {
			t.Errorf("%sgeneration_condition has shape %v", prefix, s)
		}
	}
	ts.random(r, "mm_output_vid_projector.own.weight", 2, 2)
	delete(ts, "mm_output_vid_projector.weight")
	refused(t, ts.write(t, nil), "mm_output_vid_projector")
}
