package kernels

//go:generate go -C _asm run ./vector -out ../vector_amd64.s -stubs ../vector_stubs_amd64.go -pkg kernels

// The functions below pick the assembly for the instruction set in use; they return false, or the number of items done,
// where there is none. Slices are not empty and their lengths have been checked.

func activateVector(op Activation, dst, x []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		switch op {
		case ActGELU:
			geluAVX512(&dst[0], &x[0], len(x))
		case ActGELUTanh:
			geluTanhAVX512(&dst[0], &x[0], len(x))
		case ActQuickGELU:
			quickGELUAVX512(&dst[0], &x[0], len(x))
		case ActSiLU:
			siluAVX512(&dst[0], &x[0], len(x))
		case ActReLU:
			reluAVX512(&dst[0], &x[0], len(x))
		case ActSigmoid:
			sigmoidAVX512(&dst[0], &x[0], len(x))
		case ActTanh:
			tanhAVX512(&dst[0], &x[0], len(x))
		case ActHardswish:
			hardswishAVX512(&dst[0], &x[0], len(x))
		case ActHardsigmoid:
			hardsigmoidAVX512(&dst[0], &x[0], len(x))
		case ActReLU6:
			relu6AVX512(&dst[0], &x[0], len(x))
		case ActSquaredReLU:
			squaredReLUAVX512(&dst[0], &x[0], len(x))
		case ActELU:
			eluAVX512(&dst[0], &x[0], len(x))
		case ActLeakyReLU:
			leakyReLUAVX512(&dst[0], &x[0], len(x))
		case ActExp:
			expAVX512(&dst[0], &x[0], len(x))
		case ActErf:
			erfAVX512(&dst[0], &x[0], len(x))
		default:
			return false
		}
	case AVXVNNI, AVX2:
		switch op {
		case ActGELU:
			geluAVX2(&dst[0], &x[0], len(x))
		case ActGELUTanh:
			geluTanhAVX2(&dst[0], &x[0], len(x))
		case ActQuickGELU:
			quickGELUAVX2(&dst[0], &x[0], len(x))
		case ActSiLU:
			siluAVX2(&dst[0], &x[0], len(x))
		case ActReLU:
			reluAVX2(&dst[0], &x[0], len(x))
		case ActSigmoid:
			sigmoidAVX2(&dst[0], &x[0], len(x))
		case ActTanh:
			tanhAVX2(&dst[0], &x[0], len(x))
		case ActHardswish:
			hardswishAVX2(&dst[0], &x[0], len(x))
		case ActHardsigmoid:
			hardsigmoidAVX2(&dst[0], &x[0], len(x))
		case ActReLU6:
			relu6AVX2(&dst[0], &x[0], len(x))
		case ActSquaredReLU:
			squaredReLUAVX2(&dst[0], &x[0], len(x))
		case ActELU:
			eluAVX2(&dst[0], &x[0], len(x))
		case ActLeakyReLU:
			leakyReLUAVX2(&dst[0], &x[0], len(x))
		case ActExp:
			expAVX2(&dst[0], &x[0], len(x))
		case ActErf:
			erfAVX2(&dst[0], &x[0], len(x))
		default:
			return false
		}
	default:
		return false
	}
	return true
}

func combineVector(op Binary, dst, a, b []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		switch op {
		case OpAdd:
			addAVX512(&dst[0], &a[0], &b[0], len(dst))
		case OpSub:
			subAVX512(&dst[0], &a[0], &b[0], len(dst))
		case OpMul:
			mulAVX512(&dst[0], &a[0], &b[0], len(dst))
		case OpDiv:
			divAVX512(&dst[0], &a[0], &b[0], len(dst))
		case OpMax:
			maxAVX512(&dst[0], &a[0], &b[0], len(dst))
		case OpMin:
			minAVX512(&dst[0], &a[0], &b[0], len(dst))
		default:
			return false
		}
	case AVXVNNI, AVX2:
		switch op {
		case OpAdd:
			addAVX2(&dst[0], &a[0], &b[0], len(dst))
		case OpSub:
			subAVX2(&dst[0], &a[0], &b[0], len(dst))
		case OpMul:
			mulAVX2(&dst[0], &a[0], &b[0], len(dst))
		case OpDiv:
			divAVX2(&dst[0], &a[0], &b[0], len(dst))
		case OpMax:
			maxAVX2(&dst[0], &a[0], &b[0], len(dst))
		case OpMin:
			minAVX2(&dst[0], &a[0], &b[0], len(dst))
		default:
			return false
		}
	default:
		return false
	}
	return true
}

func affineVector(dst, x []float32, scale, shift float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		affineAVX512(&dst[0], &x[0], len(dst), scale, shift)
	case AVXVNNI, AVX2:
		affineAVX2(&dst[0], &x[0], len(dst), scale, shift)
	default:
		return false
	}
	return true
}

func addScaledVector(dst, x []float32, scale float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		addScaledAVX512(&dst[0], &x[0], len(dst), scale)
	case AVXVNNI, AVX2:
		addScaledAVX2(&dst[0], &x[0], len(dst), scale)
	default:
		return false
	}
	return true
}

func multiplyAddVector(dst, x, y, z []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		multiplyAddAVX512(&dst[0], &x[0], &y[0], &z[0], len(dst))
	case AVXVNNI, AVX2:
		multiplyAddAVX2(&dst[0], &x[0], &y[0], &z[0], len(dst))
	default:
		return false
	}
	return true
}

func normalizeVector(dst, x []float32, mean, inverse, offset float32, gain, bias []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		switch {
		case gain == nil && bias == nil:
			normalizeAVX512(&dst[0], &x[0], len(x), mean, inverse, offset)
		case bias == nil:
			normalizeGainAVX512(&dst[0], &x[0], len(x), mean, inverse, offset, &gain[0])
		case gain == nil:
			normalizeBiasAVX512(&dst[0], &x[0], len(x), mean, inverse, offset, &bias[0])
		default:
			normalizeGainBiasAVX512(&dst[0], &x[0], len(x), mean, inverse, offset, &gain[0], &bias[0])
		}
	case AVXVNNI, AVX2:
		switch {
		case gain == nil && bias == nil:
			normalizeAVX2(&dst[0], &x[0], len(x), mean, inverse, offset)
		case bias == nil:
			normalizeGainAVX2(&dst[0], &x[0], len(x), mean, inverse, offset, &gain[0])
		case gain == nil:
			normalizeBiasAVX2(&dst[0], &x[0], len(x), mean, inverse, offset, &bias[0])
		default:
			normalizeGainBiasAVX2(&dst[0], &x[0], len(x), mean, inverse, offset, &gain[0], &bias[0])
		}
	default:
		return false
	}
	return true
}

func sumVector(x []float32) (r float64, ok bool) {
	switch Active() {
	case AVX512VNNI, AVX512:
		return sumAVX512(&x[0], len(x)), true
	case AVXVNNI, AVX2:
		return sumAVX2(&x[0], len(x)), true
	default:
		return 0, false
	}
}

func sumSquaredDeviationsVector(x []float32, mean float32) (r float64, ok bool) {
	switch Active() {
	case AVX512VNNI, AVX512:
		return sumSquaredDeviationsAVX512(&x[0], len(x), mean), true
	case AVXVNNI, AVX2:
		return sumSquaredDeviationsAVX2(&x[0], len(x), mean), true
	default:
		return 0, false
	}
}

func maximumVector(x []float32) (r float32, ok bool) {
	switch Active() {
	case AVX512VNNI, AVX512:
		return maximumAVX512(&x[0], len(x)), true
	case AVXVNNI, AVX2:
		return maximumAVX2(&x[0], len(x)), true
	default:
		return 0, false
	}
}

func expSumVector(dst, x []float32, shift float32) (r float64, ok bool) {
	switch Active() {
	case AVX512VNNI, AVX512:
		return expSumAVX512(&dst[0], &x[0], len(x), shift), true
	case AVXVNNI, AVX2:
		return expSumAVX2(&dst[0], &x[0], len(x), shift), true
	default:
		return 0, false
	}
}

func float16ToFloat32Vector(dst []float32, src []byte) int {
	n := len(dst) &^ 15
	if n == 0 {
		return 0
	}
	switch Active() {
	case AVX512VNNI, AVX512:
		float16ToFloat32AVX512(&dst[0], &src[0], n)
	case AVXVNNI, AVX2:
		float16ToFloat32AVX2(&dst[0], &src[0], n)
	default:
		return 0
	}
	return n
}

func bfloat16ToFloat32Vector(dst []float32, src []byte) int {
	n := len(dst) &^ 15
	if n == 0 {
		return 0
	}
	switch Active() {
	case AVX512VNNI, AVX512:
		bfloat16ToFloat32AVX512(&dst[0], &src[0], n)
	case AVXVNNI, AVX2:
		bfloat16ToFloat32AVX2(&dst[0], &src[0], n)
	default:
		return 0
	}
	return n
}

func float32ToFloat16Vector(dst []byte, src []float32) int {
	n := len(src) &^ 15
	if n == 0 {
		return 0
	}
	switch Active() {
	case AVX512VNNI, AVX512:
		float32ToFloat16AVX512(&dst[0], &src[0], n)
	case AVXVNNI, AVX2:
		float32ToFloat16AVX2(&dst[0], &src[0], n)
	default:
		return 0
	}
	return n
}

func float32ToBFloat16Vector(dst []byte, src []float32) int {
	n := len(src) &^ 15
	if n == 0 {
		return 0
	}
	switch Active() {
	case AVX512VNNI, AVX512:
		float32ToBFloat16AVX512(&dst[0], &src[0], n)
	case AVXVNNI, AVX2:
		float32ToBFloat16AVX2(&dst[0], &src[0], n)
	default:
		return 0
	}
	return n
}

func depthwiseVector(out, bias, x []float32, xDown, xRight int, weights []float32, wDown, wRight, h, w int) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		depthwiseAVX512(&out[0], &bias[0], &x[0], &weights[0], xDown, xRight, wDown, wRight, h, w, len(out))
	case AVXVNNI, AVX2:
		depthwiseAVX2(&out[0], &bias[0], &x[0], &weights[0], xDown, xRight, wDown, wRight, h, w, len(out))
	default:
		return false
	}
	return true
}

func rotateHalvesVector(lo, hi, cos, sin []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		rotateHalvesAVX512(&lo[0], &hi[0], &cos[0], &sin[0], len(lo))
	case AVXVNNI, AVX2:
		rotateHalvesAVX2(&lo[0], &hi[0], &cos[0], &sin[0], len(lo))
	default:
		return false
	}
	return true
}

func rotatePairsVector(x, cos, sin []float32) bool {
	switch Active() {
	case AVX512VNNI, AVX512:
		rotatePairsAVX512(&x[0], &cos[0], &sin[0], len(x))
	case AVXVNNI, AVX2:
		rotatePairsAVX2(&x[0], &cos[0], &sin[0], len(x))
	default:
		return false
	}
	return true
}
