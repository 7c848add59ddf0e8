//go:build !amd64 && !arm64

package kernels

func attentionLanes() int { return 0 }

func attentionProduct(int, []float32, []float32, []float32, int, int, int, int, []float32) {}
func attentionSoftmax(int, []float32, []float32, []float32, []float32, int)                {}
func transposeBlocks([]float32, []float32, []float32, int, int, int, int)                  {}
