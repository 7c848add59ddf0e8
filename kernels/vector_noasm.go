//go:build !amd64 && !arm64

package kernels

func activateVector(Activation, []float32, []float32) bool              { return false }
func combineVector(Binary, []float32, []float32, []float32) bool        { return false }
func affineVector([]float32, []float32, float32, float32) bool          { return false }
func addScaledVector([]float32, []float32, float32) bool                { return false }
func multiplyAddVector([]float32, []float32, []float32, []float32) bool { return false }
func normalizeVector([]float32, []float32, float32, float32, float32, []float32, []float32) bool {
	return false
}
func sumVector([]float32) (float64, bool)                           { return 0, false }
func sumSquaredDeviationsVector([]float32, float32) (float64, bool) { return 0, false }
func maximumVector([]float32) (float32, bool)                       { return 0, false }
func expSumVector([]float32, []float32, float32) (float64, bool)    { return 0, false }
func float16ToFloat32Vector([]float32, []byte) int                  { return 0 }
func bfloat16ToFloat32Vector([]float32, []byte) int                 { return 0 }
func float32ToFloat16Vector([]byte, []float32) int                  { return 0 }
func float32ToBFloat16Vector([]byte, []float32) int                 { return 0 }
func depthwiseVector([]float32, []float32, []float32, int, int, []float32, int, int, int, int) bool {
	return false
}
func rotateHalvesVector([]float32, []float32, []float32, []float32) bool { return false }
func rotatePairsVector([]float32, []float32, []float32) bool             { return false }
