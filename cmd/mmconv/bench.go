package main

import "github.com/spf13/cobra"

var _ = register(newBench)

// benches are the subcommands of bench, each registered from its own file.
var benches []func(*app) *cobra.Command

func registerBench(c func(*app) *cobra.Command) (none struct{}) {
	benches = append(benches, c)
	return none
}

func newBench(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure kernels and whole models",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, make := range benches {
		c.AddCommand(make(a))
	}
	return c
}
