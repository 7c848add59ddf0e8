package exec_test

import (
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
)

func TestRelativePositions(t *testing.T) {
	for _, op := range []graph.RelativePositions{{Buckets: 32, MaxDistance: 80}, {Left: 3, Right: 2}} {
		for _, n := range [][2]int{{1, 1}, {5, 3}, {40, 101}} {
			b := graph.NewBuilder(nil)
			q, k := b.Input("q", -1, -2, 2), b.Input("k", -1, -3, 2)
			b.Output(b.Op(op, nil, q, k), graph.Audio, "y")
			g, err := b.Graph()
			if err != nil {
				t.Fatal(err)
			}
			e, err := exec.New(g, exec.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			out, err := e.Run(t.Context(), map[string]*graph.Tensor{"q": graph.NewTensor(1, n[0], 2), "k": graph.NewTensor(1, n[1], 2)}, "y")
			if err != nil {
				t.Fatal(err)
			}
			for i := range n[0] {
				for j := range n[1] {
					if got := out["y"].Data[i*n[1]+j]; got != float32(op.Row(j-i)) {
						t.Fatalf("%+v: query %d, key %d: row %v, want %d", op, i, j, got, op.Row(j-i))
					}
				}
			}
		}
	}
	// The buckets of transformers' WavLM, 320 of them up to a distance of 800, by hand.
	wide := graph.RelativePositions{Buckets: 320, MaxDistance: 800}
	for distance, want := range map[int]int{0: 0, -1: 1, 1: 161, -79: 79, -80: 80, 80: 240, -800: 159, 5000: 319} {
		if got := wide.Row(distance); got != want {
			t.Errorf("distance %d has row %d, want %d", distance, got, want)
		}
	}
}
