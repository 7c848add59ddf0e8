package main

import (
	"errors"
	"fmt"

	"github.com/mmconv/mmconv/verify/golden"
	"github.com/spf13/cobra"
)

var _ = register(newParity)

func newParity(a *app) *cobra.Command {
	var flags recipeFlags
	var o golden.ParityOptions
	var converted bool
	c := &cobra.Command{
		Use:   "parity CASE...",
		Short: "Run golden cases: the recorded outputs of another framework against ours, tensor by tensor",
		Long: `parity imports each case's checkpoint, runs its pipeline and compares every recorded tensor. A row holds when
|ours - theirs| <= atol + rtol |theirs| everywhere. docs/verification.md describes the format of cases.

With --converted the checkpoint is converted first, with the flags of convert, and --min-cosine and --max-rel-l2 are held
against the case's final outputs; all other rows are information.`,
		Example: `  mmconv parity testdata/goldens/*/
  mmconv parity my-case --converted --weights int4 --min-cosine 0.99`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("expected one or more folders of golden cases (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			so := a.session()
			so.MaxPixels, so.Models = o.MaxPixels, flags.o.Models
			o.Options = so
			q, err := flags.options()
			if err != nil {
				return err
			}
			if converted {
				o.Convert = golden.ConvertTo(q)
			} else {
				for _, name := range append(converting, "min-cosine", "max-rel-l2") {
					if c.Flags().Changed(name) {
						return fmt.Errorf("--%s needs --converted", name)
					}
				}
			}
			results := []*golden.ParityResult{}
			var broken, failed []string
			a.begin("parity", int64(len(args)), false)
			for i, dir := range args {
				r := golden.Parity(c.Context(), dir, o)
				if err := c.Context().Err(); err != nil {
					return err
				}
				results = append(results, r)
				switch {
				case r.Error != "":
					broken = append(broken, r.Reason())
				case !r.OK:
					failed = append(failed, fmt.Sprintf("%s: %d rows do not hold, the first: %s", r.Case, r.Failed(), r.FirstFailed()))
				}
				a.step(int64(i+1), int64(len(args)))
			}
			a.endProgress()
			if err := a.print(results, func() error { return golden.WriteParity(a.out, results) }); err != nil {
				return err
			}
			switch {
			case broken != nil:
				var list []error
				for _, b := range append(broken, failed...) {
					list = append(list, errors.New(b))
				}
				return errors.Join(list...)
			case failed != nil:
				return violated{failed}
			}
			return nil
		},
	}
	flags.add(c)
	f := c.Flags()
	f.BoolVar(&converted, "converted", false, "convert the checkpoint first and judge the final outputs by the bounds")
	f.Float64Var(&o.MinCosine, "min-cosine", 0, "with --converted: bound on the cosine of every final output")
	f.Float64Var(&o.MaxRelL2, "max-rel-l2", 0, "with --converted: bound on the relative L2 error of every final output")
	f.IntVar(&o.MaxPixels, "max-pixels", 0, "largest picture that is decoded, in pixels (default 178956970)")
	f.StringVar(&flags.o.Models.System, "system", "", "read checkpoints as this system instead of recognising it")
	imageSize(f, &flags.o.Models.ImageSize)
	return c
}

// converting are the flags that only a conversion reads.
var converting = []string{"weights", "activations", "group-size", "asymmetric", "method", "scales", "keep", "only", "no-fuse", "recipe", "allow-nonfinite"}
