package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
)

var _ = registerRunner(caseRunner{
	name: "model", rank: 100,
	fits: func(c *Case) bool { return c.Checkpoint() != "" && c.Kind != "preprocess" },
	run:  runModelCase,
})

// runModelCase imports the case's checkpoint, runs its pipeline and judges every recorded value.
func runModelCase(ctx context.Context, c *Case, o ParityOptions, res *ParityResult) error {
	open := func(so SessionOptions) (*Session, error) {
		if o.Convert != nil {
			return o.Convert(ctx, c.Checkpoint(), so)
		}
		return OpenSession(c.Checkpoint(), so)
	}
	return atSize(o.SessionOptions, open, func(s *Session) error {
		res.Rows, res.Notes, res.Naming = nil, slices.Clone(s.Model.Notes), s.Model.Naming
		if o.Convert != nil {
			res.Converted = describeConversion(s)
		}
		for _, g := range c.groups() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := g.run(s, o, res); err != nil {
				return err
			}
		}
		slices.SortStableFunc(res.Rows, func(a, b Row) int { return c.rank(a.Name) - c.rank(b.Name) })
		return nil
	})
}

// rank is a row's place in case.json; rows of our own come last.
func (c *Case) rank(name string) int {
	if i := slices.IndexFunc(c.Expected, func(e *Expected) bool { return e.Name == name }); i >= 0 {
		return i
	}
	return len(c.Expected)
}

// group is one passage through the pipeline, whose rows start with a prefix: the main one with "", a padded batch with
// "batch.", a further clip with its name.
type group struct {
	prefix string
	in     map[string]Input
	rows   []*Expected
	clips  []Input // of a padded batch: its clips, whose own lengths say what is compared
}

// groups splits a case's inputs and rows into passages.
func (c *Case) groups() []*group {
	main := &group{in: map[string]Input{}}
	byPrefix := map[string]*group{}
	sub := func(prefix string) *group {
		if byPrefix[prefix] == nil {
			byPrefix[prefix] = &group{prefix: prefix, in: map[string]Input{}}
		}
		return byPrefix[prefix]
	}
	names := slices.Sorted(maps.Keys(c.Inputs))
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "audio_")
		switch {
		case ok && isNumber(rest):
			sub("batch.").clips = append(sub("batch.").clips, c.Inputs[name])
		case ok && c.Inputs[name].Samples != nil:
			sub(rest + ".").in["audio"] = c.Inputs[name]
		}
	}
	if b := byPrefix["batch."]; b != nil {
		b.clips = slices.Insert(b.clips, 0, c.Inputs["audio"])
		all := Input{}
		for _, clip := range b.clips {
			all.Samples = append(all.Samples, clip.Samples...)
		}
		b.in["audio"] = all
	}
	taken := func(name string) bool {
		rest, ok := strings.CutPrefix(name, "audio_")
		return ok && (isNumber(rest) || c.Inputs[name].Samples != nil)
	}
	prefixes := slices.Sorted(maps.Keys(byPrefix))
	for _, name := range names {
		if taken(name) {
			continue
		}
		i := slices.IndexFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if i < 0 {
			main.in[name] = c.Inputs[name]
			continue
		}
		byPrefix[prefixes[i]].in[strings.TrimPrefix(name, prefixes[i])] = c.Inputs[name]
	}
	// What a passage does not have of its own it shares with the main one.
	for _, g := range byPrefix {
		for name, in := range main.in {
			if _, own := g.in[name]; !own {
				g.in[name] = in
			}
		}
	}
	for _, e := range c.Expected {
		if i := slices.IndexFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Name, p) }); i >= 0 {
			byPrefix[prefixes[i]].rows = append(byPrefix[prefixes[i]].rows, e)
		} else {
			main.rows = append(main.rows, e)
		}
	}
	groups := []*group{main}
	for _, p := range prefixes {
		if len(byPrefix[p].rows) > 0 {
			groups = append(groups, byPrefix[p])
		}
	}
	return groups
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (g *group) run(s *Session, o ParityOptions, res *ParityResult) error {
	recorded := func(name string) *Expected {
		if i := slices.IndexFunc(g.rows, func(e *Expected) bool { return e.Name == g.prefix+name }); i >= 0 {
			return g.rows[i]
		}
		return nil
	}
	r, err := s.newRun(g.in, recorded)
	if err != nil {
		return err
	}
	var fetch []string
	var rows []*Expected
	for _, e := range g.rows {
		name := strings.TrimPrefix(e.Name, g.prefix)
		if e.Needs != "" {
			res.add(e, Row{Verdict: NotRun, Note: "needs a " + e.Needs})
			continue
		}
		if err := r.Check(name); err != nil {
			res.missing(e, err, o)
			continue
		}
		fetch, rows = append(fetch, name), append(rows, e)
	}
	got, err := r.Fetch(fetch...)
	if err != nil {
		return err
	}
	for i, e := range rows {
		skip, err := g.padding(s, e, fetch[i], got[fetch[i]])
		if err != nil {
			return err
		}
		if err := res.judgeAs(e, got[fetch[i]], o, skip); err != nil {
			return err
		}
	}
	if g.prefix == "" {
		res.information(r)
	}
	res.Notes = append(res.Notes, r.Notes...)
	return nil
}

// Comparison is a row for information that a feeder adds: our decoder's pixels against the original's.
type Comparison struct {
	Name         string
	Ours, Theirs *graph.Tensor
}

// Inform adds a row for information to a golden case's report.
func (r *Run) Inform(name string, ours, theirs *graph.Tensor) {
	r.comparisons = append(r.comparisons, Comparison{name, ours, theirs})
}

func (res *ParityResult) information(r *Run) {
	for _, x := range r.comparisons {
		e := &Expected{Name: x.Name, Shape: x.Theirs.Shape}
		if !x.Ours.Shape.Equal(x.Theirs.Shape) {
			res.add(e, Row{Verdict: Info, Note: fmt.Sprintf("our shape is %v, theirs %v", x.Ours.Shape, x.Theirs.Shape)})
			continue
		}
		row := compareRow(e, x.Ours.Data, x.Theirs.Data, nil)
		row.Used = 0
		row.Verdict, row.Note = Info, "our decoder against theirs; the pipeline is judged from theirs"
		res.add(e, row)
	}
}

// padding returns which elements of a padded batch's row lie past the end of their clip, and are not compared: a clip run
// alone has as many frames as are its own. The masks themselves are compared whole.
func (g *group) padding(s *Session, e *Expected, name string, ours *graph.Tensor) (func(int) bool, error) {
	if g.clips == nil || e.Slice != nil || len(ours.Shape) < 2 || s.isInput(name) {
		return nil, nil
	}
	batch, frames := ours.Shape[0], ours.Shape[1]
	if batch != len(g.clips) {
		return nil, nil
	}
	lengths := make([]int, batch)
	for i, clip := range g.clips {
		in := maps.Clone(g.in)
		in["audio"] = clip
		delete(in, "attention_mask")
		r, err := s.NewRun(in)
		if err != nil {
			return nil, err
		}
		alone, err := r.Fetch(name)
		if err != nil {
			return nil, err
		}
		lengths[i] = alone[name].Shape[1]
	}
	inner := ours.Shape[2:].Len()
	return func(i int) bool { return i/inner%frames >= lengths[i/inner/frames] }, nil
}

// isInput reports whether a name is that of an input of the graph.
func (s *Session) isInput(name string) bool {
	n := s.Graph().Value(name)
	if n == nil {
		return true
	}
	_, ok := n.Op.(graph.Input)
	return ok
}
