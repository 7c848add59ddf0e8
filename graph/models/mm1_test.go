package models

import (
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

var updateMM1 = flag.Bool("update-mm1", false, "write MM1's golden cases")

const mm1Goldens = "../../testdata/goldens"

// mm1Case is a golden case of MM1's connectors, of which no original exists: the reading of the paper is reference, in float64.
type mm1Case struct {
	name, notes     string
	config          map[string]any
	side, width     int // of the features
	heads           int
	make            func(ts tensors, r *rand.Rand)
	reference       func(c *mm1Case, ts tensors, x tokenRows) tokenRows
	outTokens, wide int
}

var mm1Cases = []*mm1Case{
	{name: "mm1_average_pool", side: 7, width: 20, outTokens: 9, wide: 28,
		notes:  "arXiv:2403.09611, section 3.1, Average Pooling: n x n average pooling of the grid of patches (window i of m places covers floor(i m / n) to ceil((i+1) m / n), as torch's adaptive pooling, which is n equal windows where n divides m), then one linear projection; n = 3, 7 x 7 patches",
		config: map[string]any{"model_type": "mm1", "mm_hidden_size": 20, "hidden_size": 28, "connector": map[string]any{"type": "average_pool", "tokens": 9}},
		make: func(ts tensors, r *rand.Rand) {
			ts.random(r, "connector.proj.weight", 28, 20)
			ts.random(r, "connector.proj.bias", 28)
		},
		reference: func(c *mm1Case, ts tensors, x tokenRows) tokenRows {
			const n = 3
			var pooled tokenRows
			bounds := func(i int) (int, int) { return i * c.side / n, int(math.Ceil(float64((i+1)*c.side) / n)) }
			for i := range n {
				for j := range n {
					place := make([]float64, c.width)
					y0, y1 := bounds(i)
					x0, x1 := bounds(j)
					for y := y0; y < y1; y++ {
						for z := x0; z < x1; z++ {
							for ch, v := range x[y*c.side+z] {
								place[ch] += v / float64((y1-y0)*(x1-x0))
							}
						}
					}
					pooled = append(pooled, place)
				}
			}
			return ts.linear(pooled, "connector.proj")
		}},
	{name: "mm1_attention_pool", side: 6, width: 24, heads: 3, outTokens: 5, wide: 28,
		notes: "arXiv:2403.09611, section 3.1, Attention Pooling: k learned queries attend to all patches by heads; queries, keys and values are projections of equal width, the projection behind the heads leads to the language model's width; here with norms of queries and patches (eps 1e-5), which are left out where a checkpoint has none; k = 5, 3 heads",
		config: map[string]any{"model_type": "mm1", "mm_hidden_size": 24, "hidden_size": 28,
			"connector": map[string]any{"type": "attention_pool", "tokens": 5, "num_attention_heads": 3}},
		make: func(ts tensors, r *rand.Rand) {
			ts.random(r, "connector.queries", 1, 5, 24)
			for _, name := range []string{"q_proj", "k_proj", "v_proj"} {
				ts.random(r, "connector."+name+".weight", 24, 24)
				ts.random(r, "connector."+name+".bias", 24)
			}
			ts.random(r, "connector.out_proj.weight", 28, 24)
			ts.random(r, "connector.out_proj.bias", 28)
			for _, name := range []string{"connector.norm_q", "connector.norm_kv"} {
				ts.random(r, name+".weight", 24)
				ts.random(r, name+".bias", 24)
				for i := range ts[name+".weight"].Data {
					ts[name+".weight"].Data[i]++
				}
			}
		},
		reference: func(c *mm1Case, ts tensors, x tokenRows) tokenRows {
			q := ts.layerNorm(rowsOf(ts["connector.queries"], 0), "connector.norm_q", 1e-5)
			x = ts.layerNorm(x, "connector.norm_kv", 1e-5)
			h := attend(ts.linear(q, "connector.q_proj"), ts.linear(x, "connector.k_proj"), ts.linear(x, "connector.v_proj"), c.heads)
			return ts.linear(h, "connector.out_proj")
		}},
}

// expected computes the tokens of every sample.
func (c *mm1Case) expected(ts tensors, x *graph.Tensor) *graph.Tensor {
	out := graph.NewTensor(x.Shape[0], c.outTokens, c.wide)
	at := 0
	for i := range x.Shape[0] {
		for _, row := range c.reference(c, ts, rowsOf(x, i)) {
			for _, v := range row {
				out.Data[at] = float32(v)
				at++
			}
		}
	}
	return out
}

// TestMM1 holds the golden cases against the reference that they were made by; package verify/golden runs them.
func TestMM1(t *testing.T) {
	for _, c := range mm1Cases {
		if *updateMM1 {
			c.write(t)
		}
		ts, _ := golden(t, c.name)
		x := readTensors(t, filepath.Join(mm1Goldens, c.name, "inputs/inputs.safetensors"))["vision_features"]
		want := readTensors(t, filepath.Join(mm1Goldens, c.name, "expected.safetensors"))["visual_tokens"]
		got := c.expected(ts, x)
		if !got.Shape.Equal(want.Shape) {
			t.Fatalf("%s: shape %v, recorded %v", c.name, got.Shape, want.Shape)
		}
		for i, v := range got.Data {
			if math.Abs(float64(v-want.Data[i])) > 1e-6 {
				t.Fatalf("%s: value %d is %v, recorded %v", c.name, i, v, want.Data[i])
			}
		}
	}
}

// TestMM1Refuses: what the paper does not have is named.
func TestMM1Refuses(t *testing.T) {
	ts, files := golden(t, "mm1_average_pool")
	own := files["config.json"]
	for want, set := range map[string]func(c map[string]any){
		"connector.type is \"spiral\"": func(c map[string]any) { c["connector"].(map[string]any)["type"] = "spiral" },
		"connector.tokens is 8":        func(c map[string]any) { c["connector"].(map[string]any)["tokens"] = 8 },
		"connector.tokens is -4":       func(c map[string]any) { c["connector"].(map[string]any)["tokens"] = -4 },
		"hidden_size is 0":             func(c map[string]any) { c["hidden_size"] = 0 },
	} {
		files["config.json"] = edited(t, own, set)
		refused(t, ts.write(t, files), want)
	}
}

func readTensors(t *testing.T, path string) tensors {
	t.Helper()
	c, err := formats.Open(path, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ts := tensors{}
	for _, name := range c.Names() {
		src, _ := c.Tensor(name)
		x := graph.NewTensor(append([]int(nil), src.Shape...)...)
		if err := src.Float32s(x.Data, 0); err != nil {
			t.Fatal(err)
		}
		ts[name] = x
	}
	return ts
}

// write makes the case up.
func (c *mm1Case) write(t *testing.T) {
	t.Helper()
	r := rand.New(rand.NewPCG(2403, 9611))
	ts, in, out := tensors{}, tensors{}, tensors{}
	c.make(ts, r)
	in.random(r, "vision_features", 2, c.side*c.side, c.width)
	for i := range in["vision_features"].Data {
		in["vision_features"].Data[i] *= 5
	}
	out["visual_tokens"] = c.expected(ts, in["vision_features"])
	dir := filepath.Join(mm1Goldens, c.name)
	put := func(to string, raw []byte) {
		path := filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := func(v any) []byte {
		raw, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return append(raw, '\n')
	}
	for to, ts := range map[string]tensors{"checkpoint/model.safetensors": ts, "inputs/inputs.safetensors": in, "expected.safetensors": out} {
		raw, err := os.ReadFile(filepath.Join(ts.write(t, nil), "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		put(to, raw)
	}
	put("checkpoint/config.json", text(c.config))
	put("case.json", text(map[string]any{
		"name": c.name, "system": "MM1 abstractors", "row": 9, "kind": "projector", "checkpoint": "checkpoint",
		"reference": map[string]any{"project": "none: no code was published", "version": "arXiv:2403.09611",
			"class": "the paper as read here, computed in float64 loops by TestMM1 of graph/models/mm1_test.go"},
		"config_notes": c.notes,
		"inputs":       map[string]any{"vision_features": "inputs/inputs.safetensors:vision_features"},
		"expected": map[string]any{"visual_tokens": map[string]any{"shape": out["visual_tokens"].Shape, "dtype": "F32", "atol": 1e-5, "rtol": 1e-5,
			"final": true, "what": "tokens in the language model's space"}},
	}))
}
