package models

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
	"github.com/mmconv/mmconv/graph/fuse"
)

func tens(c *formats.Checkpoint, name string) *graph.Tensor {
	t, ok := c.Tensor(name)
	if !ok {
		return nil
	}
	x := graph.NewTensor(t.Shape...)
	if err := t.Float32s(x.Data, 0); err != nil {
		panic(err)
	}
	return x
}

func TestAdhoc(t *testing.T) {
	cases := strings.Fields(os.Getenv("CASES"))
	for _, cs := range cases {
		dir := filepath.Join("/work/shared/goldens", cs)
		var meta struct {
			Inputs   map[string]any
			Expected map[string]struct {
				Shape      []int
				Slice      string
				Atol, Rtol float64
			}
		}
		raw, _ := os.ReadFile(dir + "/case.json")
		if err := json.Unmarshal(raw, &meta); err != nil {
			t.Fatal(err)
		}
		ck, err := formats.Open(dir+"/checkpoint", formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(ck, Options{})
		if err != nil {
			t.Fatal(err)
		}
		exp, err := formats.Open(dir+"/expected.safetensors", formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		feeds := map[string]*graph.Tensor{}
		for name, v := range meta.Inputs {
			s, ok := v.(string)
			if !ok || m.Graph.Value(name) == nil {
				continue
			}
			if f, tn, ok := strings.Cut(s, ":"); ok {
				c, err := formats.Open(filepath.Join(dir, f), formats.Options{})
				if err != nil {
					t.Fatal(err)
				}
				feeds[name] = tens(c, tn)
			}
		}
		if pv := tens(exp, "pixel_values"); pv != nil && feeds["pixel_values"] == nil {
			feeds["pixel_values"] = pv
		}
		g := m.Graph
		for _, mode := range []string{"plain", "fused"} {
			if mode == "fused" {
				var rep *fuse.Report
				g, rep, err = fuse.Run(m.Graph, fuse.Options{})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Println(rep)
			}
			e, err := exec.New(g, exec.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for name, x := range meta.Expected {
				if g.Value(name) == nil || name == "pixel_values" {
					if mode == "plain" {
						fmt.Println(cs, name, "NOT THERE")
					}
					continue
				}
				out, err := e.Run(feeds, name)
				if err != nil {
					t.Error(cs, name, err)
					continue
				}
				want := tens(exp, name)
				got := out[name]
				if x.Slice != "" {
					fmt.Println(cs, name, "slice", x.Slice, got.Shape, want.Shape)
					continue
				}
				worst, max := 0.0, 0.0
				for i, w := range want.Data {
					d := math.Abs(float64(w - got.Data[i]))
					max = math.Max(max, d)
					worst = math.Max(worst, d/(x.Atol+x.Rtol*math.Abs(float64(w))))
				}
				fmt.Printf("%s %s %s %v max %.2g of tol %.3f\n", mode, cs, name, got.Shape, max, worst)
			}
			e.Close()
		}
	}
}
