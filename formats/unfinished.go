package formats

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// unfinished are the paths that this program has begun and not ended: partial outputs and temporary folders.
var unfinished = struct {
	sync.Mutex
	paths   map[string]bool
	written []string // outputs that got their names
}{paths: map[string]bool{}}

func begun(path string) {
	unfinished.Lock()
	unfinished.paths[path] = true
	unfinished.Unlock()
}

func ended(path string) {
	unfinished.Lock()
	delete(unfinished.paths, path)
	unfinished.Unlock()
}

func committed(target string) {
	unfinished.Lock()
	defer unfinished.Unlock()
	for dir := range unfinished.paths {
		if strings.HasPrefix(target, dir+string(filepath.Separator)) {
			return // goes with its temporary folder
		}
	}
	unfinished.written = append(unfinished.written, target)
}

// Written lists the outputs that this program has put in their places, as the user wrote them.
func Written() []string {
	unfinished.Lock()
	defer unfinished.Unlock()
	return slices.Clone(unfinished.written)
}

// RemoveUnfinished removes every partial output and temporary folder that this program is still at work on, for one that a
// signal ends at once. An output that is just being put in its place is left alone.
func RemoveUnfinished() {
	unfinished.Lock()
	defer unfinished.Unlock()
	for path := range unfinished.paths {
		os.RemoveAll(path)
	}
}

// TempDir makes a folder for the time of a command; remove ends it.
func TempDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "mmconv-")
	if err != nil {
		return "", nil, err
	}
	begun(dir)
	return dir, func() { ended(dir); os.RemoveAll(dir) }, nil
}
