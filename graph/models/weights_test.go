package models

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/fuse"
)

// The weights of every system, before and after fusion, can be written and read back against the same checkpoint.
func TestWeightsRoundTrip(t *testing.T) {
	configs, err := filepath.Glob("../../testdata/goldens/*/checkpoint/config.json")
	if err != nil || len(configs) == 0 {
		t.Fatalf("no checkpoints: %v", err)
	}
	for _, config := range configs {
		dir := filepath.Dir(config)
		t.Run(filepath.Base(filepath.Dir(dir)), func(t *testing.T) {
			g := open(t, dir, Options{}).Graph
			fused, _, err := fuse.Run(g, fuse.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range []*graph.Graph{g, fused} {
				ws := graph.Weights(g.Nodes())
				tensors := map[string]*formats.Tensor{}
				data, err := graph.EncodeWeights(ws, func(x *formats.Tensor) string {
					name := x.File + ": " + x.Name
					tensors[name] = x
					return name
				})
				if err != nil {
					t.Fatal(err)
				}
				again, err := graph.DecodeWeights(data, func(name string) (*formats.Tensor, error) {
					if x := tensors[name]; x != nil {
						return x, nil
					}
					return nil, fmt.Errorf("no tensor %s", name)
				})
				if err != nil {
					t.Fatal(err)
				}
				for i, w := range ws {
					if again[i].Name != w.Name || again[i].Expr != w.Expr {
						t.Fatalf("weight %s = %s came back as %s = %s", w.Name, w.Expr, again[i].Name, again[i].Expr)
					}
				}
			}
		})
	}
}
