package run

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/mmconv/mmconv/graph"
)

// Part is the share that some of a pass's samples have in it. Clips of different length go through the graph apart where one
// would be filled up to the length of another and nothing tells the model so: what a clip gives never depends on its company.
type Part struct {
	*Pass
	Samples []int // the places of its samples in the whole pass
}

// Parts returns the passages that the inputs make: one, but for clips of different length.
func (p *Pass) Parts() []Part {
	if p.parts == nil {
		return []Part{{Pass: p}}
	}
	return p.parts
}

// splits reports whether clips of these lengths have to go apart.
func (p *Pass) splits(waves [][]float32) bool {
	if p.Recording != nil || p.Pipeline.Audio.Samples > 0 || p.Pipeline.Audio.Mask && p.Has("attention_mask") && !p.options.NoPadding {
		return false
	}
	return slices.ContainsFunc(waves, func(w []float32) bool { return len(w) != len(waves[0]) })
}

// split makes a part of the clips of each length, in the order of their first ones.
func (p *Pass) split(ctx context.Context, files []string, waves [][]float32) error {
	at := map[int]int{}
	for i, w := range waves {
		j, ok := at[len(w)]
		if !ok {
			j = len(p.parts)
			at[len(w)] = j
			p.parts = append(p.parts, Part{})
		}
		p.parts[j].Samples = append(p.parts[j].Samples, i)
	}
	rest := maps.Clone(p.in)
	clear(p.in)
	for j := range p.parts {
		in := maps.Clone(rest)
		clips := Input{}
		for _, i := range p.parts[j].Samples {
			clips.Waves = append(clips.Waves, waves[i])
			if files != nil {
				clips.Samples = append(clips.Samples, []string{files[i]})
			}
		}
		in["audio"] = clips
		var err error
		if p.parts[j].Pass, err = p.NewPass(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// join puts the parts' values together, sample by sample; shorter ones are filled up with zeros.
func (p *Pass) join(ctx context.Context, names []string) (map[string]*graph.Tensor, error) {
	values := make([]map[string]*graph.Tensor, len(p.parts))
	samples := 0
	for i, part := range p.parts {
		var err error
		if values[i], err = part.Fetch(ctx, names...); err != nil {
			return nil, err
		}
		samples += len(part.Samples)
	}
	out := map[string]*graph.Tensor{}
	for _, name := range names {
		shape := slices.Clone(values[0][name].Shape)
		for i, v := range values {
			s := v[name].Shape
			if len(s) != len(shape) || len(s) == 0 || s[0] != len(p.parts[i].Samples) {
				return nil, fmt.Errorf("value %q: shape %v for %d clips of one length: it cannot be put together with that of clips of another; give them one at a time",
					name, s, len(p.parts[i].Samples))
			}
			for a := range s {
				shape[a] = max(shape[a], s[a])
			}
		}
		shape[0] = samples
		t := graph.NewTensor(shape...)
		row := shape[1:].Len()
		for i, v := range values {
			from := v[name]
			n := from.Shape[1:].Len()
			for j, at := range p.parts[i].Samples {
				place(t.Data[at*row:(at+1)*row], shape[1:], from.Data[j*n:(j+1)*n], from.Shape[1:])
			}
		}
		out[name] = t
	}
	return out, nil
}

// place copies a block into the corner of a larger one.
func place(dst []float32, to graph.Shape, src []float32, from graph.Shape) {
	if len(from) <= 1 || to[1:].Equal(from[1:]) {
		copy(dst, src)
		return
	}
	d, s := to[1:].Len(), from[1:].Len()
	for i := range from[0] {
		place(dst[i*d:(i+1)*d], to[1:], src[i*s:(i+1)*s], from[1:])
	}
}
