package report

import (
	"fmt"
	"io"

	"github.com/mmconv/mmconv/graph/converted"
)

// Converted is what a report says about a conversion.
type Converted struct {
	Quantized int            `json:"quantized"` // weights that were quantized
	Float     []FloatWeight  `json:"float"`     // those that stayed float, and why
	Schemes   map[string]int `json:"schemes"`   // how many weights have which scheme
	Bytes     int64          `json:"bytes"`
}

// FloatWeight is a weight that a conversion left in float.
type FloatWeight struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// DescribeWeights says what became of weights.
func DescribeWeights(w converted.Weights) *Converted {
	c := &Converted{Schemes: map[string]int{}, Float: []FloatWeight{}, Bytes: w.Bytes()}
	for _, r := range w {
		if r.Quantized == nil {
			c.Float = append(c.Float, FloatWeight{Name: r.Name, Reason: r.Reason})
			continue
		}
		c.Quantized++
		scheme := fmt.Sprintf("%s, %s, activations %s", r.Format(), r.Quantized.Method, r.Quantized.Activations)
		if r.Reason != "" {
			scheme += ": " + r.Reason
		}
		c.Schemes[scheme]++
	}
	return c
}

// WriteTable prints the schemes and the reasons for people.
func (c *Converted) WriteTable(w io.Writer) error {
	s := c.section(1)
	s.title = fmt.Sprintf("%d weights quantized, %d stayed float; %s", c.Quantized, len(c.Float), Bytes(c.Bytes))
	return s.write(w)
}
