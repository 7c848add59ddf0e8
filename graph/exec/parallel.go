package exec

import "github.com/mmconv/mmconv/kernels"

// rowTask cuts rows into parts and runs f on each: what pointwise and row-wise operations are made of. It is built once at
// compile time, so that running it allocates nothing.
type rowTask struct {
	rows, part int
	f          func(r0, r1 int)
}

// Part does one part.
func (t *rowTask) Part(i, _ int) {
	t.f(i*t.part, min((i+1)*t.part, t.rows))
}

// grain is how many elements a part has at least, so that handing it out costs little beside it.
const grain = 16 << 10

// overRows returns the step that runs f over rows of cols elements each, in parts of equal size whatever the number of
// threads.
func overRows(p *kernels.Pool, rows, cols int, f func(r0, r1 int)) func() {
	part := max(1, grain/max(cols, 1))
	if rows <= part || p.Threads() == 1 {
		return func() { f(0, rows) }
	}
	t := &rowTask{rows, part, f}
	n := (rows + part - 1) / part
	return func() { p.Run(n, t) }
}

// overElements is overRows for single elements.
func overElements(p *kernels.Pool, n int, f func(i, j int)) func() { return overRows(p, n, 1, f) }
