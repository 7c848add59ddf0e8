package kernels

func float16ToFloat32Vector([]float32, []byte) int  { return 0 }
func bfloat16ToFloat32Vector([]float32, []byte) int { return 0 }
func float32ToFloat16Vector([]byte, []float32) int  { return 0 }
func float32ToBFloat16Vector([]byte, []float32) int { return 0 }
