package graph

import (
	"fmt"
	"math"
)

var _ = register(RelativePositions{})

// RelativePositions numbers how far key j stands from query i, as rows of a learned table. In: q and k [B, S, ...], of which only
// the lengths matter. The value is [Sq, Sk].
//
// With Buckets, near distances have a number of their own and far ones share, more the farther they are, up to MaxDistance; those
// ahead have the second half of the numbers (Raffel et al. 2020, T5, as WavLM has it). Else the distance j - i is cut to -Left to
// Right and counted from -Left on (Shaw et al. 2018).
type RelativePositions struct {
	Buckets     int `json:",omitempty"`
	MaxDistance int `json:",omitempty"`
	Left        int `json:",omitempty"`
	Right       int `json:",omitempty"`
}

// Infer takes the lengths over.
func (o RelativePositions) Infer(in, _ []Shape) (Shape, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if len(in[0]) < 2 || len(in[1]) < 2 {
		return nil, fmt.Errorf("queries %v and keys %v have no length", in[0], in[1])
	}
	if o.Buckets != 0 && (o.Buckets < 4 || o.Buckets%4 != 0 || o.MaxDistance <= o.Buckets/4) || o.Left < 0 || o.Right < 0 {
		return nil, fmt.Errorf("%d buckets up to a distance of %d, or distances -%d to %d", o.Buckets, o.MaxDistance, o.Left, o.Right)
	}
	return Shape{in[0][1], in[1][1]}, nil
}

// Row returns the number of a distance, that of the key less that of the query.
func (o RelativePositions) Row(distance int) int {
	if o.Buckets == 0 {
		return max(-o.Left, min(o.Right, distance)) + o.Left
	}
	row, half := 0, o.Buckets/2
	if distance > 0 {
		row = half
	}
	distance = max(distance, -distance)
	exact := half / 2
	if distance < exact {
		return row + distance
	}
	far := float32(math.Log(float64(float32(distance)/float32(exact)))) / float32(math.Log(float64(o.MaxDistance)/float64(exact))) * float32(half-exact)
	return row + min(exact+int(far), half-1)
}
