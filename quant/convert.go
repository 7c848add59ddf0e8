package quant

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/graph/fuse"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
)

// Options are the wishes of a user about a conversion. Empty fields mean the recipe file's, and where it says nothing, the
// defaults: int8 per output channel, int4 in groups of 32, symmetric, method mse, activations int8.
type Options struct {
	Weights     string // int8, int4, float16, float32, source
	Activations string // int8, float32
	Group       string // 32, 64, 128, channel
	Asymmetric  bool
	Method      string
	Scales      string            // float16, float32
	Keep        []string          // globs of weights or tensors to keep as they are
	Only        []graph.Component // components to convert; all if empty
	NoFuse      []string          // fusion passes to leave out
	Recipe      string            // a recipe file, which the fields above overrule

	AllowNonfinite bool // convert weights that hold NaN or infinities
	Force          bool // replace an existing target
	Threads        int  // 0: one for each processor
	Models         models.Options

	// Progress is called now and then while weights are written, by one goroutine at a time. Done and total count the bytes
	// that the weights' values would take as float32.
	Progress func(done, total int64, weight string)
}

// Resolve returns what the options amount to, with the recipe file read and the defaults filled in.
func (o *Options) Resolve() (*Recipe, error) {
	r := new(Recipe)
	if o.Recipe != "" {
		var err error
		if r, err = ReadRecipe(o.Recipe); err != nil {
			return nil, err
		}
	}
	flags := Choice{Weights: o.Weights, Activations: o.Activations, GroupSize: GroupSize(o.Group), Method: o.Method, Scales: o.Scales}
	if o.Asymmetric {
		flags.Asymmetric = &o.Asymmetric
	}
	r.Choice = r.Choice.over(flags).withDefaults()
	r.Keep = append(r.Keep, o.Keep...)
	r.NoFuse = append(r.NoFuse, o.NoFuse...)
	if len(o.Only) > 0 {
		r.Only = o.Only
	}
	r.AllowNonfinite = r.AllowNonfinite || o.AllowNonfinite
	return r, r.Check()
}

// Conversion is a source that was read, fused and planned, ready to be written.
type Conversion struct {
	Source *run.Loaded
	Graph  *graph.Graph // the fused one
	Fusion *fuse.Report
	Recipe *Recipe
	Plan   *Plan
	// Ignored lists the tensors of the source that will not be in the model.
	Ignored []graph.Ignored

	options Options
	hashing func() error // waits for the source's hashes, nil when they are not being made
}

// Result says what was written.
type Result struct {
	Manifest *converted.Manifest
	Recipe   *Recipe // with the defaults filled in
	Plan     *Plan
}

// Convert reads a source, a folder, file or hf: name, and writes the converted folder dst, which appears whole or not at
// all. The bytes written depend on the source and the recipe alone, not on the number of threads.
func Convert(ctx context.Context, src, dst string, o Options) (*Result, error) {
	c, err := Prepare(src, o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Write(ctx, dst)
}

// Prepare does all that goes before writing: it reads the headers of a source, builds and fuses its graph, and makes the
// plan. It reads no values. Everything is decided then.
func Prepare(src string, o Options) (*Conversion, error) {
	r, err := o.Resolve()
	if err != nil {
		return nil, err
	}
	l, err := run.Load(src, o.Models)
	if err != nil {
		return nil, err
	}
	c := &Conversion{Source: l, Recipe: r.advised(l.Model.Advice), options: o}
	for _, step := range []func() error{c.unconverted, c.fuse, c.plan} {
		if err := step(); err != nil {
			l.Close()
			return nil, fmt.Errorf("%s: %w", src, err)
		}
	}
	return c, nil
}

// unconverted refuses what is a converted folder already.
func (c *Conversion) unconverted() error {
	if m := c.Source.Manifest; m != nil {
		return fmt.Errorf("converted already, from %s: convert its source instead", m.Source.Name)
	}
	return nil
}

// fuse rewrites the graph of the components that are wanted.
func (c *Conversion) fuse() (err error) {
	c.Graph, c.Fusion, err = fuse.Run(c.Source.Model.Graph, fuse.Options{Skip: c.Recipe.NoFuse, Only: c.Recipe.Only})
	if err != nil {
		return err
	}
	c.Ignored = append(c.Ignored, c.Source.Model.Ignored...)
	needed := map[*formats.Tensor]bool{}
	for _, t := range graph.Tensors(graph.Weights(c.Graph.Nodes())) {
		needed[t] = true
	}
	for _, t := range graph.Tensors(graph.Weights(c.Source.Model.Graph.Nodes())) {
		if !needed[t] {
			c.Ignored = append(c.Ignored, graph.Ignored{Name: t.Name, Reason: "none of the converted outputs needs it"})
		}
	}
	return nil
}

// plan decides what becomes of every weight.
func (c *Conversion) plan() (err error) {
	c.Plan, err = MakePlan(c.Graph, c.Recipe)
	return err
}

// Close releases the source. Where a write was broken off, its hashes may still be under way: it is released when they end.
func (c *Conversion) Close() error {
	if hashed := c.hashing; hashed != nil {
		go func() {
			_ = hashed()
			_ = c.Source.Close()
		}()
		return nil
	}
	return c.Source.Close()
}

// Threads returns the number of workers.
func (c *Conversion) threads() int {
	if c.options.Threads > 0 {
		return c.options.Threads
	}
	return runtime.GOMAXPROCS(0)
}

// Write evaluates one weight at a time in each worker, quantizes and writes it; peak memory goes with the largest weight
// and the number of workers. When ctx is cancelled, the source changes meanwhile or anything fails, nothing is left behind.
func (c *Conversion) Write(ctx context.Context, dst string) (*Result, error) {
	if err := c.checkTarget(dst); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := formats.NewAtomicDir(ctx, dst, c.options.Force)
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	if err := c.copyFiles(d); err != nil {
		return nil, err
	}
	c.hashing = c.Source.Checkpoint.HashAsync(max(1, c.threads()/2))
	notes, err := c.writeWeights(ctx, d)
	if err != nil {
		return nil, err
	}
	err = c.hashing()
	c.hashing = nil
	if err != nil {
		return nil, err
	}
	table := struct {
		Graph   *graph.Graph      `json:"graph"`
		Weights converted.Weights `json:"weights"`
	}{c.Graph, c.Plan.Weights()}
	if err := writeJSON(d, converted.GraphFile, table); err != nil {
		return nil, err
	}
	m, err := c.manifest(notes)
	if err != nil {
		return nil, err
	}
	m.Files = d.Digests()
	if err := writeJSON(d, converted.ManifestFile, m); err != nil {
		return nil, err
	}
	if err := c.Source.Checkpoint.Unchanged(); err != nil {
		return nil, err
	}
	if err := d.Commit(); err != nil {
		return nil, err
	}
	return &Result{Manifest: m, Recipe: c.Recipe, Plan: c.Plan}, nil
}

// checkTarget refuses a target that the source lies in: to replace it would take away what is being read.
func (c *Conversion) checkTarget(dst string) error {
	real := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			p = abs
		}
		if r, err := filepath.EvalSymlinks(p); err == nil {
			p = r
		}
		return p
	}
	target := real(dst)
	for _, f := range c.Source.Checkpoint.Files() {
		if rel, err := filepath.Rel(target, real(f.Path)); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s: the source lies in it (%s): choose another target", dst, f.Path)
		}
	}
	return nil
}

// copyFiles takes over what the pipeline reads at run time.
func (c *Conversion) copyFiles(d *formats.AtomicDir) error {
	p := c.Source.Model.Pipeline
	if p == nil {
		return nil
	}
	own := map[string]bool{converted.ManifestFile: true, converted.GraphFile: true, converted.WeightsFile: true}
	for _, name := range p.Files {
		if own[strings.ToLower(filepath.ToSlash(filepath.Clean(name)))] {
			return fmt.Errorf("%s: the pipeline's file %s has the name of one that a converted model has itself", c.Source.Checkpoint.Source(), name)
		}
		data, err := c.Source.Checkpoint.ReadFile(name)
		if err != nil {
			return err
		}
		if err := d.WriteFile(name, data); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conversion) manifest(notes []string) (*converted.Manifest, error) {
	src, weights := c.Source, c.Plan.Weights()
	recipe, err := json.Marshal(c.Recipe)
	if err != nil {
		return nil, err
	}
	m := &converted.Manifest{
		Kind: converted.Kind, FormatVersion: converted.FormatVersion, Tool: toolVersion(),
		System: src.Model.System, Naming: src.Model.Naming, Components: c.Graph.Components(),
		Source: converted.Source{Name: src.Checkpoint.Source()},
		Recipe: recipe, Fusion: c.Fusion, Bytes: c.Sizes(),
		Float: weights.Stay(), Ignored: c.Ignored,
		Notes: append(append([]string{}, src.Model.Notes...), notes...), Pipeline: src.Model.Pipeline,
	}
	if !strings.HasPrefix(m.Source.Name, "hf:") {
		// Where the source lay on this machine is nobody's business, and would make the bytes depend on it.
		if abs, err := filepath.Abs(m.Source.Name); err == nil {
			m.Source.Name = filepath.Base(abs)
		}
	}
	m.Weights.Quantized, m.Weights.Float = weights.Count()
	for _, f := range src.Checkpoint.Files() {
		sum, err := f.SHA256()
		if err != nil {
			return nil, err
		}
		m.Source.Files = append(m.Source.Files, formats.Digest{Name: f.Name, Size: f.Size, SHA256: sum})
	}
	return m, nil
}

// Sizes returns the bytes of the tensors that the converted model needs, and of what they become.
func (c *Conversion) Sizes() converted.Sizes {
	s := converted.Sizes{After: c.Plan.Weights().Bytes()}
	for _, t := range graph.Tensors(graph.Weights(c.Graph.Nodes())) {
		s.Before += int64(t.ByteLen())
	}
	return s
}

func writeJSON(d *formats.AtomicDir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return d.WriteFile(name, append(text, '\n'))
}
