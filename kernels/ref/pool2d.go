package ref

import "math"

// Window is one output of a pooling: the input positions [Y0, Y1) x [X0, X1), which may leave the input.
type Window struct{ Y0, Y1, X0, X1, StepY, StepX int }

// Pool returns the largest number of a window of one channel, the sum, and how many positions were inside.
func Pool(at func(y, x int) float64, height, width int, w Window) (largest, sum float64, inside int) {
	largest = math.Inf(-1)
	for y := w.Y0; y < w.Y1; y += w.StepY {
		for x := w.X0; x < w.X1; x += w.StepX {
			if y >= 0 && y < height && x >= 0 && x < width {
				largest = max(largest, at(y, x))
				sum += at(y, x)
				inside++
			}
		}
	}
	return largest, sum, inside
}
