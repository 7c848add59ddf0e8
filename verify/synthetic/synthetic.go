// Package synthetic writes full-size checkpoints of published architectures with random weights, to measure conversion and
// speed where the published weights are not at hand. Accuracy means nothing on them.
//
// The weights are seeded and shaped like trained ones: heavy-tailed entries, rows and columns of different scale, some
// channels far above the others, norm gains with outliers. A checkpoint depends on the architecture and the seed alone.
package synthetic

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mmconv/mmconv/formats"
)

// Model is an architecture to be filled with weights.
type Model struct {
	Config       any // config.json
	Preprocessor any // preprocessor_config.json, nil for none
	Tensors      []Tensor
}

// Tensor is a weight to be made up.
type Tensor struct {
	Name  string
	Shape []int
	Like  Likeness
}

// Likeness says what a tensor's values are like.
type Likeness int

// The likenesses.
const (
	Matrix    Likeness = iota // [N, ...]: a linear layer or a convolution, scaled by its fan-in
	Embedding                 // rows of equal scale, 0.02
	Bias                      // small
	Gain                      // about 1, with outliers
	One                       // a scalar of the value 1
)

// systems holds a constructor for each named architecture of each system.
var systems = map[string]map[string]func() *Model{}

func register(system string, configs map[string]func() *Model) (none struct{}) {
	systems[system] = configs
	return none
}

// Systems returns the systems and their architectures by name.
func Systems() map[string][]string {
	out := map[string][]string{}
	for s, configs := range systems {
		out[s] = slices.Sorted(maps.Keys(configs))
	}
	return out
}

// New returns an architecture.
func New(system, config string) (*Model, error) {
	configs := systems[system]
	if configs == nil {
		return nil, fmt.Errorf("no synthetic checkpoints of system %q; known are %s", system, strings.Join(slices.Sorted(maps.Keys(systems)), ", "))
	}
	make := configs[config]
	if make == nil {
		return nil, fmt.Errorf("%s has no architecture %q; known are %s", system, config, strings.Join(slices.Sorted(maps.Keys(configs)), ", "))
	}
	return make(), nil
}

// Bytes returns the size of the weights in float32.
func (m *Model) Bytes() int64 {
	var sum int64
	for _, t := range m.Tensors {
		sum += 4 * int64(t.len())
	}
	return sum
}

func (t Tensor) len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Write writes the checkpoint, in float32, to a folder that must not exist. Progress, if not nil, is called with the bytes
// written so far.
func (m *Model) Write(ctx context.Context, dir string, seed uint64, progress func(done int64)) error {
	d, err := formats.NewAtomicDir(ctx, dir, false)
	if err != nil {
		return err
	}
	defer d.Abort()
	for name, v := range map[string]any{"config.json": m.Config, "preprocessor_config.json": m.Preprocessor} {
		if v == nil {
			continue
		}
		raw, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return err
		}
		if err := d.WriteFile(name, append(raw, '\n')); err != nil {
			return err
		}
	}
	var done int64
	var entries []formats.Entry
	for _, t := range m.Tensors {
		entries = append(entries, formats.Entry{Name: t.Name, DType: formats.F32, Shape: t.Shape, Write: func(w io.Writer) error {
			return t.write(w, seed, func(n int) {
				done += int64(n)
				if progress != nil {
					progress(done)
				}
			})
		}})
	}
	if err := d.WriteSafetensors("model.safetensors", map[string]string{"format": "pt"}, entries); err != nil {
		return err
	}
	return d.Commit()
}

// The shape of the distribution, after what trained encoders show: entries follow Student's t with a few degrees of freedom;
// the scales of rows and columns are log-normal; one column in a hundred is several times larger.
const (
	freedom      = 6
	rowSpread    = 0.25
	columnSpread = 0.2
	outlierRate  = 0.01
	outlierGain  = 4
)

// write makes the values up a row at a time. They depend on the seed and the tensor's name alone.
func (t Tensor) write(w io.Writer, seed uint64, written func(bytes int)) error {
	h := fnv.New64a()
	_, _ = io.WriteString(h, t.Name)
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	rows, cols := 1, t.len()
	if len(t.Shape) > 1 {
		rows = t.Shape[0]
		cols /= max(rows, 1)
	}
	columns := make([]float64, cols)
	for i := range columns {
		columns[i] = math.Exp(columnSpread * r.NormFloat64())
		if r.Float64() < outlierRate {
			columns[i] *= outlierGain
		}
	}
	buf := make([]byte, 4*cols)
	fan := 0.8 / math.Sqrt(float64(cols))
	for range rows {
		scale := fan * math.Exp(rowSpread*r.NormFloat64())
		for i := range cols {
			v := 0.0
			switch t.Like {
			case Matrix:
				v = scale * columns[i] * student(r)
			case Embedding:
				v = 0.02 * r.NormFloat64()
			case Bias:
				v = 0.05 * r.NormFloat64()
			case Gain:
				v = columns[i]
			case One:
				v = 1
			}
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(float32(v)))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		written(len(buf))
	}
	return nil
}

// student draws from an approximation of Student's t with unit variance: a normal value, now and then of a larger scale.
func student(r *rand.Rand) float64 {
	v := r.NormFloat64()
	if r.Uint64()%16 == 0 {
		v *= math.Sqrt(freedom / 2)
	}
	return v * 0.94
}
