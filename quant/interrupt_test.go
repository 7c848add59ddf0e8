package quant

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph/models"
	"github.com/mmconv/mmconv/graph/run"
)

// A process that is killed in the middle leaves nothing that is taken for a model, and the next run clears up after it.
func TestKill(t *testing.T) {
	const helper = "MMCONV_TEST_CONVERT"
	if args := os.Getenv(helper); args != "" {
		src, dst, _ := strings.Cut(args, "|")
		_, _ = Convert(context.Background(), src, dst, Options{Threads: 1, Progress: func(int64, int64, string) {
			os.Stdout.WriteString("under way\n")
			time.Sleep(time.Minute)
		}})
		return
	}
	src, dst := writeToy(t, toyTensors()), filepath.Join(t.TempDir(), "converted")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), helper+"="+src+"|"+dst)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "under way\n" {
		t.Fatalf("the conversion said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if _, err := os.Stat(dst); err == nil {
		t.Error("the target is there")
	}
	left, err := formats.Leftovers(dst)
	if err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	if _, err := run.Load(left[0], models.Options{}); err == nil {
		t.Error("what was left behind is taken for a model")
	} else {
		mustSay(t, err, "interrupted")
	}
	if _, err := Convert(context.Background(), src, dst, Options{}); err != nil {
		t.Fatal(err)
	}
	if left, err := formats.Leftovers(dst); err != nil || len(left) > 0 {
		t.Errorf("the next run left %v, %v", left, err)
	}
}

// A table of many megabytes that stays float passes through in pieces: memory goes with the workers, not with the table.
func TestStreams(t *testing.T) {
	tensors := toyTensors()
	const vocabulary = 400_000 // 59 MB
	tensors["tokens.weight"] = &toyTensor{dtype: formats.F32, shape: []int{vocabulary, toyWidth}, values: make([]float32, vocabulary*toyWidth)}
	src := writeToy(t, tensors)
	tensors = nil
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start, peak := m.HeapAlloc, uint64(0)
	c := prepared(t, src, Options{Threads: 2, Progress: func(int64, int64, string) {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}})
	if _, err := c.Write(context.Background(), filepath.Join(t.TempDir(), "c")); err != nil {
		t.Fatal(err)
	}
	if grown := int64(peak) - int64(start); grown > 12<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	} else {
		t.Logf("the heap grew by %d bytes", grown)
	}
}
