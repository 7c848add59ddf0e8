package graph_test

import (
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/graphtest"
)

// An input that is left out counts as full of its value, in the shape of another one or of that one's first axes.
func TestOptionalInput(t *testing.T) {
	b := graph.NewBuilder(graphtest.Params{})
	features := b.Input("features", -1, -2, 4)
	regions := b.OptionalInput("regions", features, 1, -1, -2)
	offsets := b.OptionalInput("offsets", b.Scale(features, 2), 0.5, -1, -2, 4)
	b.Output(b.Mul(b.Add(features, offsets), b.Rearrange(regions, "b r -> b r 1")), graph.Joint, "out")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	x := &graph.Tensor{Shape: graph.Shape{1, 2, 4}, Data: []float32{1, 2, 3, 4, 5, 6, 7, 8}}
	got := graphtest.Run(t, g, map[string]*graph.Tensor{"features": x}, "out")
	if want := []float32{1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5}; !slices.Equal(got["out"].Data, want) {
		t.Errorf("got %v, want %v", got["out"].Data, want)
	}
	mask := &graph.Tensor{Shape: graph.Shape{1, 2}, Data: []float32{1, 0}}
	got = graphtest.Run(t, g, map[string]*graph.Tensor{"features": x, "regions": mask}, "out")
	if want := []float32{1.5, 2.5, 3.5, 4.5, 0, 0, 0, 0}; !slices.Equal(got["out"].Data, want) {
		t.Errorf("with a mask: got %v, want %v", got["out"].Data, want)
	}
}
