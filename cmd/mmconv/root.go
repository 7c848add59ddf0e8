package main

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/kernels"
)

// app holds what all commands share.
type app struct {
	out, err io.Writer
	threads  int
	json     bool
	quiet    bool
	noColor  bool
	progress *progress
}

// commands are the subcommands, each registered from its own file.
var commands []func(*app) *cobra.Command

func register(c func(*app) *cobra.Command) (none struct{}) {
	commands = append(commands, c)
	return none
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "mmconv",
		Short: "Convert multimodal encoders to int8 and int4, and prove what it cost",
		Long: `mmconv takes encoders and projectors of multimodal models (CLIP, LLaVA's projectors and others) from published
checkpoints to int8 and int4 models that its own CPU kernels run, and verifies the whole pipeline before and after.

A source is a folder, a single weight file, or hf:OWNER/NAME[@REVISION], a snapshot in the Hugging Face cache (nothing is
downloaded). Results go to stdout, everything else to stderr. Exit code 0: all held; 1: a bound or a row did not hold;
2: it could not be run.`,
		Example: `  mmconv demo
  mmconv convert hf:openai/clip-vit-base-patch32 -o clip-int8
  mmconv verify hf:openai/clip-vit-base-patch32 clip-int8 --data photos --prompts prompts.json --max-drop 0.5`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.threads < 0 {
				return fmt.Errorf("--threads %d: expected 0 (one for each processor) or more", a.threads)
			}
			return kernels.CheckISA()
		},
	}
	f := root.PersistentFlags()
	f.IntVar(&a.threads, "threads", 0, "number of threads; 0 is one for each processor")
	f.BoolVar(&a.json, "json", false, "print the result as JSON")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but results and errors")
	f.BoolVar(&a.noColor, "no-color", false, "no colours; the environment variable NO_COLOR does the same")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see: %s --help)", err, c.CommandPath())
	})
	for _, make := range commands {
		root.AddCommand(make(a))
	}
	return root
}

// colored reports whether stderr takes colours.
func (a *app) colored() bool {
	return !a.noColor && os.Getenv("NO_COLOR") == "" && a.terminal()
}

// terminal reports whether stderr is a terminal.
func (a *app) terminal() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// note prints a line for people.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		a.endProgress()
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// workers returns the number of threads that are used.
func (a *app) workers() int {
	if a.threads > 0 {
		return a.threads
	}
	return runtime.GOMAXPROCS(0)
}

func (a *app) session() run.Options { return run.Options{Threads: a.threads} }
