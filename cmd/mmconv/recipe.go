package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/quant"
)

// recipeFlags are the flags that say how to convert, which convert and parity share.
type recipeFlags struct {
	o    quant.Options
	only []string
}

func (r *recipeFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.o.Weights, "weights", "", "int8, int4, float16, float32 or source (default int8)")
	f.StringVar(&r.o.Activations, "activations", "", "int8 (dynamic, per token) or float32 (default int8)")
	f.StringVar(&r.o.Group, "group-size", "", "values along a row that share a scale: 32, 64, 128 or channel (default: int8 channel, int4 32)")
	f.BoolVar(&r.o.Asymmetric, "asymmetric", false, "give every scale a zero point")
	f.StringVar(&r.o.Method, "method", "", "how the integers are chosen: "+strings.Join(methodNames(), ", ")+" (default mse)")
	f.StringVar(&r.o.Scales, "scales", "", "float16 or float32 (default: float16 in groups, else float32)")
	f.StringArrayVar(&r.o.Keep, "keep", nil, "glob of weights or tensors to keep as they are (may be repeated)")
	f.StringSliceVar(&r.only, "only", nil, "convert these components only: vision, text, audio, projector, decoder, joint")
	f.StringSliceVar(&r.o.NoFuse, "no-fuse", nil, "leave out these fusion passes")
	f.StringVar(&r.o.Recipe, "recipe", "", "recipe file (JSON); the flags overrule it")
	f.BoolVar(&r.o.AllowNonfinite, "allow-nonfinite", false, "convert weights that hold NaN or infinities")
}

func methodNames() []string {
	var names []string
	for _, m := range quant.Methods() {
		names = append(names, m.Name())
	}
	return names
}

var components = []graph.Component{graph.Vision, graph.Text, graph.Audio, graph.Projector, graph.Decoder, graph.Joint}

// options returns the flags as conversion options, checked.
func (r *recipeFlags) options() (quant.Options, error) {
	o := r.o
	for _, name := range r.only {
		found := false
		for _, c := range components {
			if string(c) == name {
				o.Only, found = append(o.Only, c), true
			}
		}
		if !found {
			return o, fmt.Errorf("--only %s: no such component; known are %v", name, components)
		}
	}
	_, err := o.Resolve()
	return o, err
}
