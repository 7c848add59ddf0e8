package verify

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = RegisterTask(Task{Name: "zero-shot", Start: startZeroShot})

// zeroShot classifies by the text whose embedding has the largest cosine to the sample's, each model with its own texts
// (Radford et al. 2021, section 3.1.2). The embeddings of several prompts of a class are normalised, averaged and
// normalised again, as in that paper's prompt ensembling.
type zeroShot struct {
	query         string
	before, after [][]float64 // class embeddings, normalised
	labelled      bool

	samples, same                   int
	top1Before, top1After, labels   int
	top5Before, top5After, sameTop5 int
}

func startZeroShot(c *TaskContext) (Scorer, error) {
	p := c.Before.Pipeline
	if p == nil || p.Task == nil || p.Task.Kind != "contrastive" || p.Task.Query == "" || c.TextBefore == nil {
		return nil, nil
	}
	key := p.Task.Key
	if c.TextBefore[key] == nil || c.TextAfter[key] == nil || c.After.Graph().Value(p.Task.Query) == nil || len(c.Data.Items) == 0 {
		return nil, nil
	}
	z := &zeroShot{query: p.Task.Query, labelled: c.Data.Labelled() && len(c.Data.Prompts) == 0}
	groups := make([]int, 0, len(c.Data.Classes))
	if len(c.Data.Prompts) > 0 {
		for range c.Data.Prompts {
			groups = append(groups, 1)
		}
	} else {
		for _, class := range c.Data.Classes {
			groups = append(groups, len(class.Prompts))
		}
	}
	var err error
	if z.before, err = classEmbeddings(c.TextBefore[key], groups); err != nil {
		return nil, err
	}
	z.after, err = classEmbeddings(c.TextAfter[key], groups)
	return z, err
}

func classEmbeddings(t *graph.Tensor, groups []int) ([][]float64, error) {
	if len(t.Shape) != 2 {
		return nil, fmt.Errorf("text embeddings of shape %v: expected one row a text", t.Shape)
	}
	var out [][]float64
	row, d := 0, t.Shape[1]
	for _, n := range groups {
		mean := make([]float64, d)
		for range n {
			for i, v := range normalised(t.Data[row*d : (row+1)*d]) {
				mean[i] += v
			}
			row++
		}
		normalise(mean)
		out = append(out, mean)
	}
	return out, nil
}

func normalised(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	normalise(out)
	return out
}

func normalise(x []float64) {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	if sum == 0 {
		return
	}
	for i := range x {
		x[i] /= math.Sqrt(sum)
	}
}

func (z *zeroShot) Fetch() []string { return []string{z.query} }

func (z *zeroShot) Add(items []Item, before, after map[string]*graph.Tensor) error {
	b, a := before[z.query], after[z.query]
	if len(b.Shape) != 2 || b.Shape[0] != len(items) {
		return errors.New("zero-shot: expected one embedding a sample")
	}
	for i, it := range items {
		rb := ranked(b.Data[i*b.Shape[1]:(i+1)*b.Shape[1]], z.before)
		ra := ranked(a.Data[i*a.Shape[1]:(i+1)*a.Shape[1]], z.after)
		z.samples++
		if rb[0] == ra[0] {
			z.same++
		}
		if slices.Contains(ra[:min(5, len(ra))], rb[0]) {
			z.sameTop5++
		}
		if it.Class < 0 || !z.labelled {
			continue
		}
		z.labels++
		count := func(counter *int, ranks []int) {
			if slices.Contains(ranks, it.Class) {
				*counter++
			}
		}
		count(&z.top1Before, rb[:1])
		count(&z.top1After, ra[:1])
		count(&z.top5Before, rb[:min(5, len(rb))])
		count(&z.top5After, ra[:min(5, len(ra))])
	}
	return nil
}

// ranked returns the classes by falling cosine; of equal ones the first comes first.
func ranked(x []float32, classes [][]float64) []int {
	scores := make([]float64, len(classes))
	order := make([]int, len(classes))
	for c, e := range classes {
		order[c] = c
		for i, v := range x {
			scores[c] += float64(v) * e[i]
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order
}

func (z *zeroShot) Scores() []report.TaskScore {
	agreement := percent(z.same, z.samples)
	if z.labels == 0 {
		return []report.TaskScore{{Name: "zero-shot agreement", Before: 100, After: agreement, Drop: 100 - agreement, Agreement: agreement, Samples: z.samples}}
	}
	score := func(name string, b, a int, primary bool, agreement float64) report.TaskScore {
		s := report.TaskScore{Name: name, Before: percent(b, z.labels), After: percent(a, z.labels), Agreement: agreement,
			Samples: z.labels, Labelled: true, Primary: primary}
		s.Drop = s.Before - s.After
		return s
	}
	return []report.TaskScore{
		score("zero-shot top-1", z.top1Before, z.top1After, true, agreement),
		score("zero-shot top-5", z.top5Before, z.top5After, false, percent(z.sameTop5, z.samples)),
	}
}
