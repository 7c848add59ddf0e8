package run

import (
	"context"
	"fmt"
	"sort"

	"github.com/mmconv/mmconv/graph"
)

// blame charges a fault that shows in the graph only to the clip that caused it: one that is shorter than what the model's first
// layers look at.
func (p *Pass) blame(ctx context.Context, err error, names []string) error {
	a := p.Pipeline.Audio
	if ctx.Err() != nil || len(p.clips) == 0 || a == nil || len(p.waves) == 0 || p.Feeds[a.Input] == nil || p.Feeds[a.Input].Shape.Last() != p.waves[0] {
		return err
	}
	const longest = 1 << 17
	if p.waves[0] >= longest {
		return err
	}
	e, eerr := p.engine(p.graphFor(p.Feeds, names))
	if eerr != nil {
		return err
	}
	runs := func(samples int) bool {
		shapes := map[string]graph.Shape{}
		for name, t := range p.Feeds {
			shapes[name] = t.Shape
			if last := len(t.Shape) - 1; last >= 0 && t.Shape[last] == p.waves[0] {
				shapes[name] = t.Shape.With(last, samples)
			}
		}
		_, err := e.Compile(shapes, names...)
		return err == nil
	}
	// Longer clips run where shorter ones do.
	need := sort.Search(longest, runs)
	if need == longest || need <= p.waves[0] {
		return err
	}
	rate := float64(a.SampleRate)
	return &InputError{p.clips[0], fmt.Errorf("%d samples at %d Hz (%.4g s): this model needs at least %d (%.4g s)",
		p.waves[0], a.SampleRate, float64(p.waves[0])/rate, need, float64(need)/rate)}
}
