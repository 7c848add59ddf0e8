package quant

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/converted"
	"github.com/mmconv/mmconv/kernels"
)

// blockValues is how many values are quantized and written at a time: few enough to stay in a core's cache between the
// passes over them.
const blockValues = 1 << 17

// writer carries a plan out.
type writer struct {
	ctx       context.Context
	file      *formats.Placed
	plan      *Plan
	biases    map[string][]int // by the weight that they correct: places in the plan
	nonfinite bool             // allowed
	progress  func(done, total int64, weight string)

	mu          sync.Mutex
	done, total int64
	notes       []string // by the weight's place in the plan
}

// writeWeights writes the weights' file. It returns notes for the manifest.
func (c *Conversion) writeWeights(ctx context.Context, d *formats.AtomicDir) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows := c.Plan.Rows
	var entries []formats.Entry
	w := &writer{ctx: ctx, plan: c.Plan, biases: map[string][]int{}, nonfinite: c.Recipe.AllowNonfinite, progress: c.options.Progress,
		notes: make([]string, len(rows))}
	var order []int // of what is not written along with another
	for i := range rows {
		e, err := rows[i].Entries()
		if err != nil {
			return nil, err
		}
		entries = append(entries, e...)
		w.total += 4 * int64(rows[i].Shape.Len())
		if of := rows[i].Corrects; of != "" {
			w.biases[of] = append(w.biases[of], i)
		} else {
			order = append(order, i)
		}
	}
	// The largest first, so that no worker is left alone with one at the end.
	slices.SortStableFunc(order, func(a, b int) int { return rows[b].Shape.Len() - rows[a].Shape.Len() })
	var err error
	if w.file, err = d.PlaceSafetensors(converted.WeightsFile, map[string]string{"format": "mmconv"}, entries); err != nil {
		return nil, err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(rows)) // by place in the plan, so that the same fault is reported whoever meets it first
	for range max(1, min(c.threads(), len(order))) {
		wg.Go(func() {
			s := new(scratch)
			for {
				at := int(next.Add(1)) - 1
				if at >= len(order) || ctx.Err() != nil {
					return
				}
				if i, err := w.write(s, order[at]); err != nil {
					errs[i] = fmt.Errorf("weight %s: %w", rows[i].Name, err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if err := worst(errs, ctx); err != nil {
		w.file.Discard()
		return nil, err
	}
	notes := slices.DeleteFunc(w.notes, func(n string) bool { return n == "" })
	return notes, w.file.Close()
}

// worst returns the first error that is not merely another's consequence.
func worst(errs []error, ctx context.Context) error {
	var interrupted error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if !errors.Is(err, context.Canceled) {
			return err
		}
		interrupted = err
	}
	if interrupted == nil && ctx.Err() != nil {
		interrupted = fmt.Errorf("interrupted: %w", ctx.Err())
	}
	return interrupted
}

// scratch is the memory of one worker.
type scratch struct {
	values []float32
	stored []float32 // as they come back, or as they are corrected
	bytes  []byte
	q      kernels.Quantized
}

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	return (*s)[:n]
}

// values reads a weight piece by piece: a tensor of the checkpoint from where it lies, anything else computed as a whole.
func (s *scratch) open(e graph.Expr) (read func(off, n int) ([]float32, error), err error) {
	leaf, ok := e.(graph.Leaf)
	if ok {
		if _, mapped := leaf.Tensor.Float32View(); !mapped {
			return func(off, n int) ([]float32, error) {
				buf := grow(&s.values, n)
				return buf, leaf.Tensor.Float32s(buf, off)
			}, nil
		}
	}
	all, err := e.Eval()
	return func(off, n int) ([]float32, error) { return all[off : off+n], nil }, err
}

// write writes the weight at a place in the plan, and the biases that correct it. Where it fails, it returns the place of
// the weight that is to blame.
func (w *writer) write(s *scratch, i int) (int, error) {
	r := &w.plan.Rows[i]
	biases := w.biases[r.Name]
	var shift []float32
	if len(biases) > 0 {
		n, _ := converted.Matrix(r.Shape)
		shift = make([]float32, n)
	}
	for _, at := range append([]int{i}, biases...) {
		if err := formats.Guard(func() error { return w.writeRow(s, at, shift) }); err != nil {
			return at, err
		}
	}
	return i, nil
}

// writeRow writes one weight. A quantized one fills in by how much its rounding shifts the outputs, where shift is not nil;
// a float one is stored with it added.
func (w *writer) writeRow(s *scratch, i int, shift []float32) error {
	r := &w.plan.Rows[i]
	read, err := s.open(r.weight.Expr)
	if err != nil {
		return err
	}
	bad := &nonfinite{row: r}
	if r.Quantized != nil {
		err = w.quantize(s, r, read, bad, shift)
	} else {
		err = w.float(s, r, read, bad, shift)
	}
	if err == nil && bad.count() > 0 {
		w.notes[i] = bad.note()
	}
	return err
}

// quantize writes integers, scales and zero points, a few rows at a time.
func (w *writer) quantize(s *scratch, r *Row, read func(off, n int) ([]float32, error), bad *nonfinite, shift []float32) error {
	scheme := r.Quantized.Scheme()
	t, known := r.target(), r.statistics()
	n, k := t.N, t.K
	method, err := MethodByName(r.Quantized.Method)
	if err != nil {
		return err
	}
	rows, err := method.Begin(t, known)
	if err != nil {
		return err
	}
	d, _ := formats.ParseDType(r.Quantized.Scales)
	groups, stride := scheme.Groups(k), scheme.RowBytes(k)
	block := max(1, blockValues/max(k, 1))
	for at := 0; at < n; at += block {
		m := min(block, n-at)
		x, err := read(at*k, m*k)
		if err != nil {
			return err
		}
		if !kernels.AllFinite(x) {
			if x, err = bad.clean(x, at*k, w.nonfinite); err != nil {
				return err
			}
		}
		q := &s.q
		q.N, q.K, q.Scheme = m, k, scheme
		q.Data, q.Scales = grow(&q.Data, m*stride), grow(&q.Scales, m*groups)
		q.Zeros = q.Zeros[:0]
		if scheme.Asymmetric {
			q.Zeros = grow(&q.Zeros, m*groups)
		}
		rows(q, x)
		if !kernels.AllFinite(q.Scales) {
			return fmt.Errorf("a scale is beyond what %s holds: --scales float32 stores larger ones, --keep %s leaves the weight float", r.Quantized.Scales, r.Name)
		}
		if shift != nil {
			s.shiftOf(shift[at:at+m], q, x, known.Mean)
		}
		if err := w.file.WriteAt(r.Name+converted.DataSuffix, q.Data, int64(at)*int64(stride)); err != nil {
			return err
		}
		if err := w.file.WriteAt(r.Name+converted.ScalesSuffix, s.encode(q.Scales, d), int64(at)*int64(groups)*int64(d.Size())); err != nil {
			return err
		}
		if scheme.Asymmetric {
			if err := w.file.WriteAt(r.Name+converted.ZerosSuffix, q.Zeros, int64(at)*int64(groups)); err != nil {
				return err
			}
		}
		w.advance(r.Name, len(x))
	}
	if bad.count() > 0 {
		clear(shift) // there is no telling what the outputs were
	}
	return nil
}

// shiftOf fills dst with (W - Wq) m for the rows x of W, summed in float64.
func (s *scratch) shiftOf(dst []float32, q *kernels.Quantized, x, mean []float32) {
	stored := grow(&s.stored, len(x))
	kernels.Dequantize(stored, q, 0)
	for i := range dst {
		sum := 0.0
		for k, m := range mean {
			at := i*q.K + k
			sum += float64(x[at]-stored[at]) * float64(m)
		}
		dst[i] = float32(sum)
	}
}

// float writes a weight's values in the type that the plan gives them.
func (w *writer) float(s *scratch, r *Row, read func(off, n int) ([]float32, error), bad *nonfinite, shift []float32) error {
	d, _ := formats.ParseDType(r.DType)
	for at, all := 0, r.Shape.Len(); at < all; at += blockValues {
		x, err := read(at, min(blockValues, all-at))
		if err != nil {
			return err
		}
		if shift != nil {
			y := grow(&s.stored, len(x))
			for i, v := range x {
				y[i] = v + shift[at+i]
			}
			x = y
		}
		if !kernels.AllFinite(x) {
			// Floats stay as they are: they are only counted.
			if _, err := bad.clean(x, at, w.nonfinite); err != nil {
				return err
			}
		} else if d == formats.F16 {
			var most [1]float32
			kernels.RowAbsMax(most[:], x, len(x), 0)
			if most[0] >= maxFloat16 {
				return fmt.Errorf("a value of magnitude %g is beyond what float16 holds: --keep %s leaves the weight as it is", most[0], r.Name)
			}
		}
		if err := w.file.WriteAt(r.Name, s.encode(x, d), int64(at)*int64(d.Size())); err != nil {
			return err
		}
		w.advance(r.Name, len(x))
	}
	return nil
}

// maxFloat16 is the least number that rounds to infinity in float16.
const maxFloat16 = 65520

// encode gives values as little-endian bytes.
func (s *scratch) encode(x []float32, d formats.DType) []byte {
	b := grow(&s.bytes, len(x)*d.Size())
	switch d {
	case formats.F16:
		kernels.Float32ToFloat16(b, x)
	case formats.BF16:
		kernels.Float32ToBFloat16(b, x)
	default:
		for i, v := range x {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
		}
	}
	return b
}

func (w *writer) advance(name string, values int) {
	if w.progress == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done += 4 * int64(values)
	w.progress(w.done, w.total, name)
}

// nonfinite counts what is no number in a weight.
type nonfinite struct {
	row      *Row
	nan, inf int
}

func (b *nonfinite) count() int { return b.nan + b.inf }

func (b *nonfinite) note() string {
	did := "kept"
	if b.row.Quantized != nil {
		did = "stored as 0 and as the largest finite value nearby"
	}
	return fmt.Sprintf("weight %s: %d NaN and %d infinite values, %s", b.row.Name, b.nan, b.inf, did)
}

// clean refuses values that are not finite or, where they are allowed, returns a copy in which NaN is 0 and an infinity is
// the greatest finite magnitude of these values.
func (b *nonfinite) clean(x []float32, off int, allowed bool) ([]float32, error) {
	var most float32
	for i, v := range x {
		switch f := float64(v); {
		case !math.IsNaN(f) && !math.IsInf(f, 0):
			most = max(most, float32(math.Abs(f)))
			continue
		case !allowed:
			return nil, fmt.Errorf("%v at %v%s; --allow-nonfinite converts it all the same", v, position(b.row.Shape, off+i), origin(b.row.weight.Expr))
		case math.IsNaN(f):
			b.nan++
		default:
			b.inf++
		}
	}
	y := slices.Clone(x)
	for i, v := range y {
		switch f := float64(v); {
		case math.IsNaN(f):
			y[i] = 0
		case math.IsInf(f, 0):
			y[i] = float32(math.Copysign(float64(most), f))
		}
	}
	return y, nil
}

// position returns the indexes of an element.
func position(s graph.Shape, at int) []int {
	p := make([]int, len(s))
	for i := len(s) - 1; i >= 0; i-- {
		p[i] = at % s[i]
		at /= s[i]
	}
	return p
}

// origin says which tensors are to blame for a weight: the first that is not finite itself, else all that it is made of.
func origin(e graph.Expr) string {
	tensors := graph.Leaves(e)
	for _, t := range tensors {
		buf := make([]float32, min(blockValues, t.Len()))
		for at := 0; at < t.Len(); at += len(buf) {
			part := buf[:min(len(buf), t.Len()-at)]
			if t.Float32s(part, at) == nil && !kernels.AllFinite(part) {
				return fmt.Sprintf(", from tensor %s of %s", t.Name, t.File)
			}
		}
	}
	return fmt.Sprintf(", computed by %s from finite tensors", e)
}
