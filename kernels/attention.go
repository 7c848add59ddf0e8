package kernels

import (
	"fmt"
	"math"
)

// Heads is a view of a [batch, rows, heads, dim] tensor: the number of (b, r, h, d) is Data[b*Batch + r*Row + h*Head + d].
// So the queries, keys and values can be read from one fused matrix.
type Heads struct {
	Data             []float32
	Batch, Row, Head int
}

// at returns the numbers from (b, r, h, 0) on.
func (v *Heads) at(b, r, h int) []float32 { return v.Data[b*v.Batch+r*v.Row+h*v.Head:] }

// covers tells if the view lies within its data.
func (v *Heads) covers(batch, rows, heads, dim int) bool {
	last := (batch-1)*v.Batch + (rows-1)*v.Row + (heads-1)*v.Head + dim
	return v.Batch >= 0 && v.Row >= 0 && v.Head >= 0 && last <= len(v.Data)
}

// Bias is a view of what is added to the scaled scores before the softmax: the number for (b, h, query, key) is
// Data[b*Batch + h*Head + query*Query + key]. A stride of 0 repeats it along that dimension. Minus infinity masks a key.
type Bias struct {
	Data               []float32
	Batch, Head, Query int
}

// Attention is softmax(Scale Q K^T + Bias) V for every batch and head, computed in blocks of queries and keys with a running
// maximum and sum (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135), so that no score matrix is
// stored. A query whose keys are all masked gives zeros.
//
// Error: at most 3e-6 of the largest output for scores up to 20 and 1500 keys. Results do not depend on the number of threads. An Attention
// may be run many times, also with other sizes and data, but by one goroutine at a time.
type Attention struct {
	// Batch, Heads, Queries, Keys and Dim are the sizes; Dim is that of q and k.
	Batch, Heads, Queries, Keys, Dim int
	// KVHeads is the number of heads of K and V if they are shared by groups of query heads (it divides Heads); 0 means Heads.
	KVHeads int
	// ValueDim is the head size of V and Out; 0 means Dim.
	ValueDim int
	// Q and Out are [Batch, Queries, Heads], K and V [Batch, Keys, KVHeads]. Out must not overlap the others.
	Q, K, V, Out Heads
	// Scale multiplies the scores; 0 means 1, as where it is folded into Q.
	Scale float32
	// Causal lets query i see only keys up to i + Keys - Queries.
	Causal bool
	// Bias is added to the scaled scores, if it has data.
	Bias Bias
	// KeyLengths gives, if not nil, the number of keys that count for each batch; the rest is masked.
	KeyLengths []int

	scratch [][]float32
	chunk   int // queries of one part
}

// Run computes the attention with the workers of a pool. It allocates only when it needs more scratch memory than any
// earlier call.
func (a *Attention) Run(p *Pool) {
	if a.Batch == 0 || a.Heads == 0 || a.Queries == 0 {
		return
	}
	a.check()
	a.chunk = a.queryChunk(p.Threads())
	for len(a.scratch) < p.Threads() {
		a.scratch = append(a.scratch, nil)
	}
	need := a.scratchSize()
	for w := range p.Threads() {
		if len(a.scratch[w]) < need {
			a.scratch[w] = make([]float32, need)
		}
	}
	p.Run(a.Batch*a.Heads*ceilDiv(a.Queries, a.chunk), a)
}

// Part computes one chunk of queries of one head; it makes an Attention a [Task]. Use [Attention.Run].
func (a *Attention) Part(part, worker int) {
	chunks := ceilDiv(a.Queries, a.chunk)
	q0 := part % chunks * a.chunk
	h := part / chunks % a.Heads
	b := part / chunks / a.Heads
	a.attend(b, h, q0, min(q0+a.chunk, a.Queries), a.scratch[worker])
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func (a *Attention) kvHeads() int {
	if a.KVHeads == 0 {
		return a.Heads
	}
	return a.KVHeads
}

func (a *Attention) valueDim() int {
	if a.ValueDim == 0 {
		return a.Dim
	}
	return a.ValueDim
}

func (a *Attention) scale() float32 {
	if a.Scale == 0 {
		return 1
	}
	return a.Scale
}

// check panics if a view leaves its data: the kernels below do not look.
func (a *Attention) check() {
	kv, vd := a.kvHeads(), a.valueDim()
	switch {
	case a.Heads%kv != 0:
		panic(fmt.Sprintf("kernels: attention of %d heads over %d key heads", a.Heads, kv))
	case !a.Q.covers(a.Batch, a.Queries, a.Heads, a.Dim):
		panic("kernels: attention: queries leave their data")
	case a.Keys > 0 && !a.K.covers(a.Batch, a.Keys, kv, a.Dim):
		panic("kernels: attention: keys leave their data")
	case a.Keys > 0 && !a.V.covers(a.Batch, a.Keys, kv, vd):
		panic("kernels: attention: values leave their data")
	case !a.Out.covers(a.Batch, a.Queries, a.Heads, vd):
		panic("kernels: attention: output leaves its data")
	case a.KeyLengths != nil && len(a.KeyLengths) < a.Batch:
		panic(fmt.Sprintf("kernels: attention: %d key lengths for a batch of %d", len(a.KeyLengths), a.Batch))
	}
	if m := &a.Bias; len(m.Data) > 0 && a.Keys > 0 &&
		(a.Batch-1)*m.Batch+(a.Heads-1)*m.Head+(a.Queries-1)*m.Query+a.Keys > len(m.Data) {
		panic("kernels: attention: bias leaves its data")
	}
}

// keyCount returns how many leading keys query q of batch b sees.
func (a *Attention) keyCount(b, q int) int {
	n := a.Keys
	if a.KeyLengths != nil {
		n = min(n, a.KeyLengths[b])
	}
	if a.Causal {
		n = min(n, q+1+a.Keys-a.Queries)
	}
	return max(n, 0)
}

// queryChunk returns how many queries make a part: as many as leave each thread four parts, since a part gathers its keys
// and values first.
func (a *Attention) queryChunk(threads int) int {
	lanes := attentionLanes()
	if lanes == 0 {
		return min(a.Queries, 64)
	}
	vectors := ceilDiv(a.Queries, lanes)
	parts := ceilDiv(4*threads, a.Batch*a.Heads)
	return max(ceilDiv(vectors, parts), min(vectors, attentionVectors)) * lanes
}

func (a *Attention) scratchSize() int {
	if lanes := attentionLanes(); lanes > 0 {
		return a.blockedScratch(lanes)
	}
	return a.Keys
}

// attend computes queries q0 to q1-1 of one head.
func (a *Attention) attend(b, h, q0, q1 int, scratch []float32) {
	if lanes := attentionLanes(); lanes > 0 {
		a.attendBlocked(b, h, q0, q1, lanes, scratch)
		return
	}
	a.attendGeneric(b, h, q0, q1, scratch)
}

// attendGeneric handles one query at a time.
func (a *Attention) attendGeneric(b, h, q0, q1 int, scratch []float32) {
	kvh := h / (a.Heads / a.kvHeads())
	scale := a.scale()
	for q := q0; q < q1; q++ {
		out := a.Out.at(b, q, h)[:a.valueDim()]
		clear(out)
		n := a.keyCount(b, q)
		if n == 0 {
			continue
		}
		scores := scratch[:n]
		query := a.Q.at(b, q, h)[:a.Dim]
		for k := range scores {
			scores[k] = scale * dot(query, a.K.at(b, k, kvh)[:a.Dim])
		}
		if len(a.Bias.Data) > 0 {
			m := &a.Bias
			combine(OpAdd, scores, scores, m.Data[b*m.Batch+h*m.Head+q*m.Query:][:n])
		}
		largest := MaxOf(scores)
		if math.IsInf(float64(largest), -1) {
			continue
		}
		s := expSum(scores, scores, largest)
		for k, p := range scores {
			AddScaled(out, a.V.at(b, k, kvh)[:len(out)], p)
		}
		Scale(out, out, float32(1/s))
	}
}

// dot returns the sum of a[i]*b[i], with four running sums.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s [4]float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s[0] += a[i] * b[i]
		s[1] += a[i+1] * b[i+1]
		s[2] += a[i+2] * b[i+2]
		s[3] += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s[0] += a[i] * b[i]
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
