package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newConvert)

func newConvert(a *app) *cobra.Command {
	var flags recipeFlags
	var out string
	var dryRun bool
	c := &cobra.Command{
		Use:   "convert SRC",
		Short: "Convert a checkpoint to int8 or int4",
		Long: `convert imports a checkpoint, fuses its graph, quantizes its weights and writes a folder that 'mmconv run' and 'mmconv verify'
take. The folder appears whole or not at all. Norms, embeddings, position tables, biases and scalars stay float; --dry-run
prints what becomes of every weight and why, and writes nothing.`,
		Example: `  mmconv convert clip-vit-base-patch32 -o clip-int8
  mmconv convert hf:openai/clip-vit-large-patch14 -o clip-int4 --weights int4 --only vision
  mmconv convert llava -o llava-int8 --keep 'vision_model.encoder.layers.0.*' --dry-run`,
		Args: exactly(1, "a source"),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := flags.options()
			if err != nil {
				return err
			}
			o.Threads = a.threads
			if out == "" && !dryRun {
				return errors.New("-o DST is missing: the folder to write")
			}
			o.Progress = func(done, total int64, _ string) { a.step(done, total) }
			p, err := quant.Prepare(args[0], o)
			if err != nil {
				return err
			}
			defer p.Close()
			if dryRun {
				return a.print(planInfo{p.Recipe, p.Plan, p.Sizes(), p.Ignored}, func() error { return printPlan(a, p) })
			}
			for _, n := range p.Source.Model.Notes {
				a.note("%s", n)
			}
			start := time.Now()
			a.begin("convert", 0, true)
			r, err := p.Write(c.Context(), out)
			a.endProgress()
			if err != nil {
				return err
			}
			return a.print(r.Manifest, func() error { return printConversion(a, out, r, time.Since(start)) })
		},
	}
	flags.add(c)
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "", "folder to write")
	f.BoolVar(&dryRun, "dry-run", false, "print the plan and write nothing")
	f.BoolVar(&flags.o.Force, "force", false, "replace the folder if it exists")
	f.StringVar(&flags.o.Models.System, "system", "", "read the source as this system instead of recognising it")
	f.StringVar(&flags.o.Models.Encoder, "encoder", "", "folder of the encoder before a projector that stands alone")
	imageSize(f, &flags.o.Models.ImageSize)
	return c
}

// planInfo is the JSON form of a dry run.
type planInfo struct {
	Recipe  *quant.Recipe   `json:"recipe"`
	Plan    *quant.Plan     `json:"plan"`
	Bytes   converted.Sizes `json:"bytes"`
	Ignored any             `json:"ignored"`
}

func printPlan(a *app, p *quant.Conversion) error {
	var rows [][]string
	for _, r := range p.Plan.Rows {
		method := ""
		if r.Quantized != nil {
			method = r.Quantized.Method + ", activations " + r.Quantized.Activations
		}
		if r.Corrects != "" {
			method = "corrects " + r.Corrects
		}
		rows = append(rows, []string{r.Name, string(r.Kind), r.Shape.String(), r.Format(), report.Bytes(r.Bytes), method, r.Reason, r.Source})
	}
	if err := report.WriteRows(a.out, []string{"weight", "kind", "shape", "format", "bytes", "method", "why", "made of"}, rows); err != nil {
		return err
	}
	for _, ig := range p.Ignored {
		fmt.Fprintf(a.out, "ignored: %s: %s\n", ig.Name, ig.Reason)
	}
	s := p.Sizes()
	quantized, float := p.Plan.Weights().Count()
	_, err := fmt.Fprintf(a.out, "%d weights quantized, %d float; %s before, %s after\n", quantized, float, report.Bytes(s.Before), report.Bytes(s.After))
	return err
}

func printConversion(a *app, out string, r *quant.Result, took time.Duration) error {
	m := r.Manifest
	fmt.Fprintf(a.out, "%s: %s in %s naming, %s weights, %s activations\n", out, m.System, m.Naming, r.Recipe.Weights, r.Recipe.Activations)
	fmt.Fprintf(a.out, "%d weights quantized, %d stayed float; %s before, %s after (%.2fx) in %.1f s\n",
		m.Weights.Quantized, m.Weights.Float, report.Bytes(m.Bytes.Before), report.Bytes(m.Bytes.After),
		float64(m.Bytes.Before)/float64(max(m.Bytes.After, 1)), took.Seconds())
	reasons := map[string]int{}
	for _, f := range report.DescribeWeights(r.Plan.Weights()).Float {
		reasons[f.Reason]++
	}
	var lines []string
	for reason := range reasons {
		lines = append(lines, reason)
	}
	slices.SortFunc(lines, func(x, y string) int {
		return cmp.Or(cmp.Compare(reasons[y], reasons[x]), cmp.Compare(x, y))
	})
	for _, reason := range lines {
		fmt.Fprintf(a.out, "  %d: %s\n", reasons[reason], reason)
	}
	_, err := fmt.Fprintf(a.out, "%d tensors of the source ignored\n", len(m.Ignored))
	return err
}
