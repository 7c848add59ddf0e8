package run

import (
	"fmt"
	"testing"

	"github.com/mmconv/mmconv/graph"
)

func TestWritingOfCTC(t *testing.T) {
	logits := &graph.Tensor{Shape: graph.Shape{2, 2, 3}, Data: []float32{0, 1, 0, 3, 1, 2, 0, 0, 9, 1, 5, 4}}
	if got := fmt.Sprint(writings["ctc"].IDs(logits)); got != "[[1 0] [2 1]]" {
		t.Errorf("the likeliest tokens are %s", got)
	}
}
