package formats

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
)

// DefaultMaxFile is the limit on the size of a file that ReadFile takes into memory.
const DefaultMaxFile = 256 << 20

// Options of Open. The zero value is right for most.
type Options struct {
	// NoMmap reads with ordinary calls instead of mapping files into memory: for network file systems, where a mapped file
	// that shrinks kills the process.
	NoMmap bool
	// MaxFile limits the size of a file that ReadFile takes into memory; 0 is DefaultMaxFile.
	MaxFile int64
	// WeightsOptional accepts a folder without weights, such as one that holds only a preprocessor's configuration.
	WeightsOptional bool
}

// Checkpoint is an opened source: its tensors by name, and the small files beside them. It is safe for concurrent use.
type Checkpoint struct {
	source string
	dir    *folder
	opts   Options

	format     string
	tensors    map[string]*Tensor
	names      []string
	metadata   map[string]string
	attributes map[string]any
	notes      []string

	mu    sync.Mutex
	files []*file         // weights
	side  map[string]File // small files that were read, by name
	subs  []*Checkpoint
}

// Open opens what source names: a folder, a single weight file, or hf:OWNER/NAME[@REVISION], a snapshot in the Hugging Face
// cache. Which file of a folder holds the weights is decided as docs/formats.md says; Notes tells what was passed over.
// Errors are *Error.
func Open(source string, opts Options) (*Checkpoint, error) {
	shown, info, err := find(source)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		dir, err := openFolder(shown)
		if err != nil {
			return nil, err
		}
		return openIn(source, dir, opts)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Kind: ErrRead, File: shown, Msg: "is neither a folder nor a regular file"}
	}
	// The user named this very file, so that a link may lead anywhere; what lies beside the link is what belongs to it.
	dir, err := openFolder(filepath.Dir(shown))
	if err != nil {
		return nil, err
	}
	c := newCheckpoint(source, dir, opts)
	if name := filepath.Base(shown); strings.HasSuffix(name, ".index.json") {
		if err := c.addChosen(&choice{index: name}); err != nil {
			c.Close()
			return nil, err
		}
		c.finish()
		return c, nil
	}
	f, err := os.Open(shown)
	if err != nil {
		return nil, readError(shown, err)
	}
	if err := c.addWeights(f, shown, filepath.Base(shown), nil); err != nil {
		c.Close()
		return nil, err
	}
	c.finish()
	return c, nil
}

// OpenFiles opens a folder for its files alone, such as configurations: weights are not looked for.
func OpenFiles(source string) (*Checkpoint, error) {
	shown, info, err := find(source)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &Error{Kind: ErrNotFound, File: shown, Msg: "is not a folder"}
	}
	dir, err := openFolder(shown)
	if err != nil {
		return nil, err
	}
	return newCheckpoint(source, dir, Options{}), nil
}

// find looks up what a source is on this machine.
func find(source string) (shown string, info os.FileInfo, err error) {
	shown = source
	if strings.HasPrefix(source, "hf:") {
		if shown, err = hubSnapshot(source); err != nil {
			return "", nil, err
		}
	}
	if isPartial(shown) {
		return "", nil, &Error{Kind: ErrTruncated, File: shown, Msg: "is what an interrupted run left behind, not a model; it can be deleted"}
	}
	if info, err = os.Stat(shown); err != nil {
		if dir, e := hubSnapshot("hf:" + source); e == nil && errors.Is(err, fs.ErrNotExist) {
			return "", nil, &Error{Kind: ErrNotFound, File: source, Msg: fmt.Sprintf("does not exist; it is in the Hugging Face cache (%s), where hf:%s names it", dir, source), Cause: fs.ErrNotExist}
		}
		return "", nil, readError(shown, err)
	}
	return shown, info, nil
}

func newCheckpoint(source string, dir *folder, opts Options) *Checkpoint {
	return &Checkpoint{source: source, dir: dir, opts: opts, tensors: map[string]*Tensor{}, side: map[string]File{},
		metadata: map[string]string{}, attributes: map[string]any{}}
}

func openIn(source string, dir *folder, opts Options) (*Checkpoint, error) {
	c := newCheckpoint(source, dir, opts)
	if err := c.openFolder(); err != nil {
		c.Close()
		return nil, err
	}
	c.finish()
	return c, nil
}

func (c *Checkpoint) openFolder() error {
	listing, err := c.dir.list()
	if err != nil {
		return err
	}
	choice, err := chooseWeights(c.dir.shown, listing)
	if err != nil {
		return err
	}
	if choice == nil {
		if c.opts.WeightsOptional {
			return nil
		}
		return c.noWeights(listing)
	}
	return c.addChosen(choice)
}

// noWeights says what a folder holds instead.
func (c *Checkpoint) noWeights(listing []string) error {
	msg := fmt.Sprintf("has no weights: looked for %s, any other .safetensors, .bin, .pt, .pth or .ckpt; the folder holds %s",
		strings.Join(preferred, ", "), some(listing))
	if foreign := foreignAmong(listing); foreign != "" {
		msg += "; " + foreign
	} else if name := hubNameOf(c.dir.real); name != "" {
		msg += "; hf download " + name + " fetches the rest"
	}
	return &Error{Kind: ErrNotFound, File: c.dir.shown, Msg: msg}
}

// addChosen reads the headers of the files that were chosen.
func (c *Checkpoint) addChosen(choice *choice) error {
	c.notes = append(c.notes, choice.notes...)
	files := choice.files
	var weights map[string]string
	if choice.index != "" {
		text, err := c.ReadFile(choice.index)
		if err != nil {
			return err
		}
		if weights, err = parseIndex(text); err != nil {
			e := err.(*Error) // parseIndex gives no other
			e.File = filepath.Join(c.dir.shown, choice.index)
			return e
		}
		files = shardsOf(weights)
	}
	absent := map[string]string{} // shards that are not there, as they are shown
	for _, name := range files {
		f, shown, err := c.dir.open(name)
		if choice.index != "" && (errors.Is(err, ErrNotFound) || errors.Is(err, errDangling)) {
			absent[name] = shown
			continue
		}
		if err != nil {
			return err
		}
		check := func([]*Tensor) error { return nil }
		if choice.index != "" {
			check = func(tensors []*Tensor) error { return checkShard(shown, choice.index, name, tensors, weights) }
		}
		if err := c.addWeights(f, shown, filepath.ToSlash(name), check); err != nil {
			return err
		}
	}
	if len(absent) == len(files) && len(files) > 0 {
		return missingShard(absent[files[0]], "", choice.index)
	}
	return c.addAbsent(absent, weights, choice.index)
}

// addAbsent makes the tensors of shards that are not there known by name: a model that needs none of them is none the worse.
func (c *Checkpoint) addAbsent(absent, weights map[string]string, index string) error {
	if len(absent) == 0 {
		return nil
	}
	count := 0
	for name, shard := range weights {
		shown, ok := absent[shard]
		if !ok {
			continue
		}
		count++
		if other, twice := c.tensors[name]; twice {
			return &Error{Kind: ErrIndex, File: other.File, Tensor: name, Msg: fmt.Sprintf("is in this shard, %s says it is in %s", index, quote(shard))}
		}
		c.tensors[name] = &Tensor{Name: name, File: shown, fault: missingShard(shown, name, index)}
	}
	c.notes = append(c.notes, fmt.Sprintf("%s names %d tensors in shards that are not there: %s", index, count, some(slices.Sorted(maps.Keys(absent)))))
	return nil
}

func missingShard(shown, tensor, index string) *Error {
	return &Error{Kind: ErrNotFound, File: shown, Tensor: tensor, Msg: fmt.Sprintf("shard is missing, %s names it (incomplete download?)", index), Cause: fs.ErrNotExist}
}

// addWeights reads the header of a weight file, whose kind is told by its first bytes, never by its name.
func (c *Checkpoint) addWeights(f *os.File, shown, name string, check func([]*Tensor) error) error {
	src, err := openFile(f, shown, name, c.opts.NoMmap)
	if err != nil {
		return err
	}
	c.files = append(c.files, src)
	var tensors []*Tensor
	err = Guard(func() (err error) {
		tensors, err = c.readWeights(src)
		return err
	})
	if err != nil {
		return err
	}
	if check != nil {
		if err := check(tensors); err != nil {
			return err
		}
	}
	for _, t := range tensors {
		if other, twice := c.tensors[t.Name]; twice {
			return &Error{Kind: ErrDuplicate, File: shown, Tensor: t.Name, Msg: "is also in " + other.File}
		}
		c.tensors[t.Name] = t
	}
	return nil
}

func (c *Checkpoint) readWeights(src *file) ([]*Tensor, error) {
	if src.size == 0 {
		return nil, &Error{Kind: ErrTruncated, File: src.path, Msg: "is empty"}
	}
	t, err := readTorch(src)
	if err != errNotTorch {
		return c.takeTorch(src, t, err)
	}
	head, err := src.bytes(0, min(src.size, 512))
	if err != nil {
		return nil, err
	}
	if what := foreignFile(head, src.path); what != "" {
		return nil, &Error{Kind: ErrHeader, File: src.path, Msg: what}
	}
	tensors, metadata, err := readSafetensors(src)
	maps.Copy(c.metadata, metadata)
	c.format = "safetensors"
	return tensors, err
}

// lfsPointer is how a file starts that was cloned without its contents.
const (
	lfsPointer = "version https://git-lfs"
	lfsAdvice  = "is a pointer of Git LFS, not the file itself; run git lfs pull"
)

// takeTorch adds what a PyTorch file holds, and recommends safetensors where they are at hand.
func (c *Checkpoint) takeTorch(src *file, t *torchFile, err error) ([]*Tensor, error) {
	listing, _ := c.dir.list() // for messages alone
	better := safer(listing)
	var tensors []*Tensor
	var attributes map[string]any
	var notes []string
	if err == nil {
		tensors, attributes, notes, err = flattenTorch(src, t)
		if err == nil && len(tensors) == 0 {
			err = tensorless(src, attributes)
		}
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			if better != "" {
				e.Msg += "; use " + printable(better) + ", which lies beside it"
			} else if e.Kind == ErrPickle {
				e.Msg += "; where the publisher offers safetensors, use them, else save the state dict alone"
			}
		}
		return nil, err
	}
	c.format = "torch"
	if t.script {
		c.format = "torchscript"
	}
	maps.Copy(c.attributes, attributes)
	c.notes = append(c.notes, notes...)
	if better != "" {
		c.notes = append(c.notes, fmt.Sprintf("%s: %s lies beside it; safetensors are safer and faster to read", src.path, better))
	}
	return tensors, nil
}

func (c *Checkpoint) finish() {
	c.unwrap()
	c.findPacked()
	c.sortNames()
}

func (c *Checkpoint) sortNames() {
	c.names = make([]string, 0, len(c.tensors))
	for name := range c.tensors {
		c.names = append(c.names, name)
	}
	sort.Strings(c.names)
}

// Close gives up the files. Slices that Bytes and Float32View gave are invalid afterwards.
func (c *Checkpoint) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for _, s := range c.subs {
		err = errors.Join(err, s.Close())
	}
	for _, f := range c.files {
		err = errors.Join(err, f.close())
	}
	return err
}

// Source is what Open was given.
func (c *Checkpoint) Source() string { return c.source }

// Dir is the folder of the checkpoint, or the one that holds its file.
func (c *Checkpoint) Dir() string { return c.dir.shown }

// Format is "safetensors", "torch" or "torchscript"; empty without weights.
func (c *Checkpoint) Format() string { return c.format }

// Names gives the names of all tensors, sorted. The caller must not change the slice.
func (c *Checkpoint) Names() []string { return c.names }

// Tensor finds a tensor by name.
func (c *Checkpoint) Tensor(name string) (*Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Metadata is the free text of safetensors headers (__metadata__).
func (c *Checkpoint) Metadata() map[string]string { return c.metadata }

// Attributes is what a PyTorch file holds beside tensors, such as openai/whisper's "dims" or fairseq's "cfg": nil, bool, int,
// float64, string, []any and map[string]any. An object of a known harmless class is a map with its attributes.
func (c *Checkpoint) Attributes() map[string]any { return c.attributes }

// Notes tells what a user should know about how the checkpoint was read: files passed over, wrappers removed.
func (c *Checkpoint) Notes() []string { return slices.Clone(c.notes) }

// List gives the names of the files directly in the folder, sorted.
func (c *Checkpoint) List() ([]string, error) { return c.dir.list() }

// ReadFile reads a small file of the folder, such as config.json: name is relative to it, with slashes. Where there is none,
// the error is ErrNotFound.
func (c *Checkpoint) ReadFile(name string) ([]byte, error) {
	f, shown, err := c.dir.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, readError(shown, err)
	}
	most := c.opts.MaxFile
	if most <= 0 {
		most = DefaultMaxFile
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, readError(shown, err)
	}
	if int64(len(data)) > most {
		return nil, &Error{Kind: ErrLimit, File: shown, Msg: fmt.Sprintf("is larger than the limit of %d bytes for a file that is read whole", most)}
	}
	if bytes.HasPrefix(data, []byte(lfsPointer)) {
		return nil, &Error{Kind: ErrHeader, File: shown, Msg: lfsAdvice}
	}
	sum := sha256.Sum256(data)
	name = path.Clean(name)
	c.mu.Lock()
	c.side[name] = File{Path: shown, Name: name, Size: int64(len(data)), hash: hex.EncodeToString(sum[:]), info: info}
	c.mu.Unlock()
	return data, nil
}

// Sub opens a checkpoint in a sub-folder that a configuration names, relative to the folder (LLaVA's mm_vision_tower). It is
// closed with its parent, whose Files count its own. It may be without weights: a fine-tuned tower lies in the language
// model's checkpoint, and only its configuration in the folder.
func (c *Checkpoint) Sub(dir string) (*Checkpoint, error) {
	d, err := c.dir.sub(dir)
	if err != nil {
		return nil, err
	}
	opts := c.opts
	opts.WeightsOptional = true
	return c.keep(openIn(d.shown, d, opts))
}

// Beside opens another checkpoint that belongs to this one, wherever it lies, and is closed with it.
func (c *Checkpoint) Beside(source string) (*Checkpoint, error) {
	return c.keep(Open(source, Options{}))
}

// keep makes a checkpoint that was opened a part of this one.
func (c *Checkpoint) keep(s *Checkpoint, err error) (*Checkpoint, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.subs = append(c.subs, s)
	c.mu.Unlock()
	return s, nil
}

// some lists a few names for a message.
func some(names []string) string {
	const most = 12
	switch {
	case len(names) == 0:
		return "no files"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
