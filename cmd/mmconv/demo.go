package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/quant"
	"github.com/mmconv/mmconv/verify"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newDemo)

// demoFiles is a small CLIP that was trained on drawn scenes (64 classes), with 256 of them and a text for each class.
//
//go:embed demo/checkpoint demo/images demo/prompts.json
var demoFiles embed.FS

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Convert and verify the embedded model: what mmconv does, in a few seconds",
		Long: `demo converts an embedded CLIP with really trained weights to int8 and to int4, and verifies each through its whole pipeline:
256 images in 64 classes, from the PNG file to the class that the model picks. It writes to a temporary folder only.`,
		Example: "  mmconv demo",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, remove, err := formats.TempDir()
			if err != nil {
				return err
			}
			defer remove()
			reports, err := demo(c.Context(), a, dir)
			if err != nil {
				return err
			}
			if a.json {
				return report.WriteJSON(a.out, reports)
			}
			return nil
		},
	}
}

// demoRecipes are the conversions that the demo shows, with the bounds that they are held against.
var demoRecipes = []struct {
	name                  string
	options               quant.Options
	maxDrop, minAgreement float64
}{
	{"int8", quant.Options{Weights: "int8", Activations: "int8"}, 0.4, 99},
	{"int4", quant.Options{Weights: "int4"}, 2, 96},
}

func demo(ctx context.Context, a *app, dir string) (map[string]*report.Report, error) {
	if err := extract(demoFiles, "demo", dir); err != nil {
		return nil, err
	}
	source := filepath.Join(dir, "checkpoint")
	reports := map[string]*report.Report{}
	for _, r := range demoRecipes {
		o := r.options
		o.Threads = a.threads
		target := filepath.Join(dir, r.name)
		a.note("converting the embedded model to %s", r.name)
		if _, err := quant.Convert(ctx, source, target, o); err != nil {
			return nil, err
		}
		vo := verify.Options{Options: a.session(), Data: filepath.Join(dir, "images"), Prompts: filepath.Join(dir, "prompts.json")}
		vo.MaxDrop, vo.MinAgreement = &r.maxDrop, &r.minAgreement
		a.begin("verifying "+r.name, 0, false)
		vo.Progress = func(done, of int) { a.step(int64(done), int64(of)) }
		report, err := verify.Verify(ctx, source, target, vo)
		a.endProgress()
		if err != nil {
			return nil, err
		}
		report.Reference.Path, report.Candidate.Path = "embedded CLIP", r.name
		reports[r.name] = report
		if !a.json {
			fmt.Fprintf(a.out, "== %s ==\n\n", r.name)
			if err := report.WriteTable(a.out); err != nil {
				return nil, err
			}
		}
		if err := boundsHold(report); err != nil {
			return reports, err
		}
	}
	return reports, nil
}

// extract writes the files of an embedded folder to a folder on the disk.
func extract(files fs.FS, root, dir string) error {
	sub, err := fs.Sub(files, root)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, sub)
}
