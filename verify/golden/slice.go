package golden

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

// Slice is numpy's basic slicing, as golden cases use it to store a part of a tensor: integers, start:stop:step with any
// part left out or negative, one ellipsis, None.
type Slice struct {
	text  string
	items []sliceItem
}

type sliceKind int

const (
	sliceRange sliceKind = iota
	sliceIndex
	sliceEllipsis
	sliceNewAxis
)

type sliceItem struct {
	kind              sliceKind
	start, stop, step *int // nil where left out; an index is start
}

func (s *Slice) String() string {
	if s == nil {
		return ""
	}
	return s.text
}

// ParseSlice reads "[:, ::4, -40:]"; the brackets may be left out.
func ParseSlice(text string) (*Slice, error) {
	inner := strings.TrimSpace(text)
	if strings.HasPrefix(inner, "[") != strings.HasSuffix(inner, "]") {
		return nil, fmt.Errorf("slice %q: unbalanced brackets", text)
	}
	inner = strings.TrimSuffix(strings.TrimPrefix(inner, "["), "]")
	s := &Slice{text: text}
	ellipses := 0
	for _, part := range strings.Split(strings.TrimSuffix(strings.TrimSpace(inner), ","), ",") {
		item, err := parseSliceItem(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("slice %q: %w", text, err)
		}
		if item.kind == sliceEllipsis {
			ellipses++
		}
		s.items = append(s.items, item)
	}
	if ellipses > 1 {
		return nil, fmt.Errorf("slice %q: more than one ellipsis", text)
	}
	return s, nil
}

func parseSliceItem(part string) (sliceItem, error) {
	switch part {
	case "":
		return sliceItem{}, fmt.Errorf("an empty item")
	case "...", "Ellipsis":
		return sliceItem{kind: sliceEllipsis}, nil
	case "None", "np.newaxis":
		return sliceItem{kind: sliceNewAxis}, nil
	}
	fields := strings.Split(part, ":")
	if len(fields) > 3 {
		return sliceItem{}, fmt.Errorf("item %q has more than two colons", part)
	}
	var numbers [3]*int
	for i, f := range fields {
		if f = strings.TrimSpace(f); f == "" && len(fields) > 1 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 32)
		if err != nil {
			return sliceItem{}, fmt.Errorf("item %q: expected an integer, found %q", part, f)
		}
		v := int(n)
		numbers[i] = &v
	}
	if len(fields) == 1 {
		return sliceItem{kind: sliceIndex, start: numbers[0]}, nil
	}
	if numbers[2] != nil && *numbers[2] == 0 {
		return sliceItem{}, fmt.Errorf("item %q: step 0", part)
	}
	return sliceItem{kind: sliceRange, start: numbers[0], stop: numbers[1], step: numbers[2]}, nil
}

// span returns what a range selects of an axis, by Python's slice.indices.
func (it sliceItem) span(size int) (start, step, count int) {
	step = 1
	if it.step != nil {
		step = *it.step
	}
	low, high := 0, size
	if step < 0 {
		low, high = -1, size-1
	}
	clamp := func(p *int, otherwise int) int {
		if p == nil {
			return otherwise
		}
		v := *p
		if v < 0 {
			v += size
		}
		return max(low, min(high, v))
	}
	if step > 0 {
		start = clamp(it.start, low)
		stop := clamp(it.stop, high)
		return start, step, max(0, (stop-start+step-1)/step)
	}
	start = clamp(it.start, high)
	stop := clamp(it.stop, low)
	return start, step, max(0, (start-stop-step-1)/-step)
}

// Apply returns the selected part of a tensor; a nil slice selects everything.
func (s *Slice) Apply(t *graph.Tensor) (*graph.Tensor, error) {
	if s == nil {
		return t, nil
	}
	used := 0
	for _, it := range s.items {
		if it.kind == sliceRange || it.kind == sliceIndex {
			used++
		}
	}
	if used > len(t.Shape) {
		return nil, fmt.Errorf("slice %s of shape %v: it has %d axes", s.text, t.Shape, used)
	}
	strides := make([]int, len(t.Shape))
	for i, n := len(t.Shape)-1, 1; i >= 0; i-- {
		strides[i] = n
		n *= t.Shape[i]
	}
	var shape graph.Shape
	var steps []int
	offset, axis := 0, 0
	take := func(it sliceItem) error {
		size := t.Shape[axis]
		if it.kind == sliceIndex {
			i := *it.start
			if i < 0 {
				i += size
			}
			if i < 0 || i >= size {
				return fmt.Errorf("slice %s of shape %v: index %d is outside axis %d", s.text, t.Shape, *it.start, axis)
			}
			offset += i * strides[axis]
			axis++
			return nil
		}
		start, step, count := it.span(size)
		if count > 0 {
			offset += start * strides[axis]
		}
		shape, steps = append(shape, count), append(steps, step*strides[axis])
		axis++
		return nil
	}
	for _, it := range s.items {
		switch it.kind {
		case sliceNewAxis:
			shape, steps = append(shape, 1), append(steps, 0)
		case sliceEllipsis:
			for range len(t.Shape) - used {
				if err := take(sliceItem{}); err != nil {
					return nil, err
				}
			}
		default:
			if err := take(it); err != nil {
				return nil, err
			}
		}
	}
	for axis < len(t.Shape) {
		if err := take(sliceItem{}); err != nil {
			return nil, err
		}
	}
	out := graph.NewTensor(shape...)
	gather(out.Data, t.Data, offset, shape, steps)
	return out, nil
}

// gather copies a strided view in row-major order and returns how many elements it wrote.
func gather(dst, src []float32, offset int, shape graph.Shape, steps []int) int {
	if shape.Len() == 0 {
		return 0
	}
	if len(shape) == 0 {
		dst[0] = src[offset]
		return 1
	}
	n := 0
	for i := range shape[0] {
		n += gather(dst[n:], src, offset+i*steps[0], shape[1:], steps[1:])
	}
	return n
}
