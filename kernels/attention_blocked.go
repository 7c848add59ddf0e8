package kernels

// The blocked attention works on the transposed problem. A block is a few registers of queries, one query in each lane:
//
//	scores[key][query] = K Q^T,  sums[d][query] = V^T P
//
// Both products broadcast numbers of K or V, read where they lie, against rows of queries; maxima and sums of the softmax
// run down the lanes. Only the queries, and at the end the sums, are transposed.

// attentionKeys is how many keys a block of scores has at most: with the queries and the sums it fits the first-level cache.
const attentionKeys = 96

// attentionVectors is how many registers of queries a block has; the assembly counts on it.
const attentionVectors = 3

// attentionBlock holds a worker's matrices, whose rows are as many numbers long as attentionVectors registers have.
type attentionBlock struct {
	queries, scores, sums, bias []float32
	largest, sum, scale         []float32
	factors                     []float32 // Scale for each of Dim, as transpose takes it
	gathered                    []float32 // keys and values, if they are read more than once
	keys, values                []float32
	keyRow, valueRow            int
}

func (a *Attention) blockedScratch(lanes int) int {
	width := attentionVectors * lanes
	return width*(a.Dim+2*attentionKeys+a.valueDim()+3) + roundUp(a.Dim, 16) + a.Keys*(roundUp(a.Dim, 16)+roundUp(a.valueDim(), 16))
}

func roundUp(n, multiple int) int { return ceilDiv(n, multiple) * multiple }

func (a *Attention) block(scratch []float32, width int) (b attentionBlock) {
	take := func(n int) []float32 {
		part := scratch[:n:n]
		scratch = scratch[n:]
		return part
	}
	b.queries = take(width * a.Dim)
	b.scores = take(width * attentionKeys)
	b.sums = take(width * a.valueDim())
	b.bias = take(width * attentionKeys)
	b.largest, b.sum, b.scale = take(width), take(width), take(width)
	b.factors = take(roundUp(a.Dim, 16))
	b.gathered = scratch
	return b
}

// gather finds the keys and values of a head. Rows of a fused matrix may lie apart by a multiple of the cache's size, so
// that they push each other out of it: what is read for more than two blocks of queries is copied to rows without gaps.
func (s *attentionBlock) gather(a *Attention, b, kvHead, keys int, copied bool) {
	s.keys, s.keyRow = a.K.at(b, 0, kvHead), a.K.Row
	s.values, s.valueRow = a.V.at(b, 0, kvHead), a.V.Row
	if copied {
		s.keys, s.gathered = copyRows(s.gathered, s.keys, s.keyRow, keys, a.Dim)
		s.values, _ = copyRows(s.gathered, s.values, s.valueRow, keys, a.valueDim())
		s.keyRow, s.valueRow = roundUp(a.Dim, 16), roundUp(a.valueDim(), 16)
	}
}

func copyRows(dst, src []float32, srcRow, rows, n int) (copied, rest []float32) {
	width := roundUp(n, 16)
	for r := range rows {
		copy(dst[r*width:][:n], src[r*srcRow:])
	}
	return dst[:rows*width], dst[rows*width:]
}

// attendBlocked computes queries q0 to q1-1 of one head.
func (a *Attention) attendBlocked(b, h, q0, q1, lanes int, scratch []float32) {
	width := attentionVectors * lanes
	s := a.block(scratch, width)
	for i := range s.factors {
		s.factors[i] = a.scale()
	}
	if total := a.keyCount(b, q1-1); total > 0 { // the last query sees the most
		s.gather(a, b, h/(a.Heads/a.kvHeads()), total, q1-q0 > 2*width)
	}
	for q0 < q1 {
		vectors := ceilDiv(q1-q0, lanes)
		if vectors == attentionVectors+1 {
			vectors = 2 // two and two rather than three and one
		}
		vectors = min(vectors, attentionVectors)
		n := min(vectors*lanes, q1-q0)
		a.attendBlock(b, h, q0, n, vectors, width, &s)
		q0 += n
	}
}

// attendBlock computes the n queries from q0 on, which take that many registers.
func (a *Attention) attendBlock(b, h, q0, n, vectors, width int, s *attentionBlock) {
	dim, valueDim := a.Dim, a.valueDim()
	lanes := width / attentionVectors
	if n < vectors*lanes {
		clear(s.queries)
	}
	transpose(s.queries, a.Q.at(b, q0, h), s.factors, width, a.Q.Row, n, dim)
	for i := range width {
		s.largest[i] = -maxFloat32
	}
	clear(s.sum)
	total := a.keyCount(b, q0+n-1)
	if total == 0 {
		clear(s.sums)
	}
	for k0, step := 0, a.keyStep(b); k0 < total; k0 += step {
		keys := min(step, total-k0)
		attentionProduct(vectors, s.scores, s.keys[k0*s.keyRow:], s.queries, keys, dim, s.keyRow, 1, nil)
		if len(a.Bias.Data) > 0 {
			a.addBias(b, h, q0, n, k0, keys, width, s)
		}
		if a.Causal {
			a.maskFuture(b, q0, n, k0, keys, width, s.scores)
		}
		attentionSoftmax(vectors, s.scores, s.largest, s.sum, s.scale, keys)
		scale := s.scale
		if k0 == 0 {
			scale = nil // the sums hold nothing yet
		}
		attentionProduct(vectors, s.sums, s.values[k0*s.valueRow:], s.scores, valueDim, keys, 1, s.valueRow, scale)
	}
	for i, v := range s.sum[:n] {
		s.scale[i] = 0
		if v != 0 {
			s.scale[i] = 1 / v
		}
	}
	transpose(a.Out.at(b, q0, h), s.sums, s.scale, a.Out.Row, width, valueDim, n)
}

// keyStep spreads the keys of a batch evenly over blocks. It must not depend on where blocks of queries begin, as that
// depends on the number of threads.
func (a *Attention) keyStep(b int) int {
	keys := a.Keys
	if a.KeyLengths != nil {
		keys = min(keys, a.KeyLengths[b])
	}
	keys = max(keys, 1)
	return roundUp(ceilDiv(keys, ceilDiv(keys, attentionKeys)), 8)
}

// addBias adds the block's part of the bias to its scores.
func (a *Attention) addBias(b, h, q0, n, k0, keys, width int, s *attentionBlock) {
	m := &a.Bias
	part := m.Data[b*m.Batch+h*m.Head+q0*m.Query+k0:]
	if m.Query == 0 {
		for k, v := range part[:keys] {
			row := s.scores[k*width:][:width]
			Affine(row, row, 1, v)
		}
		return
	}
	transpose(s.bias, part, ones[:], width, m.Query, n, keys)
	for k := range keys {
		row := s.scores[k*width:][:n]
		combine(OpAdd, row, row, s.bias[k*width:][:n])
	}
}

var ones = func() (o [attentionKeys]float32) {
	for i := range o {
		o[i] = 1
	}
	return o
}()

// maskFuture makes the scores of the keys that a query must not see minus infinity.
func (a *Attention) maskFuture(b, q0, n, k0, keys, width int, scores []float32) {
	for q := range n {
		for k := max(a.keyCount(b, q0+q)-k0, 0); k < keys; k++ {
			scores[k*width+q] = negInf
		}
	}
}

// transpose writes src[r*srcRow+c] * scale[c] to dst[c*dstRow+r] for r < rows, c < cols.
func transpose(dst, src, scale []float32, dstRow, srcRow, rows, cols int) {
	r8, c8 := rows&^7, cols&^7
	if r8 > 0 && c8 > 0 {
		// A line of the cache at a time is written to the end: rows of dst may lie apart such that few lines of theirs fit.
		for c := 0; c < c8; c += 8 {
			transposeBlocks(dst[c*dstRow:], src[c:], scale[c:], dstRow, srcRow, r8, 8)
		}
	} else {
		c8 = 0
	}
	if c8 == 0 {
		r8 = 0
	}
	for r := range rows {
		first := c8
		if r >= r8 {
			first = 0
		}
		for c := first; c < cols; c++ {
			dst[c*dstRow+r] = src[r*srcRow+c] * scale[c]
		}
	}
}
