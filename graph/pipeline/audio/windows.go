package audio

import (
	"errors"
	"io"
	"iter"
)

// Window is a piece of a long recording.
type Window struct {
	Start   int64     // index of its first sample
	Samples []float32 // valid until the next window
}

// Windows cuts a source into consecutive pieces of a fixed length, the last one as long as it comes; none is empty. One
// piece is held at a time. An error ends the sequence.
func Windows(src Source, samples int) iter.Seq2[Window, error] {
	return func(yield func(Window, error) bool) {
		if samples < 1 {
			yield(Window{}, errors.New("windows of no samples"))
			return
		}
		buf := make([]float32, samples)
		var start int64
		for {
			n := 0
			var err error
			for n < samples && err == nil {
				var got int
				got, err = src.Read(buf[n:])
				n += got
			}
			if err != nil && err != io.EOF {
				yield(Window{}, err)
				return
			}
			if n > 0 && !yield(Window{start, buf[:n]}, nil) {
				return
			}
			if err != nil {
				return
			}
			start += int64(n)
		}
	}
}

// Silent says whether every sample is zero.
func Silent(wave []float32) bool {
	for _, v := range wave {
		if v != 0 {
			return false
		}
	}
	return true
}
