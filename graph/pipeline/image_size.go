package pipeline

import (
	"fmt"
	"math"
	"slices"
)

// WithSize returns the processor for another image size than its own: the last step gives height x width, and resizing
// before a crop keeps its proportion to the crop. It is an error where the size does not come from steps of those kinds.
func (p *Image) WithSize(height, width int) (*Image, error) {
	q := *p
	q.Steps = slices.Clone(p.Steps)
	i := slices.IndexFunc(q.Steps, func(s ImageStep) bool { return s.Op == CenterCrop })
	if i < 0 {
		i = slices.IndexFunc(q.Steps, func(s ImageStep) bool { return s.Op == ResizeExact })
	}
	if i < 0 || p.Tiling != nil {
		return nil, fmt.Errorf("image size %dx%d: this model's preprocessing gives images of several sizes", height, width)
	}
	grown := math.Max(float64(height)/float64(q.Steps[i].Height), float64(width)/float64(q.Steps[i].Width))
	for j := range q.Steps[:i] {
		s := &q.Steps[j]
		scale := func(n *int) { *n = int(math.Round(float64(*n) * grown)) }
		scale(&s.Shortest)
		scale(&s.Longest)
		scale(&s.Height)
		scale(&s.Width)
	}
	q.Steps[i].Height, q.Steps[i].Width = height, width
	return &q, q.Check()
}
