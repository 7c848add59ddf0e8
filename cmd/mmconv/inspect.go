package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/pipeline"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/kernels"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newInspect)

// inspection is what inspect prints.
type inspection struct {
	Path       string              `json:"path"`
	System     string              `json:"system,omitempty"`
	Naming     string              `json:"naming,omitempty"`
	Format     string              `json:"format,omitempty"`
	Bytes      int64               `json:"bytes"`
	Components []graph.Component   `json:"components,omitempty"`
	Inputs     []valueInfo         `json:"inputs,omitempty"`
	Outputs    []graph.Output      `json:"outputs,omitempty"`
	Converted  *report.Converted   `json:"converted,omitempty"`
	Manifest   *converted.Manifest `json:"manifest,omitempty"`
	Pipeline   *pipeline.Pipeline  `json:"pipeline,omitempty"`
	Config     string              `json:"config,omitempty"`
	Tensors    []tensorInfo        `json:"tensors,omitempty"`
	Nodes      []nodeInfo          `json:"graph,omitempty"`
	Weights    []weightInfo        `json:"weights,omitempty"`
	Ignored    []graph.Ignored     `json:"ignored"`
	Notes      []string            `json:"notes,omitempty"`
}

type valueInfo struct {
	Name  string      `json:"name"`
	Shape graph.Shape `json:"shape"`
}

type tensorInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int    `json:"bytes"`
	Fault string `json:"fault,omitempty"` // why it cannot be read
}

type nodeInfo struct {
	Op      string   `json:"op"`
	Names   []string `json:"names,omitempty"`
	Inputs  []int    `json:"inputs,omitempty"`
	Weights []string `json:"weights,omitempty"`
}

type weightInfo struct {
	Name       string      `json:"name"`
	Kind       graph.Kind  `json:"kind"`
	Shape      graph.Shape `json:"shape"`
	Format     string      `json:"format,omitempty"`
	Expression string      `json:"expression"`
	Reason     string      `json:"reason,omitempty"`
}

type inspectFlags struct {
	config, tensors, graph, weights, cpu, raw, check bool
	o                                                models.Options
}

func newInspect(a *app) *cobra.Command {
	var flags inspectFlags
	c := &cobra.Command{
		Use:   "inspect PATH",
		Short: "Show what a checkpoint or a converted model holds: configuration, tensors, graph, weights and their expressions",
		Example: `  mmconv inspect clip-vit-base-patch32
  mmconv inspect clip-int4 --weights
  mmconv inspect hf:openai/clip-vit-base-patch32 --tensors --json
  mmconv inspect --check clip-int8
  mmconv inspect --cpu`,
		Args: func(c *cobra.Command, args []string) error {
			if flags.cpu && len(args) == 0 {
				return nil
			}
			return exactly(1, "a checkpoint or a converted model")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if flags.check {
				return check(a, c.Context(), args[0])
			}
			if flags.cpu {
				if err := printCPU(a); err != nil || len(args) == 0 {
					return err
				}
			}
			in, err := inspect(args[0], flags)
			if err != nil {
				return err
			}
			return a.print(in, func() error { return in.print(a.out) })
		},
	}
	f := c.Flags()
	f.BoolVar(&flags.config, "config", false, "print the configuration")
	f.BoolVar(&flags.tensors, "tensors", false, "list the tensors of the files")
	f.BoolVar(&flags.graph, "graph", false, "list the nodes of the graph")
	f.BoolVar(&flags.weights, "weights", false, "list the weights: kind, shape, scheme, expression over the checkpoint's tensors")
	f.BoolVar(&flags.cpu, "cpu", false, "show the processor's instruction sets and which is in use")
	f.BoolVar(&flags.check, "check", false, "hold the files of a converted model against the digests that its manifest has of them")
	f.BoolVar(&flags.raw, "raw", false, "do not recognise a system: files and tensors only")
	f.StringVar(&flags.o.System, "system", "", "read a source as this system instead of recognising it")
	f.StringVar(&flags.o.Encoder, "encoder", "", "folder of the encoder before a projector that stands alone")
	imageSize(f, &flags.o.ImageSize)
	return c
}

// checking is what inspect --check prints.
type checking struct {
	Path   string              `json:"path"`
	Files  []converted.Checked `json:"files"`
	Others []string            `json:"others,omitempty"` // files that mmconv did not write
}

func check(a *app, ctx context.Context, path string) error {
	in := checking{Path: path}
	var err error
	if in.Files, in.Others, err = converted.Check(ctx, path); err != nil {
		return err
	}
	var bad violated
	err = a.print(in, func() error {
		var rows [][]string
		for _, f := range in.Files {
			rows = append(rows, []string{f.Name, report.Bytes(f.Size), cmp.Or(f.Fault, "as it was written")})
		}
		return report.WriteRows(a.out, []string{"file", "bytes", "is"}, rows)
	})
	for _, name := range in.Others {
		a.note("%s was not written by the conversion", filepath.Join(path, name))
	}
	for _, f := range in.Files {
		if f.Fault != "" {
			bad.lines = append(bad.lines, filepath.Join(path, f.Name)+": "+f.Fault)
		}
	}
	if err != nil || len(bad.lines) == 0 {
		return err
	}
	return bad
}

func printCPU(a *app) error {
	info := struct {
		Available []string `json:"available"`
		Active    string   `json:"active"`
		Threads   int      `json:"threads"`
	}{Active: kernels.Active().String(), Threads: a.workers()}
	for _, isa := range kernels.Available() {
		info.Available = append(info.Available, isa.String())
	}
	return a.print(info, func() error {
		_, err := fmt.Fprintf(a.out, "instruction sets: %v; in use: %s (MMCONV_ISA overrides); threads: %d\n", info.Available, info.Active, info.Threads)
		return err
	})
}

// configFiles are the configurations that checkpoints come with.
var configFiles = []string{"config.json", "open_clip_config.json"}

func inspect(path string, flags inspectFlags) (*inspection, error) {
	in := &inspection{Path: path, Ignored: []graph.Ignored{}}
	if flags.raw {
		c, err := formats.Open(path, formats.Options{})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		in.files(c, flags)
		in.addTensors(c)
		return in, nil
	}
	l, err := run.Load(path, flags.o)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	in.files(l.Checkpoint, flags)
	if flags.tensors {
		in.addTensors(l.Checkpoint)
	}
	m := l.Model
	in.System, in.Naming, in.Bytes = m.System, m.Naming, l.Bytes()
	in.Components, in.Outputs = m.Graph.Components(), m.Graph.Outputs
	in.Manifest, in.Pipeline, in.Notes = l.Manifest, m.Pipeline, m.Notes
	in.Ignored = append(in.Ignored, m.Ignored...)
	for _, n := range m.Graph.Inputs() {
		in.Inputs = append(in.Inputs, valueInfo{n.Name(), n.Op.(graph.Input).Dims})
	}
	if l.Weights != nil {
		in.Converted = report.DescribeWeights(l.Weights)
	}
	nodes := m.Graph.Nodes()
	if flags.graph {
		in.addNodes(nodes)
	}
	if flags.weights {
		in.addWeights(nodes, l.Weights)
	}
	return in, nil
}

func (in *inspection) files(c *formats.Checkpoint, flags inspectFlags) {
	in.Format = c.Format()
	if in.Notes == nil {
		in.Notes = c.Notes()
	}
	if !flags.config {
		return
	}
	for _, name := range configFiles {
		if raw, err := c.ReadFile(name); err == nil {
			in.Config = string(raw)
			return
		}
	}
}

func (in *inspection) addTensors(c *formats.Checkpoint) {
	for _, name := range c.Names() {
		t, _ := c.Tensor(name)
		info := tensorInfo{Name: t.Name, DType: t.DType.String(), Shape: t.Shape, Bytes: t.ByteLen()}
		if err := t.Err(); err != nil {
			info.Fault = err.Error()
		}
		in.Tensors = append(in.Tensors, info)
		if in.System == "" {
			in.Bytes += int64(t.ByteLen())
		}
	}
}

func (in *inspection) addNodes(nodes []*graph.Node) {
	index := map[*graph.Node]int{}
	for i, n := range nodes {
		index[n] = i
		info := nodeInfo{Op: graph.OpName(n.Op), Names: n.Names}
		for _, x := range n.In {
			info.Inputs = append(info.Inputs, index[x])
		}
		for _, w := range n.Params {
			if w != nil {
				info.Weights = append(info.Weights, w.Name)
			}
		}
		in.Nodes = append(in.Nodes, info)
	}
}

func (in *inspection) addWeights(nodes []*graph.Node, stored converted.Weights) {
	for _, w := range graph.Weights(nodes) {
		info := weightInfo{Name: w.Name, Kind: w.Kind, Shape: w.Shape(), Expression: w.Expr.String()}
		if i := slices.IndexFunc(stored, func(s converted.Weight) bool { return s.Name == w.Name }); i >= 0 {
			info.Format, info.Expression, info.Reason = stored[i].Format(), stored[i].Source, stored[i].Reason
		}
		in.Weights = append(in.Weights, info)
	}
}

func (in *inspection) print(w io.Writer) error {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(w, "%-11s "+format+"\n", append([]any{key}, args...)...)
	}
	line("path", "%s", in.Path)
	if in.System != "" {
		line("system", "%s, %s naming", in.System, in.Naming)
		line("components", "%v", in.Components)
		for _, v := range in.Inputs {
			line("input", "%s %v", v.Name, v.Shape)
		}
		for _, o := range in.Outputs {
			line("output", "%s (%s)", o.Name, o.Component)
		}
	}
	line("weights", "%s", report.Bytes(in.Bytes))
	if m := in.Manifest; m != nil {
		r, err := quant.RecipeOf(m)
		if err != nil {
			return err
		}
		line("converted", "by %s from %s: %s weights, %s activations, method %s", m.Tool, m.Source.Name, r.Weights, r.Activations, r.Method)
	}
	if c := in.Converted; c != nil {
		line("quantized", "%d weights, %d stayed float", c.Quantized, len(c.Float))
	}
	for _, n := range in.Notes {
		line("note", "%s", n)
	}
	for _, ig := range in.Ignored {
		line("ignored", "%s: %s", ig.Name, ig.Reason)
	}
	if in.Config != "" {
		fmt.Fprintf(w, "%s\n", in.Config)
	}
	var rows [][]string
	for _, t := range in.Tensors {
		rows = append(rows, []string{t.Name, t.DType, graph.Shape(t.Shape).String(), report.Bytes(int64(t.Bytes))})
	}
	if err := in.table(w, []string{"tensor", "dtype", "shape", "bytes"}, rows); err != nil {
		return err
	}
	rows = nil
	for i, n := range in.Nodes {
		rows = append(rows, []string{fmt.Sprint(i), n.Op, fmt.Sprint(n.Inputs), fmt.Sprint(n.Names), fmt.Sprint(n.Weights)})
	}
	if err := in.table(w, []string{"node", "op", "inputs", "names", "weights"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, x := range in.Weights {
		rows = append(rows, []string{x.Name, string(x.Kind), x.Shape.String(), x.Format, x.Expression, x.Reason})
	}
	return in.table(w, []string{"weight", "kind", "shape", "format", "expression", "why"}, rows)
}

func (in *inspection) table(w io.Writer, head []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	return report.WriteRows(w, head, rows)
}
