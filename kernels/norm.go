package kernels

import "math"

// LayerNorm normalises each of rows rows of cols numbers to zero mean and unit variance (Ba et al., arXiv:1607.06450) and
// applies gain and bias, each of cols numbers or nil. The variance is the biased one, over deviations from the mean (two
// passes), so that it stays right when the mean is large. dst may be x. error: at most 3e-7 of the largest output of the row.
func LayerNorm(dst, x []float32, rows, cols int, gain, bias []float32, eps float32) {
	for r := range rows {
		xr, dr := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		mean := sum(xr) / float64(cols)
		near := float32(mean)
		inverse, offset := standardize(sumSquaredDeviations(xr, near)/float64(cols), mean, near, eps)
		normalizeRow(dr, xr, near, inverse, offset, gain, bias)
	}
}

// standardize returns inverse and offset such that (x - near) * inverse + offset has the mean 0 and the variance 1. near is
// the mean rounded to float32, so that x - near loses nothing, meanSquare the mean of (x - near)^2.
func standardize(meanSquare, mean float64, near, eps float32) (inverse, offset float32) {
	shift := mean - float64(near)
	scale := 1 / math.Sqrt(max(meanSquare-shift*shift, 0)+float64(eps))
	return float32(scale), float32(-shift * scale)
}

// RMSNorm divides each row by its root mean square (Zhang and Sennrich, arXiv:1910.07467) and multiplies by gain, which
// may be nil: x / sqrt(mean(x^2) + eps) * gain. dst may be x.
func RMSNorm(dst, x []float32, rows, cols int, gain []float32, eps float32) {
	for r := range rows {
		xr, dr := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		meanSquare := sumSquaredDeviations(xr, 0) / float64(cols)
		normalizeRow(dr, xr, 0, float32(1/math.Sqrt(meanSquare+float64(eps))), 0, gain, nil)
	}
}

// L2Normalize divides each row by max(|x|, eps), as torch.nn.functional.normalize does; with eps 0 it is x / |x|, which
// makes a row of zeros NaN. dst may be x.
func L2Normalize(dst, x []float32, rows, cols int, eps float32) {
	for r := range rows {
		xr, dr := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		norm := max(math.Sqrt(sumSquaredDeviations(xr, 0)), float64(eps))
		Scale(dr, xr, float32(1/norm))
	}
}

// GroupNorm normalises x, [batch, positions, channels], over all positions and the channels of one group (Wu and He,
// arXiv:1803.08494), then applies gain and bias per channel, which may be nil. channels must be a multiple of groups;
// groups equal to channels is instance norm. dst may be x.
func GroupNorm(dst, x []float32, batch, positions, channels, groups int, gain, bias []float32, eps float32) {
	GroupNormRange(dst, x, positions, channels, groups, gain, bias, eps, 0, batch*groups)
}

// GroupNormRange is [GroupNorm] for the groups g0 to g1-1, counted through the whole batch, so that several threads can
// share the work.
func GroupNormRange(dst, x []float32, positions, channels, groups int, gain, bias []float32, eps float32, g0, g1 int) {
	if positions == 0 || channels == 0 {
		return
	}
	width := channels / groups
	for g := g0; g < g1; {
		b, c0 := g/groups, g%groups*width
		n := 1
		if width < groupNormBlock {
			n = min(groupNormBlock/width, groups-g%groups, g1-g)
		}
		first := b * positions * channels
		groupNormColumns(dst[first:][:positions*channels], x[first:][:positions*channels], channels, c0, width, n, gain, bias, eps)
		g += n
	}
}

// groupNormBlock is how many channels of narrow groups are handled in one pass over the positions, groupNormRun how many
// positions are added up in float32.
const (
	groupNormBlock = 256
	groupNormRun   = 16
)

// groupNormColumns normalises n neighbouring groups of width channels from channel c0 on.
func groupNormColumns(dst, x []float32, channels, c0, width, n int, gain, bias []float32, eps float32) {
	count := float64(len(x) / channels * width)
	if n == 1 && width >= groupNormBlock {
		var s float64
		for at := c0; at < len(x); at += channels {
			s += sum(x[at:][:width])
		}
		mean := s / count
		near := float32(mean)
		s = 0
		for at := c0; at < len(x); at += channels {
			s += sumSquaredDeviations(x[at:][:width], near)
		}
		inverse, offset := standardize(s/count, mean, near, eps)
		for at := c0; at < len(x); at += channels {
			normalizeRow(dst[at:][:width], x[at:][:width], near, inverse, offset, part(gain, c0, width), part(bias, c0, width))
		}
		return
	}
	// Narrow groups: sums per channel first, then joined by group. A few positions are added up in float32, those in
	// float64. The first pass finds about the mean; what it misses is found with the squares, from small numbers.
	var sums, squares [groupNormBlock]float64
	var near, scale, shift, row, partial, partialSquares [groupNormBlock]float32
	w := width * n
	for at, i := c0, 1; at < len(x); at, i = at+channels, i+1 {
		combine(OpAdd, partial[:w], partial[:w], x[at:])
		if i%groupNormRun == 0 || at+channels >= len(x) {
			drain(sums[:w], partial[:w])
		}
	}
	for c := range w {
		near[c] = float32(groupSum(sums[:], c, width) / count)
	}
	clear(sums[:w])
	for at, i := c0, 1; at < len(x); at, i = at+channels, i+1 {
		combine(OpSub, row[:w], x[at:], near[:w])
		combine(OpAdd, partial[:w], partial[:w], row[:w])
		multiplyAdd(partialSquares[:w], partialSquares[:w], row[:w], row[:w])
		if i%groupNormRun == 0 || at+channels >= len(x) {
			drain(sums[:w], partial[:w])
			drain(squares[:w], partialSquares[:w])
		}
	}
	for c := range w {
		mean := float64(near[c]) + groupSum(sums[:], c, width)/count
		scale[c], shift[c] = standardize(groupSum(squares[:], c, width)/count, mean, near[c], eps)
		if gain != nil {
			scale[c] *= gain[c0+c]
			shift[c] *= gain[c0+c]
		}
		if bias != nil {
			shift[c] += bias[c0+c]
		}
	}
	for at := c0; at < len(x); at += channels {
		combine(OpSub, row[:w], x[at:], near[:w])
		multiplyAdd(dst[at:][:w], shift[:w], row[:w], scale[:w])
	}
}

// drain moves partial sums to their totals.
func drain(totals []float64, partial []float32) {
	for c, v := range partial {
		totals[c] += float64(v)
	}
	clear(partial)
}

// groupSum adds up the sums of the channels that are in the group of channel c.
func groupSum(sums []float64, c, width int) (s float64) {
	for _, v := range sums[c/width*width:][:width] {
		s += v
	}
	return s
}

func part(v []float32, at, n int) []float32 {
	if v == nil {
		return nil
	}
	return v[at:][:n]
}

// normalizeRow writes ((x - mean) * inverse + offset) * gain + bias; gain and bias may be nil.
func normalizeRow(dst, x []float32, mean, inverse, offset float32, gain, bias []float32) {
	if len(x) == 0 {
		return
	}
	dst = dst[:len(x)]
	if gain != nil {
		gain = gain[:len(x)]
	}
	if bias != nil {
		bias = bias[:len(x)]
	}
	if normalizeVector(dst, x, mean, inverse, offset, gain, bias) {
		return
	}
	switch {
	case gain == nil && bias == nil:
		for i, v := range x {
			dst[i] = (v-mean)*inverse + offset
		}
	case bias == nil:
		for i, v := range x {
			dst[i] = ((v-mean)*inverse + offset) * gain[i]
		}
	case gain == nil:
		for i, v := range x {
			dst[i] = (v-mean)*inverse + offset + bias[i]
		}
	default:
		for i, v := range x {
			dst[i] = ((v-mean)*inverse+offset)*gain[i] + bias[i]
		}
	}
}
