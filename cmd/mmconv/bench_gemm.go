package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/kernels"
	"github.com/mmconv/mmconv/kernels/bench"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = registerBench(newBenchGemm)

func newBenchGemm(a *app) *cobra.Command {
	var o bench.Options
	var shapes, schemes, isa string
	var threads []int
	c := &cobra.Command{
		Use:   "gemm",
		Short: "Time matrix products against the measured peak of the processor's units",
		Long: `bench gemm times products C[M,N] = A[M,K] W[N,K]^T in several schemes, in turn, with the peak of the units measured in every
round. int8 and int4 schemes run on activations that are quantized in the call; those ending in -f32 on float activations.
Shapes are MxKxN, or names of encoders: ` + strings.Join(bench.EncoderNames(), ", ") + `.`,
		Example: `  mmconv bench gemm --shapes 197x768x3072 --threads 1,2
  mmconv bench gemm --shapes vit-l-14 --schemes float32,int8,int4-g32 --json
  mmconv bench gemm --isa avx2 --cold --shapes 1x1280x5120`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Shapes = bench.DefaultShapes; shapes != "" {
				if o.Shapes, err = bench.ParseShapes(shapes); err != nil {
					return err
				}
			}
			if o.Schemes, err = bench.ParseSchemes(schemes); err != nil {
				return err
			}
			if isa != "" {
				set, err := kernels.ParseISA(isa)
				if err != nil {
					return fmt.Errorf("--isa %s: no such instruction set; 'mmconv inspect --cpu' lists those of this processor", isa)
				}
				if err := kernels.SetISA(set); err != nil {
					return err
				}
			}
			if o.Rounds < 0 {
				return fmt.Errorf("--rounds %d: expected 1 or more", o.Rounds)
			}
			if o.Threads = threads; threads == nil {
				o.Threads = []int{a.workers()}
			}
			for _, t := range o.Threads {
				if t < 1 || t > 4096 {
					return fmt.Errorf("--threads %d: expected 1 to 4096, or several separated by commas", t)
				}
			}
			weights := 1
			if o.Warm && o.Cold {
				weights = 2
			}
			total := int64(len(o.Threads) * len(o.Shapes) * len(o.Schemes) * weights)
			a.begin("gemm", total, false)
			records := []bench.Record{}
			done := make(chan error, 1)
			each := make(chan bench.Record)
			go func() { done <- bench.Gemm(o, func(r bench.Record) { each <- r }) }()
			for running := true; running; {
				select {
				case r := <-each:
					records = append(records, r)
					a.step(int64(len(records)), total)
				case err := <-done:
					if err != nil {
						return err
					}
					running = false
				case <-c.Context().Done():
					return c.Context().Err()
				}
			}
			a.endProgress()
			return a.print(records, func() error { return printRecords(a, records) })
		},
	}
	f := c.Flags()
	f.StringVar(&shapes, "shapes", "", "shapes MxKxN or encoders, separated by commas (default: the widths of common encoders)")
	f.StringVar(&schemes, "schemes", strings.Join(bench.DefaultSchemes, ","), "schemes, separated by commas")
	f.IntSliceVar(&threads, "threads", nil, "numbers of threads, separated by commas")
	f.StringVar(&isa, "isa", "", "instruction set (default: the best of this processor)")
	f.BoolVar(&o.Warm, "warm", false, "time warm weights (the default)")
	f.BoolVar(&o.Cold, "cold", false, "time weights that come from memory")
	f.IntVar(&o.Rounds, "rounds", 0, "timings of each product (default 20)")
	return c
}

func printRecords(a *app, records []bench.Record) error {
	var rows [][]string
	for _, r := range records {
		rows = append(rows, []string{
			bench.Shape{M: r.M, K: r.K, N: r.N}.String(), r.Scheme, fmt.Sprint(r.Threads), r.ISA, r.Weights,
			fmt.Sprintf("%.1f", r.GopsBest), fmt.Sprintf("%.1f", r.GopsMedian), fmt.Sprintf("%.1f", r.PeakGops), fmt.Sprintf("%.1f %%", 100*r.Share),
		})
	}
	return report.WriteRows(a.out, []string{"shape", "scheme", "threads", "isa", "weights", "GOP/s best", "median", "peak", "share"}, rows)
}
