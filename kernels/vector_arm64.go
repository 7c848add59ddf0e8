package kernels

//go:generate go -C _asm run ./neon -out ../neon_arm64.s -stubs ../neon_stubs_arm64.go

// The functions below are assembly unless portable code is forced; they return false, or the number of items done, where
// there is none. Slices are not empty and their lengths have been checked.

func activateVector(op Activation, dst, x []float32) bool {
	if Active() == Portable {
		return false
	}
	switch op {
	case ActGELU:
		geluNEON(&dst[0], &x[0], len(x))
	case ActGELUTanh:
		geluTanhNEON(&dst[0], &x[0], len(x))
	case ActQuickGELU:
		quickGELUNEON(&dst[0], &x[0], len(x))
	case ActSiLU:
		siluNEON(&dst[0], &x[0], len(x))
	case ActReLU:
		reluNEON(&dst[0], &x[0], len(x))
	case ActSigmoid:
		sigmoidNEON(&dst[0], &x[0], len(x))
	case ActTanh:
		tanhNEON(&dst[0], &x[0], len(x))
	case ActExp:
		expNEON(&dst[0], &x[0], len(x))
	default:
		return false
	}
	return true
}

func combineVector(op Binary, dst, a, b []float32) bool {
	if Active() == Portable {
		return false
	}
	switch op {
	case OpAdd:
		addNEON(&dst[0], &a[0], &b[0], len(dst))
	case OpSub:
		subNEON(&dst[0], &a[0], &b[0], len(dst))
	case OpMul:
		mulNEON(&dst[0], &a[0], &b[0], len(dst))
	case OpDiv:
		divNEON(&dst[0], &a[0], &b[0], len(dst))
	case OpMax:
		maxNEON(&dst[0], &a[0], &b[0], len(dst))
	case OpMin:
		minNEON(&dst[0], &a[0], &b[0], len(dst))
	default:
		return false
	}
	return true
}

func affineVector(dst, x []float32, scale, shift float32) bool {
	if Active() == Portable {
		return false
	}
	affineNEON(&dst[0], &x[0], len(dst), scale, shift)
	return true
}

func addScaledVector(dst, x []float32, scale float32) bool {
	if Active() == Portable {
		return false
	}
	addScaledNEON(&dst[0], &x[0], len(dst), scale)
	return true
}

func multiplyAddVector(dst, x, y, z []float32) bool {
	if Active() == Portable {
		return false
	}
	multiplyAddNEON(&dst[0], &x[0], &y[0], &z[0], len(dst))
	return true
}

func normalizeVector(dst, x []float32, mean, inverse, offset float32, gain, bias []float32) bool {
	if Active() == Portable {
		return false
	}
	switch {
	case gain == nil && bias == nil:
		normalizeNEON(&dst[0], &x[0], len(x), mean, inverse, offset)
	case bias == nil:
		normalizeGainNEON(&dst[0], &x[0], &gain[0], len(x), mean, inverse, offset)
	case gain == nil:
		normalizeBiasNEON(&dst[0], &x[0], &bias[0], len(x), mean, inverse, offset)
	default:
		normalizeGainBiasNEON(&dst[0], &x[0], &gain[0], &bias[0], len(x), mean, inverse, offset)
	}
	return true
}

func sumVector(x []float32) (r float64, ok bool) {
	if Active() == Portable {
		return 0, false
	}
	return sumNEON(&x[0], len(x)), true
}

func sumSquaredDeviationsVector(x []float32, mean float32) (r float64, ok bool) {
	if Active() == Portable {
		return 0, false
	}
	return sumSquaredDeviationsNEON(&x[0], len(x), mean), true
}

func maximumVector(x []float32) (r float32, ok bool) {
	if Active() == Portable {
		return 0, false
	}
	return maximumNEON(&x[0], len(x)), true
}

func expSumVector(dst, x []float32, shift float32) (r float64, ok bool) {
	if Active() == Portable {
		return 0, false
	}
	return expSumNEON(&dst[0], &x[0], len(x), shift), true
}

func float16ToFloat32Vector(dst []float32, src []byte) int {
	n := len(dst) &^ 3
	if n == 0 || Active() == Portable {
		return 0
	}
	float16ToFloat32NEON(&dst[0], &src[0], n)
	return n
}

func bfloat16ToFloat32Vector(dst []float32, src []byte) int {
	n := len(dst) &^ 3
	if n == 0 || Active() == Portable {
		return 0
	}
	bfloat16ToFloat32NEON(&dst[0], &src[0], n)
	return n
}

func float32ToFloat16Vector(dst []byte, src []float32) int {
	n := len(src) &^ 3
	if n == 0 || Active() == Portable {
		return 0
	}
	float32ToFloat16NEON(&dst[0], &src[0], n)
	return n
}

func float32ToBFloat16Vector(dst []byte, src []float32) int {
	n := len(src) &^ 3
	if n == 0 || Active() == Portable {
		return 0
	}
	float32ToBFloat16NEON(&dst[0], &src[0], n)
	return n
}

func depthwiseVector(out, bias, x []float32, xDown, xRight int, weights []float32, wDown, wRight, h, w int) bool {
	return false // rows of multiplyAdd do well
}

func rotateHalvesVector(lo, hi, cos, sin []float32) bool { return false }

func rotatePairsVector(x, cos, sin []float32) bool { return false }
