package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/kernels"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/report"
	"github.com/mmconv/mmconv/verify/synthetic"
)

var _ = registerBench(newBenchModel)

// modelBench is the result of bench model.
type modelBench struct {
	System      string     `json:"system"`
	Config      string     `json:"config"`
	Scheme      string     `json:"scheme"`
	Threads     int        `json:"threads"`
	ISA         string     `json:"isa"`
	Batch       int        `json:"batch"`
	SourceBytes int64      `json:"source_bytes"`
	Bytes       int64      `json:"bytes"`
	ConvertS    float64    `json:"convert_s"`
	ConvertGBs  float64    `json:"convert_gb_s"`
	PeakMB      float64    `json:"peak_memory_mb,omitempty"` // resident memory without mapped files, while converting; Linux only
	FloatMs     *latencies `json:"float_ms,omitempty"`
	ConvertedMs latencies  `json:"ms"`
	Speedup     float64    `json:"speedup,omitempty"`
	Projector   float64    `json:"projector_share,omitempty"` // of the converted model's time
	Profile     []nodeCost `json:"profile,omitempty"`
}

type latencies struct {
	Median float64 `json:"median"`
	Best   float64 `json:"best"`
}

type nodeCost struct {
	Node  string  `json:"node"`
	Op    string  `json:"op"`
	Ms    float64 `json:"ms"`
	Share float64 `json:"share"`
}

func newBenchModel(a *app) *cobra.Command {
	var flags recipeFlags
	var system, config, keep string
	var seed uint64
	var batch, rounds int
	var noFloat, profile bool
	var known []string
	for _, s := range slices.Sorted(maps.Keys(synthetic.Systems())) {
		known = append(known, s+": "+strings.Join(synthetic.Systems()[s], ", "))
	}
	c := &cobra.Command{
		Use:   "model",
		Short: "Convert a full-size random checkpoint and time its encoder before and after",
		Long: `bench model writes a checkpoint of a published architecture with seeded random weights, converts it, and times one pass of the
encoder: the source with its graph fused, and the converted model. Architectures: ` + strings.Join(known, "; ") + `.`,
		Example: `  mmconv bench model --system clip --config vit-l-14 --method rtn
  mmconv bench model --config vit-b-32 --weights int4 --threads 1 --profile --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if batch < 1 || rounds < 1 {
				return fmt.Errorf("--batch %d, --rounds %d: expected at least 1", batch, rounds)
			}
			o, err := flags.options()
			if err != nil {
				return err
			}
			o.Threads = a.threads
			m, err := synthetic.New(system, config)
			if err != nil {
				return err
			}
			b := &modelBench{System: system, Config: config, Threads: a.workers(), ISA: kernels.Active().String(), Batch: batch, SourceBytes: m.Bytes()}
			dir, remove, err := formats.TempDir()
			if err != nil {
				return err
			}
			defer remove()
			source := filepath.Join(dir, "source")
			if keep != "" {
				source = keep
			}
			if _, err := os.Stat(source); err != nil {
				a.begin("make up "+config, m.Bytes(), true)
				if err := m.Write(c.Context(), source, seed, func(done int64) { a.step(done, m.Bytes()) }); err != nil {
					return err
				}
				a.endProgress()
			}
			if err := b.convert(c.Context(), a, source, filepath.Join(dir, "converted"), o); err != nil {
				return err
			}
			if !noFloat {
				a.note("timing the float model")
				if err := b.time(c.Context(), a, source, rounds, false); err != nil {
					return err
				}
			}
			a.note("timing the converted model")
			if err := b.time(c.Context(), a, filepath.Join(dir, "converted"), rounds, profile); err != nil {
				return err
			}
			if b.FloatMs != nil {
				b.Speedup = b.FloatMs.Median / b.ConvertedMs.Median
			}
			return a.print(b, func() error { return b.print(a) })
		},
	}
	flags.add(c)
	f := c.Flags()
	f.StringVar(&system, "system", "clip", "system of the checkpoint")
	f.StringVar(&config, "config", "vit-b-32", "architecture")
	f.StringVar(&keep, "checkpoint", "", "keep the made-up checkpoint in this folder, and use it if it is there")
	f.Uint64Var(&seed, "seed", 1, "seed of the weights")
	f.IntVar(&batch, "batch", 1, "images at a time")
	f.IntVar(&rounds, "rounds", 5, "timed passes")
	f.BoolVar(&noFloat, "no-float", false, "do not time the float model")
	f.BoolVar(&profile, "profile", false, "list what each node of the converted graph takes")
	return c
}

func (b *modelBench) convert(ctx context.Context, a *app, source, target string, o quant.Options) error {
	a.begin("convert", 0, true)
	o.Progress = func(done, total int64, _ string) { a.step(done, total) }
	stop := watchMemory()
	start := time.Now()
	r, err := quant.Convert(ctx, source, target, o)
	b.ConvertS = time.Since(start).Seconds()
	b.PeakMB = stop()
	a.endProgress()
	if err != nil {
		return err
	}
	b.ConvertGBs = float64(b.SourceBytes) / 1e9 / b.ConvertS
	b.Bytes = r.Manifest.Bytes.After
	b.Scheme = fmt.Sprintf("%s weights, %s activations, method %s", r.Recipe.Weights, r.Recipe.Activations, r.Recipe.Method)
	return nil
}

// time measures one model; a source is fused first.
func (b *modelBench) time(ctx context.Context, a *app, path string, rounds int, profile bool) error {
	s, err := run.Open(path, a.session())
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.NewPass(ctx, benchInputs(s, b.Batch))
	if err != nil {
		return err
	}
	out := s.Graph().Outputs[0].Name
	typical, best, err := r.Time(ctx, rounds, out)
	if err != nil {
		return err
	}
	l := latencies{ms(typical), ms(best)}
	if s.Manifest == nil {
		b.FloatMs = &l
		return nil
	}
	b.ConvertedMs = l
	if n := s.Graph().Value("vision_features"); n != nil && r.Check("vision_features") == nil {
		before, _, err := r.Time(ctx, rounds, "vision_features")
		if err != nil {
			return err
		}
		b.Projector = max(0, 1-ms(before)/l.Median)
	}
	if !profile {
		return nil
	}
	s.Profile(true)
	if _, _, err := r.Time(ctx, rounds, out); err != nil {
		return err
	}
	var total time.Duration
	times := s.Profile(false)
	for _, t := range times {
		total += t.Time
	}
	for _, t := range times {
		name := t.Node.Name()
		if name == "" && t.Node.Param(0) != nil {
			name = t.Node.Param(0).Name
		}
		b.Profile = append(b.Profile, nodeCost{name, graph.OpName(t.Node.Op), ms(t.Time) / float64(rounds+1), float64(t.Time) / float64(total)})
	}
	return nil
}

// benchInputs makes up what a model needs: the inputs that nothing stands for.
func benchInputs(m *run.Model, batch int) map[string]run.Input {
	g := m.Graph()
	in := map[string]run.Input{}
	inputs := g.Inputs()
	for i, n := range inputs {
		if g.Alternates[n.Name()] != nil && i > 0 {
			continue
		}
		x := graph.NewTensor(shapeOf(m, n, batch)...)
		for i := range x.Data {
			x.Data[i] = float32(i * 7919 % 256)
		}
		in[n.Name()] = run.Input{Tensor: x}
	}
	return in
}

// shapeOf returns an input's shape with its free sizes set: texts of 20 tokens, pictures of 36 regions, or of a square of the
// short side that the preprocessing makes.
func shapeOf(m *run.Model, in *graph.Node, batch int) []int {
	const words, regions = 20, 36
	side := 384
	if p := m.Pipeline; p != nil && p.Image != nil && len(p.Image.Steps) > 0 && p.Image.Steps[0].Shortest >= 32 {
		side = p.Image.Steps[0].Shortest / 32 * 32
	}
	sizes := map[int]int{-1: batch, -2: words, -3: regions, -5: side, -6: side}
	shape := slices.Clone(in.Op.(graph.Input).Dims)
	for i, d := range shape {
		if d < 0 {
			shape[i] = max(sizes[d], 1)
		}
	}
	return shape
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

func (b *modelBench) print(a *app) error {
	fmt.Fprintf(a.out, "%s %s, %s, batch %d, %d threads, %s\n", b.System, b.Config, b.Scheme, b.Batch, b.Threads, b.ISA)
	if b.Projector > 0 {
		fmt.Fprintf(a.out, "the projector takes %.1f %% of the time\n", 100*b.Projector)
	}
	rows := [][]string{
		{"size", report.Bytes(b.SourceBytes), report.Bytes(b.Bytes)},
		{"conversion", "", fmt.Sprintf("%.2f s, %.2f GB/s of source", b.ConvertS, b.ConvertGBs)},
	}
	if b.PeakMB > 0 {
		rows = append(rows, []string{"peak memory while converting", "", fmt.Sprintf("%.0f MB", b.PeakMB)})
	}
	before := ""
	if b.FloatMs != nil {
		before = fmt.Sprintf("%.2f ms (best %.2f)", b.FloatMs.Median, b.FloatMs.Best)
	}
	rows = append(rows, []string{"latency", before, fmt.Sprintf("%.2f ms (best %.2f)", b.ConvertedMs.Median, b.ConvertedMs.Best)})
	if b.Speedup > 0 {
		rows = append(rows, []string{"speed-up", "", fmt.Sprintf("%.2fx", b.Speedup)})
	}
	if err := report.WriteRows(a.out, []string{"", "before", "after"}, rows); err != nil {
		return err
	}
	if b.Profile == nil {
		return nil
	}
	rows = nil
	for _, n := range b.Profile[:min(shownNodes, len(b.Profile))] {
		rows = append(rows, []string{n.Node, n.Op, fmt.Sprintf("%.3f", n.Ms), fmt.Sprintf("%.1f %%", 100*n.Share)})
	}
	return report.WriteRows(a.out, []string{"node", "op", "ms", "share"}, rows)
}

// shownNodes is how many of the costliest nodes are printed.
const shownNodes = 25
