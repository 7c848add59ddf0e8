package verify

import (
	"context"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
)

// Task computes scores from the outputs of both models.
type Task struct {
	Name string
	// Start returns the scorer of a verification, or nil if the task is not for this model or this data.
	Start func(*TaskContext) (Scorer, error)
}

// TaskContext is what a task can look at before the samples come.
type TaskContext struct {
	Before, After *run.Model
	Data          *Dataset
	// TextBefore and TextAfter are the outputs of the text towers for Data.Texts(), nil where there is none.
	TextBefore, TextAfter map[string]*graph.Tensor
	// Note adds a remark to the report.
	Note func(format string, args ...any)
}

// Scorer takes in the samples' outputs.
type Scorer interface {
	// Fetch names the values that Add needs of every batch.
	Fetch() []string
	Add(items []Item, before, after map[string]*graph.Tensor) error
	Scores() []report.TaskScore
}

var tasks []Task

// RegisterTask makes a task known.
func RegisterTask(t Task) (none struct{}) {
	tasks = append(tasks, t)
	slices.SortFunc(tasks, func(a, b Task) int { return strings.Compare(a.Name, b.Name) })
	return none
}

// shared are steps that make both models of a comparison go by the same inputs where one would depend on its own outputs.
var shared []func(ctx context.Context, before, after *run.Pass) error

func registerShared(step func(ctx context.Context, before, after *run.Pass) error) (none struct{}) {
	shared = append(shared, step)
	return none
}

// percent returns 100 n/of, 0 of none.
func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}
