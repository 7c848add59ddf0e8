package formats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		data, err := os.ReadFile(path)
		out[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func holds(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if got := contents(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}

func writeOut(t *testing.T, target, text string, force bool) error {
	t.Helper()
	d, err := NewAtomicDir(context.Background(), target, force)
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := d.WriteFile("sub/a.txt", []byte(text)); err != nil {
		return err
	}
	return d.Commit()
}

func TestAtomicDir(t *testing.T) {
	parent := t.TempDir()
	target := filepath.Join(parent, "new", "out") // the folder above is made
	if err := writeOut(t, target, "one", false); err != nil {
		t.Fatal(err)
	}
	holds(t, parent, map[string]string{"new/out/sub/a.txt": "one"})

	mustFail(t, writeOut(t, target, "two", false), ErrExists, "--force")
	holds(t, parent, map[string]string{"new/out/sub/a.txt": "one"})

	if err := writeOut(t, target, "three", true); err != nil {
		t.Fatal(err)
	}
	holds(t, parent, map[string]string{"new/out/sub/a.txt": "three"})

	d, err := NewAtomicDir(context.Background(), target, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("b.txt", []byte("four")); err != nil {
		t.Fatal(err)
	}
	// What is unfinished is no model, and the old one is still whole.
	_, err = Open(d.Path(), Options{WeightsOptional: true})
	mustFail(t, err, ErrTruncated, "interrupted run")
	_, err = Open(filepath.Join(d.Path(), "b.txt"), Options{})
	mustFail(t, err, ErrTruncated, "interrupted run")
	if c := contents(t, target); c["sub/a.txt"] != "three" {
		t.Errorf("replaced before the commit: %v", c)
	}
	for _, name := range []string{"../x", "/x", ""} {
		if _, err := d.Create(name); err == nil {
			t.Errorf("%q was created", name)
		}
	}
	if _, err := d.Create("b.txt"); err == nil {
		t.Error("a file was created twice")
	}
	d.Abort()
	holds(t, parent, map[string]string{"new/out/sub/a.txt": "three"})
	if d.Commit() == nil {
		t.Error("committed after Abort")
	}
}

func TestAtomicDirInterrupted(t *testing.T) {
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	d, err := NewAtomicDir(ctx, filepath.Join(parent, "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = w.Write([]byte("y"))
	mustFail(t, err, ErrWrite, "interrupted")
	if !errors.Is(err, context.Canceled) {
		t.Error("the cause is lost")
	}
	w.Close()
	mustFail(t, d.WriteSafetensors("m", nil, []Entry{BytesEntry("a", U8, []int{1}, []byte{1})}), ErrWrite, "interrupted")
	mustFail(t, d.Commit(), ErrWrite, "")
	holds(t, parent, map[string]string{})
}

func TestAtomicNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "here", "below"), 0o777); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "here", "below"))
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("USERPROFILE", filepath.Join(dir, "home"))
	os.Mkdir(filepath.Join(dir, "home"), 0o777)
	for _, target := range []string{"/", ".", "..", filepath.Join(dir, "home")} {
		_, err := NewAtomicDir(context.Background(), target, true)
		mustFail(t, err, ErrExists, "never replaced")
	}
	os.WriteFile("file", nil, 0o666)
	_, err := NewAtomicDir(context.Background(), "file", true)
	mustFail(t, err, ErrExists, "not a folder")
	_, err = NewAtomicFile(context.Background(), filepath.Join(dir, "home"), true)
	mustFail(t, err, ErrExists, "not a file")
	_, err = NewAtomicDir(context.Background(), filepath.Join("file", "x"), false)
	mustFail(t, err, ErrWrite, "")
	_, err = NewAtomicDir(context.Background(), ".x.mmconv-partial-0123456789abcdef", false)
	mustFail(t, err, ErrWrite, "unfinished")
}

func TestAtomicFile(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "report.json")
	write := func(text string, force, commit bool) error {
		f, err := NewAtomicFile(context.Background(), target, force)
		if err != nil {
			return err
		}
		defer f.Abort()
		if _, err := io.WriteString(f, text); err != nil {
			return err
		}
		if commit {
			return f.Commit()
		}
		return nil
	}
	if err := write("zero", false, false); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, map[string]string{})
	if err := write("one", false, true); err != nil {
		t.Fatal(err)
	}
	mustFail(t, write("two", false, true), ErrExists, "--force")
	if err := write("two", true, false); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, map[string]string{"report.json": "one"})
	if err := write("three", true, true); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, map[string]string{"report.json": "three"})
}

// A folder that was set aside by a run that died between two renames comes back.
func TestAtomicPutsBack(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "out")
	if err := writeOut(t, target, "one", false); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(target, sibling(target, "old")); err != nil {
		t.Fatal(err)
	}
	left, err := Leftovers(target)
	if err != nil || len(left) != 1 {
		t.Fatalf("leftovers %v (%v)", left, err)
	}
	mustFail(t, writeOut(t, target, "two", false), ErrExists, "")
	holds(t, target, map[string]string{"sub/a.txt": "one"})
}

// The parent kills a writer at random moments. Whatever the moment, the target is one of the versions, whole; and the next
// run clears away what was left.
func TestAtomicKilled(t *testing.T) {
	const env = "MMCONV_TEST_WRITE_TO"
	if target := os.Getenv(env); target != "" {
		for i := 0; ; i++ {
			d, err := NewAtomicDir(context.Background(), target, true)
			if err != nil {
				fmt.Println(err)
				os.Exit(3)
			}
			data := bytes.Repeat([]byte{byte(i)}, 1<<16)
			if err := d.WriteSafetensors("model.safetensors", nil, []Entry{BytesEntry("a", U8, []int{len(data)}, data)}); err != nil {
				os.Exit(4)
			}
			if err := d.WriteFile("manifest.json", data[:1]); err != nil {
				os.Exit(5)
			}
			if err := d.Commit(); err != nil {
				fmt.Println(err)
				os.Exit(6)
			}
		}
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	target := filepath.Join(t.TempDir(), "out")
	for range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAtomicKilled$")
		cmd.Env = append(os.Environ(), env+"="+target)
		var said bytes.Buffer
		cmd.Stdout = &said
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		time.Sleep(30*time.Millisecond + time.Duration(rand.IntN(60))*time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			t.Fatalf("the writer ended by itself with %d: %s", code, said.String())
		}
		if _, err := os.Stat(target); err != nil {
			continue // killed before the first version was whole
		}
		c, err := Open(target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		mark, err := c.ReadFile("manifest.json")
		if err != nil {
			t.Fatal(err)
		}
		x, _ := c.Tensor("a")
		data, err := x.Bytes()
		if err != nil || !bytes.Equal(data, bytes.Repeat(mark, 1<<16)) {
			t.Fatalf("a mixture of versions (%v)", err)
		}
		c.Close()
	}
	if err := writeOut(t, target, "last", true); err != nil {
		t.Fatal(err)
	}
	if left, err := Leftovers(target); err != nil || len(left) > 0 && lockable(t) {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// lockable reports whether this system can tell the dead from the living.
func lockable(t *testing.T) bool {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return tryLock(f)
}

// Two writers of one target do not disturb each other: the later one finds the earlier one's work locked, and its own refused.
func TestAtomicTwoWriters(t *testing.T) {
	target := filepath.Join(t.TempDir(), "out")
	a, err := NewAtomicDir(context.Background(), target, false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	b, err := NewAtomicDir(context.Background(), target, false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	for i, d := range []*AtomicDir{a, b} {
		if err := d.WriteFile("x", []byte{'a' + byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	mustFail(t, b.Commit(), ErrExists, "exists already")
	holds(t, filepath.Dir(target), map[string]string{"out/x": "a"})
}

// Where two folders cannot be exchanged in one step, the old one waits under a third name.
func TestAtomicWithoutExchange(t *testing.T) {
	defer func(f func(a, b string) error) { swap = f }(swap)
	swap = func(a, b string) error { return errors.ErrUnsupported }
	target := filepath.Join(t.TempDir(), "out")
	for _, text := range []string{"one", "two", "three"} {
		if err := writeOut(t, target, text, true); err != nil {
			t.Fatal(err)
		}
		holds(t, filepath.Dir(target), map[string]string{"out/sub/a.txt": text})
	}
}

func TestPlacedRefuses(t *testing.T) {
	d, err := NewAtomicDir(context.Background(), filepath.Join(t.TempDir(), "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	entries := []Entry{{Name: "a", DType: F32, Shape: []int{2}}, {Name: "b", DType: F32, Shape: nil}}
	p, err := d.PlaceSafetensors("m.safetensors", nil, entries)
	if err != nil {
		t.Fatal(err)
	}
	mustFail(t, p.WriteAt("c", nil, 0), ErrWrite, "no place")
	mustFail(t, p.WriteAt("a", make([]byte, 8), 1), ErrWrite, "outside of its 8")
	mustFail(t, p.WriteAt("a", make([]byte, 1), -1), ErrWrite, "outside of its 8")
	if err := p.WriteAt("b", make([]byte, 4), 0); err != nil {
		t.Error(err)
	}
	mustFail(t, p.Close(), ErrWrite, "got 0 of its 8 bytes")
	_, err = d.PlaceSafetensors("n.safetensors", nil, append(entries, entries[0]))
	mustFail(t, err, ErrDuplicate, "twice")
}
