//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childArgs names the variable that makes the test binary the command itself.
const childArgs = "MMCONV_TEST_ARGS"

// ready is what the command says when it begins.
const ready = "ready\n"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(childArgs); ok {
		os.Args = append([]string{"mmconv"}, strings.Split(args, "\n")...)
		os.Stderr.WriteString(ready)
		main()
	}
	os.Exit(m.Run())
}

// noise writes a clip of some seconds.
func noise(t *testing.T, seconds int) string {
	t.Helper()
	const rate = 16000
	var b bytes.Buffer
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	n := uint32(seconds * rate)
	b.WriteString("RIFF")
	le(36 + 2*n)
	b.WriteString("WAVEfmt ")
	le(uint32(16))
	le([]uint16{1, 1})
	le([]uint32{rate, 2 * rate})
	le([]uint16{2, 16})
	b.WriteString("data")
	le(2 * n)
	x := uint32(1)
	for range n {
		x = x*1664525 + 1013904223
		le(int16(x >> 18))
	}
	path := filepath.Join(t.TempDir(), "noise.wav")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A signal ends a command at once, with the shell's exit code, a last line that says what was kept, and nothing left behind.
func TestSignals(t *testing.T) {
	const golden = "../../testdata/goldens/hubert-hf-base"
	clip := noise(t, 300)
	for _, c := range []struct {
		name   string
		args   []string
		after  time.Duration
		signal syscall.Signal
		code   int
	}{
		{"computing", []string{"run", golden + "/checkpoint", "--audio", clip, "-o", "OUT/x.npy"}, 1500 * time.Millisecond, syscall.SIGINT, 130},
		{"reading", []string{"run", golden + "/checkpoint", "--audio", clip, "-o", "OUT/x.npy"}, 150 * time.Millisecond, syscall.SIGTERM, 143},
		{"temporary folders", []string{"bench", "model", "--config", "vit-l-14"}, 700 * time.Millisecond, syscall.SIGINT, 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, tmp := t.TempDir(), t.TempDir()
			args := strings.ReplaceAll(strings.Join(c.args, "\n"), "OUT", dir)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childArgs+"="+args, "TMPDIR="+tmp)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(stderr, make([]byte, len(ready))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.after)
			sent := time.Now()
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(stderr)
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its exit code is looked at below
			took, errs := time.Since(sent), string(said)
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, errs)
			}
			lines := strings.Split(strings.TrimSpace(errs), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, "nothing was kept") {
				t.Errorf("the last line is %q", last)
			}
			for _, d := range []string{dir, tmp} {
				if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
					t.Errorf("left behind in %s: %v, %v", d, left, err)
				}
			}
			// The machine of a test may be busy: the aim is 0.2 s, a hang is many seconds.
			t.Logf("ended %v after the signal", took.Round(time.Millisecond))
			if took > 2*time.Second {
				t.Errorf("ended only %v after the signal", took)
			}
		})
	}
}
