package formats

import (
	"os"
	"path/filepath"
	"sort"
	"sync"
)

// File is a file that a checkpoint was read from.
type File struct {
	Path string // as the user would write it
	Name string // relative to the checkpoint's folder, with slashes
	Size int64

	src  *file  // weights: hashed when asked for
	hash string // small files: hashed when they were read
	info os.FileInfo
}

// SHA256 gives the hash of the file's bytes in hexadecimal. Weights are read through for it, once.
func (f File) SHA256() (string, error) {
	if f.src == nil {
		return f.hash, nil
	}
	return f.src.sha256()
}

// Files lists what was read so far, sorted by name: weights, their index, the files that ReadFile gave, and those of
// sub-folders opened with Sub.
func (c *Checkpoint) Files() []File {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []File
	for _, f := range c.files {
		out = append(out, File{Path: f.path, Name: f.name, Size: f.size, src: f})
	}
	for _, f := range c.side {
		out = append(out, f)
	}
	for _, s := range c.subs {
		prefix, err := filepath.Rel(c.dir.shown, s.dir.shown)
		if err != nil {
			prefix = s.dir.shown
		}
		for _, f := range s.Files() {
			f.Name = filepath.ToSlash(filepath.Join(prefix, filepath.FromSlash(f.Name)))
			out = append(out, f)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// HashAsync starts to hash the weights, workers files at a time (at least one), while the caller goes on reading them. The
// function that it returns waits for the end; SHA256 answers at once afterwards. Close ends it early.
func (c *Checkpoint) HashAsync(workers int) (wait func() error) {
	files := c.Files()
	// The largest first, so that it does not start last and keep everyone waiting.
	sort.SliceStable(files, func(i, j int) bool { return files[i].Size > files[j].Size })
	queue := make(chan File, len(files))
	for _, f := range files {
		queue <- f
	}
	close(queue)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for range max(1, min(workers, len(files))) {
		wg.Go(func() {
			for f := range queue {
				if _, err := f.SHA256(); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	return func() error {
		wg.Wait()
		return first
	}
}
