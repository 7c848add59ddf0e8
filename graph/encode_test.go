package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
	"github.com/mmconv/mmconv/kernels"
)

// small builds a graph that uses an operation of each family.
func small(t testing.TB) *graph.Graph {
	b := graph.NewBuilder(graphtest.Params{})
	x := b.Input("x", -1, 6, 6, 4)
	x = b.Conv(x, "conv", graph.ConvSpec{In: 4, Out: 8, KH: 3, KW: 3, Stride: [2]int{2, 2}, Pad: graph.Pad2(1, 1)})
	x = b.Name(b.Rearrange(x, "b h w c -> b (h w) c"), "tokens")
	h := b.LayerNorm(x, "norm", 8, 1e-5)
	h = b.Attention(b.Linear(h, "q", 8, 8), b.LinearNoBias(h, "k", 8, 8), b.Linear(h, "v", 8, 8), graph.AttentionSpec{Heads: 2, HeadDim: 4})
	x = b.Name(b.Add(x, b.Linear(h, "o", 8, 8)), "mixed")
	x = b.Add(x, b.Linear(b.Act(b.Linear(x, "fc1", 8, 16), kernels.ActGELU), "fc2", 16, 8))
	b.Output(b.Op(graph.Reduce{Kind: graph.Mean, Axis: 1}, nil, x), graph.Vision, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func weightsOf(g *graph.Graph) func(string) (*graph.Weight, error) {
	byName := map[string]*graph.Weight{}
	for _, w := range graph.Weights(g.Nodes()) {
		byName[w.Name] = w
	}
	return func(name string) (*graph.Weight, error) {
		if w := byName[name]; w != nil {
			return w, nil
		}
		return nil, fmt.Errorf("no weight %q", name)
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	g := small(t)
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	again, err := graph.Decode(data, weightsOf(g))
	if err != nil {
		t.Fatal(err)
	}
	data2, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, data2) {
		t.Errorf("written again:\n%s\nwant\n%s", data2, data)
	}
	feeds := graphtest.Feeds(t, g)
	want := graphtest.Run(t, g, feeds, "out", "mixed")
	got := graphtest.Run(t, again, feeds, "out", "mixed")
	for name := range want {
		if e := graphtest.MaxError(t, name, got[name], want[name]); e != 0 {
			t.Errorf("%s: differs by %g after a round trip", name, e)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	g := small(t)
	for _, c := range []struct{ name, file, says string }{
		{"no JSON", "{", "ends before its JSON"},
		{"unknown operation", `{"outputs":[{"name":"a"}],"nodes":[{"op":"Explode"}]}`, "unknown operation"},
		{"input from the future", `{"nodes":[{"op":"Softmax","in":[0]}]}`, "not an earlier node"},
		{"negative input", `{"nodes":[{"op":"Softmax","in":[-1]}]}`, "not an earlier node"},
		{"unknown weight", `{"nodes":[{"op":"Parameter","params":["nope"]}]}`, "no weight"},
		{"missing weight", `{"outputs":[{"name":"a"}],"names":["a"],"nodes":[{"op":"Parameter","names":["a"]}]}`, "lacks weight"},
		{"too many weights", `{"outputs":[{"name":"a"}],"names":["a"],"nodes":[{"op":"Input","params":["norm.bias"],"names":["a"]}]}`, "takes no weights"},
		{"no outputs", `{"nodes":[]}`, "no outputs"},
		{"output of nothing", `{"outputs":[{"name":"a"}],"nodes":[]}`, "not computed"},
		{"name of nothing", `{"names":["a"],"nodes":[]}`, "no value"},
		{"one name twice", `{"nodes":[{"op":"Input","names":["a"]},{"op":"Input","names":["a"]}]}`, "two values"},
		{"alternate of nothing", `{"alternates":{"a":7},"nodes":[]}`, "alternate"},
		{"bad attribute", `{"nodes":[{"op":"Concat","attrs":{"Axis":"x"}}]}`, "node 0"},
	} {
		_, err := graph.Decode([]byte(c.file), weightsOf(g))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.says)
		}
	}
}

func FuzzDecode(f *testing.F) {
	g := small(f)
	data, err := json.Marshal(g)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	weights := weightsOf(g)
	f.Fuzz(func(t *testing.T, data []byte) {
		if g, err := graph.Decode(data, weights); err == nil {
			g.ExampleShapes() // must not panic whatever the attributes are
		}
	})
}

func TestPruneAndClone(t *testing.T) {
	g := small(t)
	c := g.Clone()
	if err := c.Prune(graph.Vision); err != nil {
		t.Fatal(err)
	}
	if c.Value("mixed") == nil || g.Value("mixed") == c.Value("mixed") {
		t.Error("a clone shares nodes, or a value on the way to the output was dropped")
	}
	if err := g.Clone().Prune(graph.Audio); err == nil || !strings.Contains(err.Error(), "vision") {
		t.Errorf("pruning to a component that is not there: %v", err)
	}
}
