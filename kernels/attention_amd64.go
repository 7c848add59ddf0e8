package kernels

//go:generate go -C _asm run ./attention -out ../attention_amd64.s -stubs ../attention_stubs_amd64.go -pkg kernels

// attentionLanes returns how many queries fit one register, 0 if the instruction set has no blocked attention.
func attentionLanes() int {
	switch Active() {
	case AVX512VNNI, AVX512:
		return 16
	case AVXVNNI, AVX2:
		return 8
	}
	return 0
}

func attentionProduct(vectors int, c, a, b []float32, rows, depth, aRow, aDepth int, scale []float32) {
	var s *float32
	if scale != nil {
		s = &scale[0]
	}
	wide := attentionLanes() == 16
	switch {
	case wide && vectors == 1:
		attentionProduct1AVX512(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	case wide && vectors == 2:
		attentionProduct2AVX512(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	case wide:
		attentionProduct3AVX512(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	case vectors == 1:
		attentionProduct1AVX2(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	case vectors == 2:
		attentionProduct2AVX2(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	default:
		attentionProduct3AVX2(&c[0], &a[0], &b[0], rows, depth, aRow, aDepth, s)
	}
}

func attentionSoftmax(vectors int, scores, largest, sum, scale []float32, keys int) {
	wide := attentionLanes() == 16
	switch {
	case wide && vectors == 1:
		attentionSoftmax1AVX512(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	case wide && vectors == 2:
		attentionSoftmax2AVX512(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	case wide:
		attentionSoftmax3AVX512(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	case vectors == 1:
		attentionSoftmax1AVX2(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	case vectors == 2:
		attentionSoftmax2AVX2(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	default:
		attentionSoftmax3AVX2(&scores[0], &largest[0], &sum[0], &scale[0], keys)
	}
}

func transposeBlocks(dst, src, scale []float32, dstRow, srcRow, rows, cols int) {
	transposeAVX2(&dst[0], &src[0], &scale[0], dstRow, srcRow, rows, cols)
}
