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
	"time"

	"github.com/mmconv/mmconv/formats"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan int, 1)
	go func() { done <- execute(ctx, os.Args[1:], os.Stdout, os.Stderr) }()
	select {
	case code := <-done:
		os.Exit(code)
	case s := <-signals:
		i := &interruption{s}
		cancel(i)
		select {
		case code := <-done:
			os.Exit(code)
		case <-time.After(grace):
			// Something computes that does not look at its context: what it has begun is removed here.
			formats.RemoveUnfinished()
			fmt.Fprintln(os.Stderr, "mmconv: "+i.Error())
			os.Exit(i.code())
		}
	}
}

// grace is how long a command has to end by itself after a signal.
const grace = 120 * time.Millisecond

// interruption is the error of a command that a signal ended.
type interruption struct{ signal os.Signal }

func (i *interruption) Error() string {
	kept := "nothing was kept"
	if w := formats.Written(); len(w) > 0 {
		kept = "kept: " + strings.Join(w, ", ")
	}
	return fmt.Sprintf("ended by a signal (%v); %s", i.signal, kept)
}

// code is the shell's exit code for the signal.
func (i *interruption) code() int {
	if s, ok := i.signal.(syscall.Signal); ok {
		return 128 + int(s)
	}
	return 130
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

// execute carries out a command line. All exit codes but that of a command which does not end are decided here.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
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
	case ctx.Err() != nil:
		i := &interruption{os.Interrupt}
		errors.As(context.Cause(ctx), &i)
		fmt.Fprintln(stderr, "mmconv: "+i.Error())
		return i.code()
	default:
		fmt.Fprintln(stderr, "mmconv: "+oneLine(err.Error()))
	}
	return exitFailed
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
