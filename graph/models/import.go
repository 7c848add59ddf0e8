package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
)

// Import is a checkpoint on its way into a graph. It keeps account of the tensors: each is read, ignored for a reason, or
// left over.
type Import struct {
	*formats.Checkpoint
	Naming  string
	Options Options

	config    map[string]json.RawMessage
	configErr error
	read      map[string]bool
	ignored   []graph.Ignored
	notes     []string
	subs      []*Import
}

func newImport(c *formats.Checkpoint, o Options) *Import {
	im := &Import{Checkpoint: c, Options: o, read: map[string]bool{}}
	raw, err := c.ReadFile("config.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		im.configErr = err
	default:
		if err := formats.JSON("config.json", raw, &im.config); err != nil {
			im.configErr = fmt.Errorf("%s: %w", c.Source(), err)
		}
	}
	return im
}

// ModelType returns config.json's model_type, "" if there is none.
func (im *Import) ModelType() string {
	var s string
	_ = json.Unmarshal(im.config["model_type"], &s)
	return s
}

// HasConfig reports whether config.json has all of these keys.
func (im *Import) HasConfig(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { _, ok := im.config[k]; return !ok })
}

// Config reads config.json into a struct that holds the defaults of absent keys. A JSON null keeps the default.
func (im *Import) Config(into any) error { return im.ConfigFile("config.json", into) }

// ConfigFile reads another JSON file of the folder likewise.
func (im *Import) ConfigFile(name string, into any) error {
	raw, err := im.ReadFile(name)
	if err != nil {
		return err
	}
	return formats.JSON(name, raw, into)
}

// HasTensor reports whether the checkpoint holds a tensor of that name.
func (im *Import) HasTensor(name string) bool {
	_, ok := im.Tensor(name)
	return ok
}

// HasAny reports whether a tensor's name matches the pattern: # stands for digits, * for anything.
func (im *Import) HasAny(pattern string) bool {
	re := compile(pattern)
	return slices.ContainsFunc(im.Names(), re.MatchString)
}

// Count returns one more than the largest number that # takes in a tensor name matching the pattern: the number of layers.
func (im *Import) Count(pattern string) int {
	re := compile(pattern)
	n := 0
	for _, name := range im.Names() {
		if m := re.FindStringSubmatch(name); m != nil {
			if i, err := strconv.Atoi(m[1]); err == nil && i < 1<<16 {
				n = max(n, i+1)
			}
		}
	}
	return n
}

// Dim returns the size of a tensor's axis, 0 if there is no such tensor or axis.
func (im *Import) Dim(name string, axis int) int {
	t, ok := im.Tensor(name)
	if !ok || axis >= len(t.Shape) {
		return 0
	}
	return t.Shape[axis]
}

// Ignore leaves tensors out, with the reason. # stands for digits, * for anything.
func (im *Import) Ignore(pattern, reason string) {
	re := compile(pattern)
	for _, name := range im.Names() {
		if re.MatchString(name) && !im.read[name] {
			im.read[name] = true
			im.ignored = append(im.ignored, graph.Ignored{Name: name, Reason: reason})
		}
	}
}

// Note records a choice that the report should tell.
func (im *Import) Note(format string, args ...any) {
	im.notes = append(im.notes, fmt.Sprintf(format, args...))
}

// SubImport opens the checkpoint in a sub-folder; its tensors are accounted for with this one's.
func (im *Import) SubImport(dir string) (*Import, error) {
	c, err := im.Sub(dir)
	if err != nil {
		return nil, err
	}
	sub := im.adopt(c)
	return sub, sub.configErr
}

// adopt makes another checkpoint a part of this import.
func (im *Import) adopt(c *formats.Checkpoint) *Import {
	sub := newImport(c, im.Options)
	im.subs = append(im.subs, sub)
	return sub
}

// readCount is how many tensors the graph reads, those of sub-folders included: not left over and not ignored. It goes by what
// leftovers gathered.
func (im *Import) readCount() int {
	n := len(im.read) - len(im.ignored)
	for _, s := range im.subs {
		n += len(s.read)
	}
	return n
}

func (im *Import) leftovers() []string {
	var left []string
	for _, name := range im.Names() {
		if !im.read[name] {
			left = append(left, name)
		}
	}
	for _, s := range im.subs {
		for _, name := range s.leftovers() {
			left = append(left, path.Join(path.Base(s.Dir()), name))
		}
		im.ignored = append(im.ignored, s.ignored...)
		im.notes = append(im.notes, s.notes...)
	}
	return left
}

// Names is a table from canonical tensor names to those of a checkpoint. In both, # stands for digits and * for the rest;
// the first rule that matches counts, and a name that none matches stands for itself. A source may end in
//
//	[i/n]  the i-th of n equal parts along the first axis (fused projections)
//	^T     the transposed matrix
type Names [][2]string

// NamedParams gives a builder the tensors of an import through a table of names.
type NamedParams struct {
	im     *Import
	prefix string
	rules  []rule
}

type rule struct {
	canonical *regexp.Regexp
	source    string
}

// Params returns the tensors by the canonical names that the table translates. The prefix stands before the names of the
// checkpoint.
func (im *Import) Params(table Names, prefix string) *NamedParams {
	p := &NamedParams{im: im, prefix: prefix}
	for _, r := range table {
		p.rules = append(p.rules, rule{compile(r[0]), r[1]})
	}
	return p
}

func compile(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.NewReplacer(`\#`, `(\d+)`, "#", `(\d+)`, `\*`, "(.*)").Replace(regexp.QuoteMeta(pattern)) + "$")
}

// source translates a canonical name, filling the wildcards in their order.
func (p *NamedParams) source(name string) string {
	for _, r := range p.rules {
		m := r.canonical.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		var b strings.Builder
		next := 1
		for _, c := range r.source {
			if (c == '#' || c == '*') && next < len(m) {
				b.WriteString(m[next])
				next++
			} else {
				b.WriteRune(c)
			}
		}
		return p.prefix + b.String()
	}
	return p.prefix + name
}

var partSuffix = regexp.MustCompile(`^(.*)\[(\d+)/(\d+)\]$`)

// Has reports whether the tensor is there.
func (p *NamedParams) Has(name string) bool {
	src := strings.TrimSuffix(p.source(name), "^T")
	if m := partSuffix.FindStringSubmatch(src); m != nil {
		src = m[1]
	}
	return p.im.HasTensor(src)
}

// Param returns the tensor of a canonical name, which must have the given shape; axes of one may be there or not.
func (p *NamedParams) Param(name string, shape ...int) (graph.Expr, error) {
	src := p.source(name)
	src, transpose := strings.CutSuffix(src, "^T")
	part, parts := 0, 1
	if m := partSuffix.FindStringSubmatch(src); m != nil {
		src = m[1]
		part, _ = strconv.Atoi(m[2])
		parts, _ = strconv.Atoi(m[3])
	}
	t, ok := p.im.Tensor(src)
	if !ok {
		return nil, fmt.Errorf("tensor %s: missing; expected shape %v", src, graph.Shape(shape))
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	want := slices.Clone(graph.Shape(shape))
	if transpose && len(want) == 2 {
		want[0], want[1] = want[1], want[0]
	}
	if parts > 1 {
		want[0] *= parts
	}
	if !slices.Equal(squeeze(t.Shape), squeeze(want)) {
		return nil, fmt.Errorf("tensor %s: expected shape %v, found %v", src, want, graph.Shape(t.Shape))
	}
	p.im.read[src] = true
	e := graph.ReshapeExpr(graph.Leaf{Tensor: t}, want...)
	if parts > 1 {
		n := want[0] / parts
		e = graph.SliceExpr(e, part*n, (part+1)*n)
	}
	if transpose {
		e = graph.TransposeExpr(e)
	}
	return e, nil
}

func squeeze(s []int) []int {
	return slices.DeleteFunc(slices.Clone(s), func(d int) bool { return d == 1 })
}
