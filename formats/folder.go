package formats

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// folder gives access to files below a folder, and to nothing else: names that files bring along are hostile.
type folder struct {
	shown string // as the user wrote it
	real  string // with symbolic links resolved
	reach string // links may lead anywhere below this: real itself, or the repository's folder in a Hugging Face cache
}

func openFolder(shown string) (*folder, error) {
	real, err := filepath.Abs(shown)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, readError(shown, err)
	}
	return &folder{shown: shown, real: real, reach: cacheRepository(real)}, nil
}

// cacheRepository gives the folder that symbolic links of real may stay in. In a Hugging Face cache, files of a snapshot are
// links to ../../blobs: hub/models--OWNER--NAME/snapshots/REVISION/config.json -> ../../blobs/HASH.
func cacheRepository(real string) string {
	for d := real; ; {
		up := filepath.Dir(d)
		if up == d {
			return real
		}
		if filepath.Base(up) == "snapshots" && strings.HasPrefix(filepath.Base(filepath.Dir(up)), "models--") {
			return filepath.Dir(up)
		}
		d = up
	}
}

// resolve checks a name relative to the folder (slashes, as in JSON files) and gives the path to show and the real one.
func (d *folder) resolve(name string) (shown, real string, err error) {
	if name == "" || strings.ContainsAny(name, "\\\x00") || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", "", &Error{Kind: ErrEscape, File: d.shown, Msg: fmt.Sprintf("file name %s leads out of the folder", quote(name))}
	}
	name = filepath.FromSlash(path.Clean(name))
	shown = filepath.Join(d.shown, name)
	real, err = filepath.EvalSymlinks(filepath.Join(d.real, name))
	if errors.Is(err, fs.ErrNotExist) {
		if to, e := os.Readlink(filepath.Join(d.real, name)); e == nil {
			return shown, "", &Error{Kind: errDangling, File: shown, Msg: fmt.Sprintf("is a symbolic link to %s, which is not there (incomplete copy?)", printable(to))}
		}
	}
	if err != nil {
		return shown, "", readError(shown, err)
	}
	if rel, err := filepath.Rel(d.reach, real); err != nil || !filepath.IsLocal(rel) {
		return shown, "", &Error{Kind: ErrEscape, File: shown, Msg: "is a symbolic link that leads out of the folder: put the file itself there, or name what it leads to"}
	}
	return shown, real, nil
}

func (d *folder) open(name string) (f *os.File, shown string, err error) {
	shown, real, err := d.resolve(name)
	if err != nil {
		return nil, shown, err
	}
	// Looked at before it is opened: opening a named pipe would wait for a writer for ever.
	if info, err := os.Stat(real); err != nil {
		return nil, shown, readError(shown, err)
	} else if !info.Mode().IsRegular() {
		return nil, shown, &Error{Kind: ErrRead, File: shown, Msg: "is not a regular file"}
	}
	rel, err := filepath.Rel(d.reach, real)
	if err != nil {
		return nil, shown, readError(shown, err)
	}
	f, err = os.OpenInRoot(d.reach, rel)
	if err != nil {
		return nil, shown, readError(shown, err)
	}
	return f, shown, nil
}

// sub is a folder inside this one.
func (d *folder) sub(name string) (*folder, error) {
	shown, real, err := d.resolve(name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(real); err != nil {
		return nil, readError(shown, err)
	} else if !info.IsDir() {
		return nil, &Error{Kind: ErrNotFound, File: shown, Msg: "is not a folder"}
	}
	return &folder{shown: shown, real: real, reach: cacheRepository(real)}, nil
}

// list gives the names of the files directly in the folder, sorted, links included.
func (d *folder) list() ([]string, error) {
	entries, err := os.ReadDir(d.real)
	if err != nil {
		return nil, readError(d.shown, err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readError puts the operating system's error into one of ours.
func readError(shown string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: ErrNotFound, File: shown, Msg: "does not exist", Cause: fs.ErrNotExist}
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is told already, and a resolved one would only confuse
	}
	return &Error{Kind: ErrRead, File: shown, Msg: "cannot be read", Cause: err}
}
