package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Permutation is a solved [Rearrange]: view the input as From, order its axes by Perm, view the result as Out.
type Permutation struct {
	From Shape
	Perm []int // axis i of the result is axis Perm[i] of From
	Out  Shape

	// The loops that copy: neighbours joined, axes of one dropped, sizes and source distances outermost first.
	size, step []int
}

// NewPermutation returns the permutation of a shape's axes; its Out is the permuted shape.
func NewPermutation(from Shape, perm []int) *Permutation {
	p := &Permutation{From: from, Perm: perm}
	for _, a := range perm {
		p.Out = append(p.Out, from[a])
	}
	p.plan()
	return p
}

// Identity reports whether elements keep their order, so that the result is a view.
func (p *Permutation) Identity() bool {
	last := -1
	for _, a := range p.Perm {
		if p.From[a] == 1 {
			continue
		}
		if a < last {
			return false
		}
		last = a
	}
	return true
}

// parsePattern splits one side of a pattern into its axes, each a list of names multiplied together; "1" is an axis of one.
func parsePattern(side string) ([][]string, error) {
	var axes [][]string
	var group []string
	open := false
	for _, tok := range strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(side)) {
		switch {
		case tok == "(" && !open:
			open, group = true, []string{}
		case tok == ")" && open:
			open = false
			axes = append(axes, group)
		case tok == "(" || tok == ")":
			return nil, fmt.Errorf("parentheses do not match")
		case tok == "1" && open:
			// a factor of one
		case tok == "1":
			axes = append(axes, []string{})
		case open:
			group = append(group, tok)
		default:
			axes = append(axes, []string{tok})
		}
	}
	if open {
		return nil, fmt.Errorf("parentheses do not match")
	}
	return axes, nil
}

// String prints the pattern and the given sizes.
func (o Rearrange) String() string {
	s := o.Pattern
	for _, name := range sortedKeys(o.Sizes) {
		s += fmt.Sprintf(", %s=%d", name, o.Sizes[name])
	}
	return s
}

// Solve computes the permutation for an input shape.
func (o Rearrange) Solve(in Shape) (*Permutation, error) {
	fail := func(format string, args ...any) (*Permutation, error) {
		return nil, fmt.Errorf("pattern %q of %v: %s", o.Pattern, in, fmt.Sprintf(format, args...))
	}
	l, r, ok := strings.Cut(o.Pattern, "->")
	if !ok {
		return fail("no arrow")
	}
	left, err := parsePattern(l)
	if err != nil {
		return fail("%v", err)
	}
	right, err := parsePattern(r)
	if err != nil {
		return fail("%v", err)
	}
	if len(left) != len(in) {
		return fail("expected %d axes", len(left))
	}
	sizes := map[string]int{}
	for name, n := range o.Sizes {
		if n < 1 {
			return fail("axis %s of size %d", name, n)
		}
		sizes[name] = n
	}
	var order []string
	for i, axis := range left {
		known, free := 1, ""
		for _, name := range axis {
			if slices.Contains(order, name) {
				return fail("axis %s stands twice", name)
			}
			order = append(order, name)
			if n, ok := sizes[name]; ok {
				known *= n
			} else if free == "" {
				free = name
			} else {
				return fail("the sizes of %s and %s are both unknown", free, name)
			}
		}
		if free != "" {
			if known == 0 || in[i]%known != 0 {
				return fail("axis %d does not divide by %d", i, known)
			}
			sizes[free] = in[i] / known
		} else if known != in[i] {
			return fail("axis %d should be %d", i, known)
		}
	}
	p := &Permutation{}
	for _, name := range order {
		p.From = append(p.From, sizes[name])
	}
	for _, axis := range right {
		size := 1
		for _, name := range axis {
			i := slices.Index(order, name)
			if i < 0 || slices.Contains(p.Perm, i) {
				return fail("axis %s stands on the right only, or twice", name)
			}
			p.Perm = append(p.Perm, i)
			size *= sizes[name]
		}
		p.Out = append(p.Out, size)
	}
	if len(p.Perm) != len(order) {
		return fail("an axis of the left is missing on the right")
	}
	if len(order) > maxAxes {
		return fail("more than %d axes", maxAxes)
	}
	p.plan()
	return p, nil
}

// Apply writes the reordered elements of src to dst.
func (p *Permutation) Apply(dst, src []float32) {
	if len(src) == 0 {
		return
	}
	n := len(p.size)
	if n == 0 || n == 1 && p.step[0] == 1 {
		copy(dst, src)
		return
	}
	var index [maxAxes]int
	inner, innerStep := p.size[n-1], p.step[n-1]
	for off, d := 0, 0; ; {
		if innerStep == 1 {
			copy(dst[d:d+inner], src[off:off+inner])
		} else {
			row := dst[d : d+inner]
			for i, o := 0, off; i < inner; i, o = i+1, o+innerStep {
				row[i] = src[o]
			}
		}
		d += inner
		a := n - 2
		for ; a >= 0; a-- {
			index[a]++
			off += p.step[a]
			if index[a] < p.size[a] {
				break
			}
			off -= p.size[a] * p.step[a]
			index[a] = 0
		}
		if a < 0 {
			return
		}
	}
}

// maxAxes bounds the axes of a pattern.
const maxAxes = 16

// plan fills in the loops of Apply.
func (p *Permutation) plan() {
	strides := make([]int, len(p.From))
	for s, i := 1, len(p.From)-1; i >= 0; i-- {
		strides[i] = s
		s *= p.From[i]
	}
	for _, a := range p.Perm {
		if p.From[a] == 1 {
			continue
		}
		if k := len(p.size) - 1; k >= 0 && p.step[k] == strides[a]*p.From[a] {
			p.size[k] *= p.From[a]
			p.step[k] = strides[a]
			continue
		}
		p.size = append(p.size, p.From[a])
		p.step = append(p.step, strides[a])
	}
}
