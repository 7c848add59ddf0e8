package kernels

import "unsafe"

// tile is one call of a GEMM kernel: rows rows of A times one panel of W. Assembly reads it by the offsets that
// TestTileOffsets checks.
type tile struct {
	a        unsafe.Pointer // 0: float32 kernels: k steps of rows numbers; integer ones: rows lda bytes apart
	b        unsafe.Pointer // 8: k steps of a panel
	c        *float32       // 16: rows ldc bytes apart
	bias     *float32       // 24: one number a column
	res      *float32       // 32: residual, rows ldr bytes apart, or nil
	lda      int            // 40
	ldc      int            // 48
	ldr      int            // 56
	k        int            // 64: steps; of an integer kernel, those of every group but the last
	add      int            // 72: float32 kernels: 1 adds to what is in C
	comp     *int32         // 80: integer kernels: what each group's accumulators start from, groups rows of nr
	scale    *float32       // 88: groups rows of nr
	rowScale *float32       // 96: one number a row
	acc      *float32       // 104: memory for rows rows of nr float accumulators, where there are groups
	groups   int            // 112
	lastK    int            // 120: steps of the last group
	rows     int            // 128
	nr       int            // 136: columns of a panel; only the portable kernels look
	// What kernels of few rows read:
	sums       *int32         // 144: for each group, for each row, minus the sum of the activations
	zero       unsafe.Pointer // 152: zero points, as for expand
	zeroStride int            // 160: distance of the groups' zero points in bytes

	ahead       int // 168: distance from b of what each step prefetches lines of: the next panel
	scalesAhead int // 176: distance from scale and comp of what each group prefetches: those of the next panel
}

// lookAhead sets what tile i of count strips prefetches of the panel that follows panel number p of panels, which is distance
// bytes away. A step of the panel is several cache lines, and two strips take every other one. They are as late as may be,
// so that A, passing by, does not push out what was prefetched; and where there are many strips, each does some panels only,
// so that what is in memory arrives while there is work.
func (t *tile) lookAhead(i, count, p, panels, distance, step int) {
	const line = 64
	t.ahead = 0
	turns := max(min(count/2, panels), 1)
	if i -= max(count-2*turns, 0); i < 0 || p%turns != i/2 {
		return
	}
	if half := i % 2 * line; half < step {
		t.ahead = distance + half
	}
}

// expand is one call of a kernel that unpacks weights.
type expand struct {
	dst    unsafe.Pointer // 0
	src    unsafe.Pointer // 8
	scale  *float32       // 16: to float32: one number a column
	zero   unsafe.Pointer // 24: what stands for 0: to int8, for each byte of a step; to float32, for each column
	n      int            // 32: to int8: bytes of a step; to float32: columns
	steps  int            // 40: to int8: pairs of steps of every group but the last; to float32: rows
	groups int            // 48: to int8
	last   int            // 56: to int8: pairs of steps of the last group
	stride int            // 64: to int8: distance of the groups' zero points in bytes, 0 where they have the same
}

// activationForm is how a kernel wants quantized activations.
type activationForm uint8

const (
	formInt8    activationForm = iota // a
	formUint8                         // a + 128
	formInt16                         // a, in two bytes
	formFloat32                       // not quantized
)

// bytes returns the size of an activation.
func (f activationForm) bytes() int { return [...]int{1, 1, 2, 4}[f] }

// gemmKernels are the kernels of one instruction set and the shapes that they work on.
type gemmKernels struct {
	floatRows, floatCols int // the greatest tile of float32
	intRows, intCols     int // the greatest tile of integers; intCols is a multiple of floatCols
	groupRows            int // the greatest tile of int4, and of int8 with several groups, where it is another
	kStep                int // values of K that the integer kernel takes at once, one column's side by side
	form                 activationForm

	float   func(*tile)
	integer func(*tile)
	// group is integer for those, or nil.
	group func(*tile)
	// int4 unpacks a panel of int4 weights to int8: the low halves of a step's bytes are one step, the high ones the next.
	int4 func(*expand)
	// int8Floats and int4Floats unpack rows of weights that share scales: s*(q-z). int4 rows come in pairs, as above.
	int8Floats, int4Floats func(*expand)
	// packRows transposes rows of A, lda numbers apart, to k steps of rows numbers.
	packRows func(dst, a []float32, lda, rows, k int)

	// few multiplies signed activations with int4 weights that it unpacks in registers, which pays as long as few rows share
	// the unpacked ones; nil where there is none.
	few     func(*tile)
	fewRows int // the greatest tile
}

func (k *gemmKernels) maxRows() int { return max(k.floatRows, k.intRows, k.groupRows) }

// gemmSets has the kernels of each instruction set; files for processors fill it from their init.
var gemmSets [len(isaNames)]*gemmKernels

// portableGemm is the documented reference of the assembly.
var portableGemm = &gemmKernels{
	floatRows: 4, floatCols: 8, intRows: 4, intCols: 8, kStep: 4, form: formInt8,
	float: floatTileGeneric, integer: func(t *tile) { integerTileGeneric(t, 4, formInt8) },
	int4: int4Generic, int8Floats: int8FloatsGeneric, int4Floats: int4FloatsGeneric, packRows: packRowsGeneric,
}

func init() { gemmSets[Portable] = portableGemm }

// activeGemm returns the kernels of the active instruction set.
func activeGemm() *gemmKernels {
	if k := gemmSets[Active()]; k != nil {
		return k
	}
	return portableGemm
}
