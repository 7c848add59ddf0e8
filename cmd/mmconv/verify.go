package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/verify"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newVerify)

func newVerify(a *app) *cobra.Command {
	var o verify.Options
	var reportFile, baseline, writeBaseline string
	var system string
	var force bool
	c := &cobra.Command{
		Use:   "verify REF CAND",
		Short: "Compare a converted model with its source, value by value and task by task",
		Long: `verify runs the whole pipeline of both models on the same data: preprocessing, graph, task. REF and CAND may each be a source
or a converted folder. --data is a folder of images, audio or tensors (.safetensors), one subfolder a class where there are
labels; --prompts is JSON: an object from label to text (or list of texts), or a list of texts without labels.

Any of the bounds below makes the exit code 1 when it does not hold, and is named.`,
		Example: `  mmconv verify clip clip-int8 --data photos --prompts prompts.json --max-drop 0.5 --min-agreement 99
  mmconv verify clip clip-int4 --data photos --report report.html --write-baseline int4.json
  mmconv verify clip clip-int4 --data photos --baseline int4.json --json`,
		Args: exactly(2, "a reference and a candidate"),
		RunE: func(c *cobra.Command, args []string) error {
			if reportFile != "" {
				if err := report.CheckName(reportFile); err != nil {
					return err
				}
			}
			if baseline != "" {
				var err error
				if o.Baseline, err = verify.ReadBaseline(baseline); err != nil {
					return err
				}
			}
			o.Options.Threads = a.threads
			o.Options.Models.System = system
			a.begin("verify", 0, false)
			o.Progress = func(done, of int) { a.step(int64(done), int64(of)) }
			r, err := verify.Verify(c.Context(), args[0], args[1], o)
			a.endProgress()
			if err != nil {
				return err
			}
			if err := a.print(r, func() error { return r.WriteTable(a.out) }); err != nil {
				return err
			}
			if reportFile != "" {
				f, err := formats.NewAtomicFile(c.Context(), reportFile, true)
				if err != nil {
					return err
				}
				defer f.Abort()
				if err := r.WriteAs(f, reportFile); err != nil {
					return err
				}
				if err := f.Commit(); err != nil {
					return err
				}
			}
			if writeBaseline != "" {
				if _, err := os.Stat(writeBaseline); err == nil && !force {
					return fmt.Errorf("%s exists: --force replaces it", writeBaseline)
				}
				if err := verify.NewBaseline(r).Write(writeBaseline); err != nil {
					return err
				}
			}
			return boundsHold(r)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Data, "data", "", "folder of samples")
	f.StringVar(&o.Prompts, "prompts", "", "JSON file of texts")
	f.IntVar(&o.Batch, "batch", 0, "samples at a time (default 8)")
	f.BoolVar(&o.KeepGoing, "keep-going", false, "skip samples that cannot be read, and count them")
	f.BoolVar(&o.NoLatency, "no-latency", false, "do not measure latency")
	f.StringVar(&o.Resampling, "resampling", "hann", "kernel that brings clips to the model's rate: hann, as torchaudio, or kaiser, sharper")
	f.IntVar(&o.MaxPixels, "max-pixels", 0, "largest picture that is decoded, in pixels (default 178956970)")
	f.StringVar(&reportFile, "report", "", "also write the report to this file: .md, .json, .html or .xml (JUnit)")
	f.StringVar(&baseline, "baseline", "", "hold the report against the bounds in this file")
	f.StringVar(&writeBaseline, "write-baseline", "", "write what was measured as bounds for later runs")
	f.BoolVar(&force, "force", false, "let --write-baseline replace a file")
	f.StringVar(&system, "system", "", "read the source as this system instead of recognising it")
	f.StringVar(&o.Models.Encoder, "encoder", "", "folder of the encoder before a source that is a projector alone")
	imageSize(f, &o.Models.ImageSize)
	bound(f, &o.MinCosine, "min-cosine", "every output's cosine is at least this")
	bound(f, &o.MinSQNR, "min-sqnr", "every output's SQNR is at least this, dB")
	bound(f, &o.MaxRelL2, "max-rel-l2", "every output's relative L2 error is at most this")
	bound(f, &o.MinNodeCos, "min-node-cosine", "every compared value's cosine is at least this")
	bound(f, &o.MaxDrop, "max-drop", "the labelled task's score drops by at most this many percentage points")
	bound(f, &o.MinAgreement, "min-agreement", "both models agree on at least this percentage of the samples")
	bound(f, &o.MinSpeedup, "min-speedup", "the candidate is at least this many times as fast")
	bound(f, &o.MaxBytes, "max-size-ratio", "the candidate's size is at most this share of the reference's")
	return c
}

// boundsHold returns a violation that names every bound that does not hold.
func boundsHold(r *report.Report) error {
	var lines []string
	for _, b := range r.Violated() {
		lines = append(lines, "bound violated: "+b.String())
	}
	if lines != nil {
		return violated{lines}
	}
	return nil
}

// print prints a result: as JSON where that is wanted, else by table.
func (a *app) print(v any, table func() error) error {
	if a.json {
		return report.WriteJSON(a.out, v)
	}
	return table()
}

// exactly is cobra.ExactArgs with a message that says what is expected.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("expected %s, found %d arguments (see: %s --help)", what, len(args), c.CommandPath())
		}
		return nil
	}
}

// boundValue is a flag that stays nil where it is not given.
type boundValue struct{ p **float64 }

func bound(f *pflag.FlagSet, p **float64, name, usage string) { f.Var(boundValue{p}, name, usage) }

func (b boundValue) Type() string { return "number" }

func (b boundValue) String() string {
	if b.p == nil || *b.p == nil {
		return ""
	}
	return fmt.Sprint(**b.p)
}

func (b boundValue) Set(s string) error {
	v, err := parseFinite(s)
	*b.p = &v
	return err
}
