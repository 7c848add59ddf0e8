package verify

import (
	"fmt"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = RegisterTask(Task{Name: "logits", Start: startLogits})

// logitAgreement counts how often both models' logits have their largest value at the same place, which needs no labels.
type logitAgreement struct{ rows, same int }

func startLogits(c *TaskContext) (Scorer, error) {
	for _, s := range []*run.Model{c.Before, c.After} {
		n := s.Graph().Value("logits")
		if n == nil || !s.Graph().IsOutput(n) {
			return nil, nil
		}
	}
	if len(c.Data.Items) == 0 {
		return nil, nil
	}
	return &logitAgreement{}, nil
}

func (l *logitAgreement) Fetch() []string { return []string{"logits"} }

func (l *logitAgreement) Add(_ []Item, before, after map[string]*graph.Tensor) error {
	b, a := before["logits"], after["logits"]
	if !b.Shape.Equal(a.Shape) {
		return fmt.Errorf("logits have shape %v before and %v after", b.Shape, a.Shape)
	}
	n := b.Shape.Last()
	for i := 0; i+n <= len(b.Data); i += n {
		l.rows++
		if argmax(b.Data[i:i+n]) == argmax(a.Data[i:i+n]) {
			l.same++
		}
	}
	return nil
}

func (l *logitAgreement) Scores() []report.TaskScore {
	agreement := percent(l.same, l.rows)
	return []report.TaskScore{{Name: "logit agreement", Before: 100, After: agreement, Drop: 100 - agreement, Agreement: agreement, Samples: l.rows}}
}

func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
