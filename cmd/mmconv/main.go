// Command mmconv converts encoders and projectors of multimodal models to int8 and int4, runs them, and proves what the
// conversion cost.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes: everything held; it ran, and a bound or a row did not hold; it could not be run.
const (
	exitOK       = 0
	exitViolated = 1
	exitFailed   = 2
)

// violated is the error of a command that ran and found that something does not hold.
type violated struct{ lines []string }

func (v violated) Error() string { return strings.Join(v.lines, "\n") }

// run carries out a command line. All exit codes are decided here.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{out: stdout, err: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	a.endProgress()
	var v violated
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &v):
		for _, line := range v.lines {
			fmt.Fprintln(stderr, "mmconv: "+oneLine(line))
		}
		return exitViolated
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "mmconv: interrupted; nothing was left behind")
	default:
		fmt.Fprintln(stderr, "mmconv: "+oneLine(err.Error()))
	}
	return exitFailed
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
