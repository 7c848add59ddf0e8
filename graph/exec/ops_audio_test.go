package exec_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/exec"
)

// run1 computes an operation of inputs x0, x1, ...
func run1(t *testing.T, op graph.Op, in ...*graph.Tensor) *graph.Tensor {
	t.Helper()
	b := graph.NewBuilder(nil)
	feeds := map[string]*graph.Tensor{}
	var nodes []*graph.Node
	for i, x := range in {
		name := fmt.Sprintf("x%d", i)
		nodes = append(nodes, b.Input(name, x.Shape...))
		feeds[name] = x
	}
	b.Output(b.Op(op, nil, nodes...), graph.Audio, "y")
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	e, err := exec.New(g, exec.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out, err := e.Run(t.Context(), feeds, "y")
	if err != nil {
		t.Fatal(err)
	}
	return out["y"]
}

func counted(shape ...int) *graph.Tensor {
	x := graph.NewTensor(shape...)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	return x
}

// Windows are cut as rolling the map and reordering its axes would, and joined back to the same map.
func TestWindows(t *testing.T) {
	for _, o := range []graph.Windows{{H: 4, W: 4, Size: 2}, {H: 4, W: 6, Size: 2, Shift: 1}, {H: 12, W: 8, Size: 4, Shift: 2}, {H: 6, W: 3, Size: 3, Shift: 2}, {H: 5, W: 5, Size: 5}} {
		const batch, channels = 2, 3
		x := counted(batch, o.H*o.W, channels)
		got := run1(t, o, x)
		at := 0
		for b := range batch {
			for i := range o.H / o.Size {
				for j := range o.W / o.Size {
					for p := range o.Size {
						for q := range o.Size {
							y, z := (i*o.Size+p+o.Shift)%o.H, (j*o.Size+q+o.Shift)%o.W
							for c := range channels {
								if want := x.Data[((b*o.H+y)*o.W+z)*channels+c]; got.Data[at] != want {
									t.Fatalf("%+v: element %d is %v, want %v", o, at, got.Data[at], want)
								}
								at++
							}
						}
					}
				}
			}
		}
		o.Join = true
		if back := run1(t, o, got); !slices.Equal(back.Data, x.Data) || !back.Shape.Equal(x.Shape) {
			t.Errorf("%+v does not undo the cut", o)
		}
	}
}

func TestReflectPad(t *testing.T) {
	got := run1(t, graph.ReflectPad{Before: 2, After: 3}, counted(2, 4))
	if want := []float32{2, 1, 0, 1, 2, 3, 2, 1, 0, 6, 5, 4, 5, 6, 7, 6, 5, 4}; !slices.Equal(got.Data, want) {
		t.Errorf("%v, want %v", got.Data, want)
	}
}

func TestDecibel(t *testing.T) {
	x := &graph.Tensor{Shape: graph.Shape{6}, Data: []float32{0, -1, 1e-10, 1, 1000, 2}}
	got := run1(t, graph.Decibel{Floor: 1e-10}, x)
	for i, want := range []float64{-100, -100, -100, 0, 30, 10 * math.Log10(2)} {
		if math.Abs(float64(got.Data[i])-want) > 1e-5 {
			t.Errorf("%v dB of %v, want %v", got.Data[i], x.Data[i], want)
		}
	}
}

func TestTokenPositions(t *testing.T) {
	x := &graph.Tensor{Shape: graph.Shape{2, 5}, Data: []float32{0, 7, 2, 1, 1, 1, 0, 1, 9, 2}}
	got := run1(t, graph.TokenPositions{Pad: 1}, x)
	if want := []float32{2, 3, 4, 1, 1, 1, 2, 1, 3, 4}; !slices.Equal(got.Data, want) {
		t.Errorf("%v, want %v", got.Data, want)
	}
}

// A mask of samples gives each clip as many frames as the convolutions make of it alone.
func TestFrameMask(t *testing.T) {
	o := graph.FrameMask{Kernel: []int{10, 3}, Stride: []int{5, 2}}
	const samples = 60
	lengths := []int{60, 31, 20, 19, 0}
	mask := graph.NewTensor(len(lengths), samples)
	for b, n := range lengths {
		for i := range n {
			mask.Data[b*samples+i] = 1
		}
	}
	frames := ((samples-10)/5+1-3)/2 + 1
	got := run1(t, o, mask, graph.NewTensor(len(lengths), frames, 4))
	for b, want := range []int{5, 2, 1, 0, 0} {
		row := got.Data[b*frames : (b+1)*frames]
		for i, v := range row {
			if (v == 1) != (i < want) {
				t.Errorf("%d samples: frames %v, want the first %d", lengths[b], row, want)
				break
			}
		}
	}
}
