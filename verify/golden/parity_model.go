package golden

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/graph"
	imageproc "github.com/mmconv/mmconv/graph/pipeline/image"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = registerRunner(caseRunner{
	name: "model", rank: 100,
	fits: func(c *Case) bool { return c.Checkpoint() != "" && c.Kind != "preprocess" },
	run:  runModelCase,
})

// runModelCase imports the case's checkpoint, runs its pipeline and judges every recorded value.
func runModelCase(ctx context.Context, c *Case, o ParityOptions, res *ParityResult) error {
	open := func(ro run.Options) (*run.Model, error) {
		if o.Convert != nil {
			return o.Convert(ctx, c.Checkpoint(), ro)
		}
		ro.Unfused = true
		return run.Open(c.Checkpoint(), ro)
	}
	return run.AtSize(o.Options, open, func(m *run.Model) error {
		res.Rows, res.Notes, res.Naming = nil, slices.Clone(m.Model.Notes), m.Model.Naming
		if o.Convert != nil && m.Weights != nil {
			res.Converted = report.DescribeWeights(m.Weights)
		}
		for _, g := range c.groups() {
			if err := ctx.Err(); err != nil {
				return err
			}
			g.withPixelMask(m, c.Checkpoint())
			if err := g.run(ctx, m, o, res); err != nil {
				return err
			}
		}
		slices.SortStableFunc(res.Rows, func(a, b Row) int { return c.rank(a.Name) - c.rank(b.Name) })
		return nil
	})
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

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
	in     map[string]run.Input
	rows   []*Expected
	clips  []run.Input // of a padded batch: its clips, whose own lengths say what is compared
}

// groups splits a case's inputs and rows into passages.
func (c *Case) groups() []*group {
	main := &group{in: map[string]run.Input{}}
	byPrefix := map[string]*group{}
	sub := func(prefix string) *group {
		if byPrefix[prefix] == nil {
			byPrefix[prefix] = &group{prefix: prefix, in: map[string]run.Input{}}
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
		all := run.Input{}
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

func (g *group) run(ctx context.Context, m *run.Model, o ParityOptions, res *ParityResult) error {
	rec := &recording{g: g, in: maps.Clone(g.in)}
	in := maps.Clone(g.in)
	maps.DeleteFunc(in, func(name string, _ run.Input) bool { return strings.HasPrefix(name, decodedPrefix) })
	p, err := m.NewRecordedPass(ctx, in, rec)
	if err != nil {
		return err
	}
	g.offer(p)
	var fetch []string
	var rows []*Expected
	for _, e := range g.rows {
		name := strings.TrimPrefix(e.Name, g.prefix)
		if e.Needs != "" {
			res.add(e, Row{Verdict: NotRun, Note: "needs a " + e.Needs})
			continue
		}
		if err := p.Check(name); err != nil {
			res.missing(e, err, o)
			continue
		}
		fetch, rows = append(fetch, name), append(rows, e)
	}
	got, err := p.Fetch(ctx, fetch...)
	if err != nil {
		return err
	}
	for i, e := range rows {
		skip, err := g.padding(ctx, m, e, fetch[i], got[fetch[i]])
		if err != nil {
			return err
		}
		if err := res.judgeAs(e, oneOfEqual(got[fetch[i]], e), o, skip); err != nil {
			return err
		}
	}
	if g.prefix == "" {
		res.information(rec.compared...)
	}
	res.Notes = append(res.Notes, p.Notes...)
	return nil
}

// offer adds the value of CLAP that only golden cases ask for: what comes out where no clip counts as longer.
func (g *group) offer(p *run.Pass) {
	longer := p.Feeds["is_longer"]
	if longer == nil || p.Value("audio_embeds") == nil {
		return
	}
	p.Offer("audio_embeds_not_longer", func(ctx context.Context) (*graph.Tensor, error) {
		feeds := maps.Clone(p.Feeds)
		feeds["is_longer"] = graph.NewTensor(longer.Shape...)
		out, err := p.Run(ctx, feeds, "audio_embeds")
		return out["audio_embeds"], err
	})
}

// oneOfEqual keeps the first of a clip's four spectrograms where a case has recorded one, since all are equal.
func oneOfEqual(t *graph.Tensor, e *Expected) *graph.Tensor {
	if len(t.Shape) != 4 || len(e.Shape) != 4 || e.Slice != nil || e.Shape[1] != 1 || t.Shape[1] == 1 {
		return t
	}
	inner := t.Shape[2:].Len()
	out := graph.NewTensor(t.Shape.With(1, 1)...)
	for i := range t.Shape[0] {
		copy(out.Data[i*inner:(i+1)*inner], t.Data[i*t.Shape[1]*inner:])
	}
	return out
}

// recording is what a case's passage was recorded as.
type recording struct {
	g        *group
	in       map[string]run.Input
	compared []comparison
}

// comparison is a picture that both decoders have read.
type comparison struct {
	file         string
	ours, theirs *imageproc.RGB
}

// decodedPrefix starts the names of inputs that hold what another decoder made of a file.
const decodedPrefix = "decoded_rgb."

// Value returns a recorded value.
func (r *recording) Value(name string) (*graph.Tensor, error) {
	i := slices.IndexFunc(r.g.rows, func(e *Expected) bool { return e.Name == r.g.prefix+name })
	if i < 0 {
		return nil, nil
	}
	return r.g.rows[i].Load()
}

// Decoded returns what another decoder made of a file.
func (r *recording) Decoded(file string) (*imageproc.RGB, error) {
	name := decodedPrefix + filepath.Base(file)
	in, ok := r.in[name]
	if !ok {
		return nil, nil
	}
	m, err := rgbOf(in.Tensor)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Compare keeps a picture for the report.
func (r *recording) Compare(file string, ours, theirs *imageproc.RGB) {
	r.compared = append(r.compared, comparison{filepath.Base(file), ours, theirs})
}

// information adds a row for each picture that both decoders have read.
func (res *ParityResult) information(all ...comparison) {
	for _, x := range all {
		ours, theirs := tensorOfRGB(x.ours), tensorOfRGB(x.theirs)
		e := &Expected{Name: x.file + "|rgb", Shape: theirs.Shape}
		if !ours.Shape.Equal(theirs.Shape) {
			res.add(e, Row{Verdict: Info, Note: fmt.Sprintf("our shape is %v, theirs %v", ours.Shape, theirs.Shape)})
			continue
		}
		row := compareRow(e, ours.Data, theirs.Data, nil)
		row.Used = 0
		row.Verdict, row.Note = Info, "our decoder against theirs; the pipeline is judged from theirs"
		res.add(e, row)
	}
}

// tensorOfRGB returns a picture's bytes as (height, width, 3).
func tensorOfRGB(m *imageproc.RGB) *graph.Tensor {
	t := graph.NewTensor(m.Height, m.Width, 3)
	for i, v := range m.Pix {
		t.Data[i] = float32(v)
	}
	return t
}

func rgbOf(t *graph.Tensor) (*imageproc.RGB, error) {
	if t == nil || len(t.Shape) != 3 || t.Shape[2] != 3 {
		return nil, fmt.Errorf("expected a tensor of bytes, (height, width, 3)")
	}
	m := imageproc.New(t.Shape[1], t.Shape[0])
	for i, v := range t.Data {
		m.Pix[i] = uint8(v)
	}
	return m, nil
}

// padding returns which elements of a padded batch's row lie past the end of their clip, and are not compared: a clip run
// alone has as many frames as are its own. The masks themselves are compared whole.
func (g *group) padding(ctx context.Context, m *run.Model, e *Expected, name string, ours *graph.Tensor) (func(int) bool, error) {
	if g.clips == nil || e.Slice != nil || len(ours.Shape) < 2 || m.IsInput(name) {
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
		p, err := m.NewPass(ctx, in)
		if err != nil {
			return nil, err
		}
		alone, err := p.Fetch(ctx, name)
		if err != nil {
			return nil, err
		}
		lengths[i] = alone[name].Shape[1]
	}
	inner := ours.Shape[2:].Len()
	return func(i int) bool { return i/inner%frames >= lengths[i/inner/frames] }, nil
}
