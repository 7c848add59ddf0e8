package kernels

// attentionLanes returns how many queries fit one register, 0 if the instruction set has no blocked attention.
func attentionLanes() int {
	if Active() == Portable {
		return 0
	}
	return 4
}

func attentionProduct(vectors int, c, a, b []float32, rows, depth, aRow, aDepth int, scale []float32) {
	var s *float32
	if scale != nil {
		s = &scale[0]
	}
	switch vectors {
	case 1:
		attentionProduct1NEON(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	case 2:
		attentionProduct2NEON(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	default:
		attentionProduct3NEON(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	}
}

func attentionSoftmax(vectors int, scores, largest, sum, scale []float32, keys int) {
	switch vectors {
	case 1:
		attentionSoftmax1NEON(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	case 2:
		attentionSoftmax2NEON(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	default:
		attentionSoftmax3NEON(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	}
}

func transposeBlocks(dst, src, scale []float32, dstRow, srcRow, rows, cols int) {
	transposeNEON(&dst[0], &src[0], &scale[0], dstRow, srcRow, rows, cols)
}
