// Command gemm generates the matrix kernels of amd64.
package main

import (
	"fmt"
	"go/token"
	"go/types"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The kernels' arguments are pointers to types of the package that they are generated for; their fields are read at the
// offsets below.
func init() {
	for _, name := range []string{"tile", "expand"} {
		object := types.NewTypeName(token.NoPos, nil, name, nil)
		types.NewNamed(object, types.NewStruct(nil, nil), nil)
		types.Universe.Insert(object)
	}
}

func main() {
	ConstraintExpr("amd64")
	for _, t := range []*target{avx512, avx2} {
		for rows := 1; rows <= t.rows; rows++ {
			t.floatTile(rows)
		}
		t.int8Floats()
		t.int4Floats()
	}
	for _, t := range []*target{avx512vl, avxvnni, avx2} {
		for rows := 1; rows <= t.intRows; rows++ {
			t.integerTile(rows)
		}
	}
	for _, t := range []*target{avx512vnni, avx512} {
		for rows := 1; rows <= t.intRows; rows++ {
			t.channelTile(rows)
		}
		for rows := 1; rows <= t.groupRows; rows++ {
			t.groupTile(rows)
		}
	}
	for rows := 1; rows <= fewRows; rows++ {
		avx512vnni.fewTile(rows)
	}
	for _, t := range []*target{avx512vnni, avx512, avxvnni, avx2} {
		t.int4(t.intCols)
	}
	transpose()
	for _, t := range []*target{avx512, avx2} {
		t.absMax()
		t.minMax()
		t.quantize(1)
		t.quantize(2)
	}
	for _, t := range []*target{avx512vnni, avx512, avx512vl, avxvnni, avx2} {
		t.peaks()
	}
	for _, t := range []*target{avx512, avx2} {
		t.read(1, "readStream")
		t.read(4, "readStreams")
	}
	Generate()
}

// Offsets of the fields of the Go types tile and expand.
const (
	tileA, tileB, tileC, tileBias, tileRes = 0, 8, 16, 24, 32
	tileLDA, tileLDC, tileLDR, tileK       = 40, 48, 56, 64
	tileAdd, tileComp, tileScale           = 72, 80, 88
	tileRowScale, tileAcc, tileGroups      = 96, 104, 112
	tileLastK                              = 120
	tileSums, tileZero, tileZeroStride     = 144, 152, 160
	tileAhead, tileScalesAhead             = 168, 176
	expandDst, expandSrc, expandScale      = 0, 8, 16
	expandZero, expandSteps                = 24, 40
	expandGroups, expandLast, expandStride = 48, 56, 64
)

// function starts a kernel whose argument is a pointer, which it loads to DI.
func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, "func("+signature+")")
	Pragma("noescape")
	Doc(name + " " + doc)
}

func finish() {
	VZEROUPPER()
	RET()
}

// floatTile multiplies rows rows with a panel of cols vectors. With few rows several sets of accumulators take turns, so
// that the additions do not wait for each other.
func (t *target) floatTile(rows int) {
	function(fmt.Sprintf("floatTile%s_%d", t.name, rows), "t *tile", fmt.Sprintf("computes C = [C +] A B + bias [+ residual] for %d rows.", rows))
	args := Load(Param("t"), reg.RDI)
	var (
		a, b, k, c, ldc = reg.RSI, reg.RBX, reg.RCX, reg.R8, reg.R9
		bias, res, ldr  = reg.R10, reg.R11, reg.R12
		ahead           = reg.R13
		n               = rows * t.cols
		sets            = 1
		from            = t.registers() - n // accumulators take the upper registers
	)
	for sets < 4 && n*sets < 8 && 2*n*sets <= t.registers()-t.cols-1 {
		sets *= 2
	}
	from = t.registers() - n*sets
	acc := func(set, r, j int) reg.VecPhysical { return t.v(from + set*n + r*t.cols + j) }
	panel := func(j int) reg.VecPhysical { return t.v(j) }
	value := t.v(t.cols)

	MOVQ(at(args, tileA), a)
	MOVQ(at(args, tileB), b)
	MOVQ(at(args, tileK), k)
	MOVQ(at(args, tileC), c)
	MOVQ(at(args, tileLDC), ldc)
	MOVQ(at(args, tileAhead), ahead)
	for i := range n * sets {
		t.zero(t.v(from + i))
	}
	step := func(set, i int) {
		for j := range t.cols {
			VMOVUPS(at(b, (i*t.cols+j)*t.size()), panel(j))
		}
		PREFETCHT1(Mem{Base: b, Index: ahead, Scale: 1, Disp: i * t.cols * t.size()})
		for r := range rows {
			if r == 4 {
				PREFETCHT0(at(b, (i*t.cols)*t.size()+2048))
			}
			if r == 6 {
				PREFETCHT0(at(b, (i*t.cols+1)*t.size()+2048))
			}
			if r == 0 && rows > 7 {
				PREFETCHT0(at(a, 4*(i*rows)+2048))
			}
			VBROADCASTSS(at(a, 4*(i*rows+r)), value)
			for j := range t.cols {
				VFMADD231PS(panel(j), value, acc(set, r, j))
			}
		}
	}
	const unroll = 4
	loop := func(unroll int) {
		for i := range unroll {
			step(i%sets, i)
		}
		ADDQ(imm(4*rows*unroll), a)
		ADDQ(imm(t.cols*t.size()*unroll), b)
	}
	SUBQ(imm(unroll), k)
	JL(LabelRef("tail"))
	Label("loop")
	loop(unroll)
	SUBQ(imm(unroll), k)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(imm(unroll), k)
	JZ(LabelRef("done"))
	Label("rest")
	loop(1)
	DECQ(k)
	JNZ(LabelRef("rest"))
	Label("done")
	for s := sets / 2; s > 0; s /= 2 {
		for set := range s {
			for i := range n {
				VADDPS(t.v(from+(set+s)*n+i), t.v(from+set*n+i), t.v(from+set*n+i))
			}
		}
	}

	// Add what is in C.
	CMPQ(at(args, tileAdd), Imm(0))
	JE(LabelRef("bias"))
	MOVQ(c, reg.RAX)
	for r := range rows {
		for j := range t.cols {
			VADDPS(at(reg.RAX, j*t.size()), acc(0, r, j), acc(0, r, j))
		}
		ADDQ(ldc, reg.RAX)
	}
	Label("bias")
	MOVQ(at(args, tileBias), bias)
	for j := range t.cols {
		VMOVUPS(at(bias, j*t.size()), panel(j))
	}
	for r := range rows {
		for j := range t.cols {
			VADDPS(panel(j), acc(0, r, j), acc(0, r, j))
		}
	}
	t.store(args, rows, t.cols, c, ldc, res, ldr, func(r, j int) reg.VecPhysical { return acc(0, r, j) })
	finish()
}

// store adds the residual, where there is one, and stores a tile.
func (t *target) store(args reg.Register, rows, cols int, c, ldc, res, ldr reg.GPPhysical, acc func(r, j int) reg.VecPhysical) {
	MOVQ(at(args, tileRes), res)
	TESTQ(res, res)
	JZ(LabelRef("store"))
	MOVQ(at(args, tileLDR), ldr)
	for r := range rows {
		for j := range cols {
			VADDPS(at(res, j*t.size()), acc(r, j), acc(r, j))
		}
		if r < rows-1 {
			ADDQ(ldr, res)
		}
	}
	Label("store")
	for r := range rows {
		for j := range cols {
			VMOVUPS(acc(r, j), at(c, j*t.size()))
		}
		if r < rows-1 {
			ADDQ(ldc, c)
		}
	}
}

// integerTile multiplies rows rows with a panel of cols vectors, group by group. Where there are several groups their
// float32 sums are in memory.
func (t *target) integerTile(rows int) {
	function(fmt.Sprintf("integerTile%s_%d", t.name, rows), "t *tile",
		fmt.Sprintf("computes C = rowScale * sum over groups of scale * (comp + A B) + bias [+ residual] for %d rows.", rows))
	args := Load(Param("t"), reg.RDI)
	var (
		scale, groups   = reg.R9, reg.R10
		sums, isGrouped = reg.R11, reg.RAX
		cols            = t.intCols
		from            = t.registers() - rows*cols
		row             = cols * t.size() // bytes of a row of one 32-bit number a column
	)
	acc := func(r, j int) reg.VecPhysical { return t.v(from + r*cols + j) }
	panel := func(j int) reg.VecPhysical { return t.v(j) }
	m := t.multiplier(args, rows, cols, acc, reg.R12)
	MOVQ(at(args, tileScale), scale)
	MOVQ(at(args, tileGroups), groups)
	MOVQ(at(args, tileAcc), sums)
	XORQ(isGrouped, isGrouped)
	// Without groups, which is K = 0, the sums are zero.
	TESTQ(groups, groups)
	JZ(LabelRef("empty"))
	CMPQ(groups, Imm(1))
	JE(LabelRef("group"))
	INCQ(isGrouped)
	t.zero(panel(0))
	for i := range rows * cols {
		VMOVUPS(panel(0), at(sums, i*t.size()))
	}

	Label("group")
	m.steps(args, groups)
	m.group()
	// Fold the group into the float32 sums: in memory, or for the last group in the accumulators.
	for j := range cols {
		VMOVUPS(at(scale, j*t.size()), panel(j))
	}
	for r := range rows {
		for j := range cols {
			VCVTDQ2PS(acc(r, j), acc(r, j))
		}
	}
	TESTQ(isGrouped, isGrouped)
	JZ(LabelRef("only"))
	DECQ(groups)
	JZ(LabelRef("last"))
	for r := range rows {
		for j := range cols {
			m := at(sums, r*row+j*t.size())
			VFMADD213PS(m, panel(j), acc(r, j))
			VMOVUPS(acc(r, j), m)
		}
	}
	ADDQ(imm(row), m.comp)
	ADDQ(imm(row), scale)
	JMP(LabelRef("group"))

	Label("empty")
	for r := range rows {
		for j := range cols {
			t.zero(acc(r, j))
		}
	}
	JMP(LabelRef("epilogue"))
	Label("last")
	for r := range rows {
		for j := range cols {
			VFMADD213PS(at(sums, r*row+j*t.size()), panel(j), acc(r, j))
		}
	}
	JMP(LabelRef("epilogue"))
	Label("only")
	for r := range rows {
		for j := range cols {
			VMULPS(panel(j), acc(r, j), acc(r, j))
		}
	}
	Label("epilogue")
	t.integerEpilogue(args, rows, cols, acc)
	finish()
}

// channelTile is integerTile for weights with one group, the whole row: all registers are accumulators.
func (t *target) channelTile(rows int) {
	function(fmt.Sprintf("channelTile%s_%d", t.name, rows), "t *tile",
		fmt.Sprintf("computes C = rowScale * scale * (comp + A B) + bias [+ residual] for %d rows.", rows))
	args := Load(Param("t"), reg.RDI)
	cols := t.intCols
	sets := 1 // with few rows, several sets take turns, so that additions do not wait for each other
	for sets < 4 && rows*cols*sets < 8 {
		sets *= 2
	}
	n := rows * cols
	acc := func(r, j int) reg.VecPhysical { return t.v(t.registers() - n + r*cols + j) }
	m := t.multiplier(args, rows, cols, acc, reg.R12, reg.R11, reg.RAX, reg.R9)
	m.sets = sets
	for i := range n * sets {
		t.zero(t.v(t.registers() - 1 - i))
	}
	// Without groups, which is K = 0, there is nothing to read.
	CMPQ(at(args, tileGroups), Imm(0))
	JE(LabelRef("epilogue"))
	MOVQ(at(args, tileLastK), m.k)
	m.group()
	for i := range n * (sets - 1) {
		to := t.v(t.registers() - 1 - i%n)
		VPADDD(t.v(t.registers()-1-n-i), to, to)
	}
	MOVQ(at(args, tileScale), reg.RBX)
	for j := range cols {
		VMOVUPS(at(reg.RBX, j*t.size()), t.v(j))
	}
	for r := range rows {
		for j := range cols {
			VCVTDQ2PS(acc(r, j), acc(r, j))
			VMULPS(t.v(j), acc(r, j), acc(r, j))
		}
	}
	Label("epilogue")
	t.integerEpilogue(args, rows, cols, acc)
	finish()
}

// fewRows is the greatest tile of int4 weights that are unpacked in registers.
const fewRows = 6

// groupCols is the width of the tiles whose float32 sums are in registers.
const groupCols = 2

// groupTile is integerTile with both the integer and the float32 sums in registers, in a narrower tile: the sums in memory
// cost a seventh of the speed at groups of 32.
func (t *target) groupTile(rows int) {
	function(fmt.Sprintf("groupTile%s_%d", t.name, rows), "t *tile",
		fmt.Sprintf("computes C = rowScale * sum over groups of scale * (comp + A B) + bias [+ residual] for %d rows.", rows))
	args := Load(Param("t"), reg.RDI)
	var (
		scale, groups = reg.R9, reg.R10
		ahead         = reg.R11
		n             = rows * groupCols
		acc           = func(r, j int) reg.VecPhysical { return t.v(t.registers() - n + r*groupCols + j) }
		sum           = func(r, j int) reg.VecPhysical { return t.v(t.registers() - 2*n + r*groupCols + j) }
		panel         = func(j int) reg.VecPhysical { return t.v(j) }
	)
	m := t.multiplier(args, rows, groupCols, acc, reg.R12, reg.RAX)
	MOVQ(at(args, tileScale), scale)
	MOVQ(at(args, tileGroups), groups)
	MOVQ(at(args, tileScalesAhead), ahead)
	for r := range rows {
		for j := range groupCols {
			t.zero(sum(r, j))
		}
	}
	TESTQ(groups, groups)
	JZ(LabelRef("epilogue"))
	Label("group")
	m.steps(args, groups)
	m.group()
	for j := range groupCols {
		VMOVUPS(at(scale, j*t.size()), panel(j))
	}
	for r := range rows {
		for j := range groupCols {
			VCVTDQ2PS(acc(r, j), acc(r, j))
			VFMADD231PS(panel(j), acc(r, j), sum(r, j))
		}
	}
	for j := range groupCols {
		PREFETCHT1(Mem{Base: scale, Index: ahead, Scale: 1, Disp: j * t.size()})
		if t.dot {
			PREFETCHT1(Mem{Base: m.comp, Index: ahead, Scale: 1, Disp: j * t.size()})
		}
	}
	ADDQ(imm(groupCols*t.size()), m.comp)
	ADDQ(imm(groupCols*t.size()), scale)
	DECQ(groups)
	JNZ(LabelRef("group"))
	Label("epilogue")
	t.integerEpilogue(args, rows, groupCols, sum)
	finish()
}

// multiplier emits the integer part of a tile.
type multiplier struct {
	t          *target
	rows, cols int
	sets       int // of accumulators, each below the one before
	acc        func(r, j int) reg.VecPhysical
	a          []reg.GPPhysical // rows 0, 3, 6 and so on of A
	lda, b, k  reg.GPPhysical
	comp       reg.GPPhysical
	ahead      reg.GPPhysical // distance of what is to be prefetched
}

// multiplier loads the pointers. It uses SI, DX, BX, CX, R8, R13, and of more, the last being for ahead, what it needs.
func (t *target) multiplier(args reg.Register, rows, cols int, acc func(r, j int) reg.VecPhysical, more ...reg.GPPhysical) *multiplier {
	last := len(more) - 1
	m := &multiplier{t: t, rows: rows, cols: cols, sets: 1, acc: acc, lda: reg.RDX, b: reg.RBX, k: reg.RCX, comp: reg.R8, ahead: more[last]}
	m.a = append([]reg.GPPhysical{reg.RSI, reg.R13}, more[:last]...)[:(rows+2)/3]
	MOVQ(at(args, tileA), m.a[0])
	MOVQ(at(args, tileLDA), m.lda)
	for i := 1; i < len(m.a); i++ {
		LEAQ(Mem{Base: m.lda, Index: m.lda, Scale: 2}, m.a[i])
		ADDQ(m.a[i-1], m.a[i])
	}
	MOVQ(at(args, tileB), m.b)
	MOVQ(at(args, tileComp), m.comp)
	MOVQ(at(args, tileAhead), m.ahead)
	return m
}

// element is the bytes of an activation, step the bytes of a step of the panel.
func (m *multiplier) element() int { return map[bool]int{true: 1, false: 2}[m.t.dot] }
func (m *multiplier) step() int    { return m.cols * m.t.lanes() * m.t.kStep() }

// row is the memory of a row at a displacement from the pointers.
func (m *multiplier) row(r, disp int) Mem {
	mem := at(m.a[r/3], disp)
	if r%3 > 0 {
		mem.Index, mem.Scale = m.lda, uint8(r%3)
	}
	return mem
}

// steps loads the length of the group at hand, of which groups remain.
func (m *multiplier) steps(args reg.Register, groups reg.GPPhysical) {
	MOVQ(at(args, tileK), m.k)
	CMPQ(groups, Imm(1))
	JNE(LabelRef("start"))
	MOVQ(at(args, tileLastK), m.k)
	Label("start")
}

// group starts the accumulators from the compensation and adds the products of a group's steps.
func (m *multiplier) group() {
	t := m.t
	panel := func(j int) reg.VecPhysical { return t.v(j) }
	value, product := t.v(m.cols), t.v(m.cols+1)
	for j := range m.cols {
		if t.dot {
			VMOVUPS(at(m.comp, j*t.size()), m.acc(0, j))
		} else {
			t.zero(m.acc(0, j))
		}
	}
	for r := 1; r < m.rows; r++ {
		for j := range m.cols {
			VMOVAPS(m.acc(0, j), m.acc(r, j))
		}
	}
	multiply := func(i int) {
		for j := range m.cols {
			mem := at(m.b, i*m.step()+j*t.lanes()*t.kStep())
			if t.dot {
				VMOVUPS(mem, panel(j))
			} else {
				VPMOVSXBW(mem, panel(j))
			}
		}
		for line := 0; line < m.step(); line += 128 {
			PREFETCHT1(Mem{Base: m.b, Index: m.ahead, Scale: 1, Disp: i*m.step() + line})
		}
		for r := range m.rows {
			VPBROADCASTD(m.row(r, i*t.kStep()*m.element()), value)
			for j := range m.cols {
				to := m.acc(r, j)
				if set := i % m.sets; set > 0 {
					to = t.v(t.registers() - m.rows*m.cols*(set+1) + r*m.cols + j)
				}
				if t.dot {
					t.dpbusd(panel(j), value, to)
				} else {
					VPMADDWD(panel(j), value, product)
					VPADDD(product, to, to)
				}
			}
		}
	}
	advance := func(n int) {
		for _, a := range m.a {
			ADDQ(imm(n*t.kStep()*m.element()), a)
		}
		ADDQ(imm(n*m.step()), m.b)
	}
	const unroll = 4
	SUBQ(imm(unroll), m.k)
	JL(LabelRef("tail"))
	Label("loop")
	for i := range unroll {
		multiply(i)
	}
	advance(unroll)
	SUBQ(imm(unroll), m.k)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(imm(unroll), m.k)
	JZ(LabelRef("done"))
	Label("rest")
	multiply(0)
	advance(1)
	DECQ(m.k)
	JNZ(LabelRef("rest"))
	Label("done")
}

// integerEpilogue scales the rows, adds bias and residual, and stores.
func (t *target) integerEpilogue(args reg.Register, rows, cols int, acc func(r, j int) reg.VecPhysical) {
	tmp, value := reg.R12, t.v(cols)
	MOVQ(at(args, tileRowScale), tmp)
	MOVQ(at(args, tileBias), reg.RBX)
	for j := range cols {
		VMOVUPS(at(reg.RBX, j*t.size()), t.v(j))
	}
	for r := range rows {
		VBROADCASTSS(at(tmp, 4*r), value)
		for j := range cols {
			VFMADD213PS(t.v(j), value, acc(r, j))
		}
	}
	MOVQ(at(args, tileC), reg.R8)
	MOVQ(at(args, tileLDC), reg.R9)
	t.store(args, rows, cols, reg.R8, reg.R9, reg.R11, reg.R12, acc)
}

// int4 unpacks a panel of cols vectors, of at least one group.
func (t *target) int4(cols int) {
	function("int4"+t.name, "e *expand", "writes (low half - zero) and then (high half - zero) of each step.")
	args := Load(Param("e"), reg.RDI)
	dst, src, steps, tmp := reg.RSI, reg.RBX, reg.RCX, reg.RAX
	vectors := cols * t.lanes() * t.kStep() / t.size()
	n := vectors * t.size()
	mask := t.v(0)
	zero := func(j int) reg.VecPhysical { return t.v(1 + j) }
	low := func(j int) reg.VecPhysical { return t.v(5 + 2*j) }
	high := func(j int) reg.VecPhysical { return t.v(6 + 2*j) }
	stride, groups := reg.RDX, reg.R8
	MOVQ(at(args, expandDst), dst)
	MOVQ(at(args, expandSrc), src)
	MOVQ(at(args, expandZero), tmp)
	MOVQ(at(args, expandStride), stride)
	MOVQ(at(args, expandGroups), groups)
	MOVL(U32(0x0f0f0f0f), reg.ECX)
	VMOVD(reg.ECX, mask.AsX())
	VPBROADCASTD(mask.AsX(), mask)
	Label("group")
	MOVQ(at(args, expandSteps), steps)
	DECQ(groups)
	JNZ(LabelRef("start"))
	MOVQ(at(args, expandLast), steps)
	Label("start")
	for j := range vectors {
		VMOVUPS(at(tmp, j*t.size()), zero(j))
	}
	ADDQ(stride, tmp)
	Label("loop")
	for j := range vectors {
		VMOVUPS(at(src, j*t.size()), low(j))
		VPSRLW(Imm(4), low(j), high(j))
		t.and(mask, low(j), low(j))
		t.and(mask, high(j), high(j))
		VPSUBB(zero(j), low(j), low(j))
		VPSUBB(zero(j), high(j), high(j))
		VMOVUPS(low(j), at(dst, j*t.size()))
		VMOVUPS(high(j), at(dst, n+j*t.size()))
	}
	ADDQ(imm(n), src)
	ADDQ(imm(2*n), dst)
	DECQ(steps)
	JNZ(LabelRef("loop"))
	TESTQ(groups, groups)
	JNZ(LabelRef("group"))
	finish()
}

// ones fills a register with a 32-bit word.
func (t *target) ones(r reg.VecPhysical, word uint32) {
	MOVL(U32(word), reg.EAX)
	VMOVD(reg.EAX, r.AsX())
	VPBROADCASTD(r.AsX(), r)
}

func (t *target) and(a, b, dst reg.VecPhysical) {
	if t.zmm {
		VPANDD(a, b, dst)
	} else {
		VPAND(a, b, dst)
	}
}

// int8Floats unpacks rows of int8 weights of one group.
func (t *target) int8Floats() {
	function("int8Floats"+t.name, "e *expand", "writes scale * (q - zero) for rows of signed q.")
	args := Load(Param("e"), reg.RDI)
	dst, src, rows, tmp := reg.RSI, reg.RBX, reg.RCX, reg.RAX
	zero := func(j int) reg.VecPhysical { return t.v(j) }
	scale := func(j int) reg.VecPhysical { return t.v(2 + j) }
	t.loadScales(args, dst, src, rows, tmp, zero, scale)
	TESTQ(rows, rows)
	JZ(LabelRef("done"))
	Label("loop")
	for j := range t.cols {
		VPMOVSXBD(at(src, j*t.lanes()), t.v(4+j))
		t.toFloat(t.v(4+j), zero(j), scale(j), at(dst, j*t.size()))
	}
	ADDQ(imm(t.cols*t.lanes()), src)
	ADDQ(imm(t.cols*t.size()), dst)
	DECQ(rows)
	JNZ(LabelRef("loop"))
	Label("done")
	finish()
}

func (t *target) loadScales(args reg.Register, dst, src, rows, tmp reg.GPPhysical, zero, scale func(int) reg.VecPhysical) {
	MOVQ(at(args, expandDst), dst)
	MOVQ(at(args, expandSrc), src)
	MOVQ(at(args, expandSteps), rows)
	MOVQ(at(args, expandZero), tmp)
	for j := range t.cols {
		VMOVUPS(at(tmp, j*t.size()), zero(j))
	}
	MOVQ(at(args, expandScale), tmp)
	for j := range t.cols {
		VMOVUPS(at(tmp, j*t.size()), scale(j))
	}
}

func (t *target) toFloat(q, zero, scale reg.VecPhysical, dst Mem) {
	VCVTDQ2PS(q, q)
	VSUBPS(zero, q, q)
	VMULPS(scale, q, q)
	VMOVUPS(q, dst)
}

// int4Floats unpacks rows of int4 weights of one group; the last pair may be half used.
func (t *target) int4Floats() {
	function("int4Floats"+t.name, "e *expand", "writes scale * (q - zero) for rows of unsigned q, rows 2i in low halves, 2i+1 in high ones.")
	args := Load(Param("e"), reg.RDI)
	dst, src, rows, tmp := reg.RSI, reg.RBX, reg.RCX, reg.RAX
	zero := func(j int) reg.VecPhysical { return t.v(j) }
	scale := func(j int) reg.VecPhysical { return t.v(2 + j) }
	mask := t.v(4)
	t.loadScales(args, dst, src, rows, tmp, zero, scale)
	t.ones(mask, 15)
	low := func() {
		for j := range t.cols {
			VPMOVZXBD(at(src, j*t.lanes()), t.v(5+j))
			t.and(mask, t.v(5+j), t.v(7+j))
			t.toFloat(t.v(7+j), zero(j), scale(j), at(dst, j*t.size()))
		}
	}
	SUBQ(Imm(2), rows)
	JL(LabelRef("tail"))
	Label("loop")
	low()
	for j := range t.cols {
		VPSRLD(Imm(4), t.v(5+j), t.v(5+j))
		t.toFloat(t.v(5+j), zero(j), scale(j), at(dst, (t.cols+j)*t.size()))
	}
	ADDQ(imm(t.cols*t.lanes()), src)
	ADDQ(imm(2*t.cols*t.size()), dst)
	SUBQ(Imm(2), rows)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(Imm(2), rows)
	JZ(LabelRef("done"))
	low()
	Label("done")
	finish()
}

// transpose moves blocks of four rows and four columns.
func transpose() {
	function("transpose4AVX2", "dst, src *float32, dstStride, srcStride, k int",
		"transposes four rows of 4k numbers: number i of row r goes to dst[i*dstStride+r]; strides are in bytes.")
	dst, src, ds, ss, k := reg.RDI, reg.RSI, reg.RDX, reg.RBX, reg.RCX
	Load(Param("dst"), dst)
	Load(Param("src"), src)
	Load(Param("dstStride"), ds)
	Load(Param("srcStride"), ss)
	Load(Param("k"), k)
	LEAQ(Mem{Base: ss, Index: ss, Scale: 2}, reg.R8)
	LEAQ(Mem{Base: ds, Index: ds, Scale: 2}, reg.R9)
	TESTQ(k, k)
	JZ(LabelRef("done"))
	x := func(i int) reg.VecPhysical {
		return []reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7}[i]
	}
	Label("loop")
	VMOVUPS(at(src, 0), x(0))
	VMOVUPS(Mem{Base: src, Index: ss, Scale: 1}, x(1))
	VMOVUPS(Mem{Base: src, Index: ss, Scale: 2}, x(2))
	VMOVUPS(Mem{Base: src, Index: reg.R8, Scale: 1}, x(3))
	VUNPCKLPS(x(1), x(0), x(4))
	VUNPCKHPS(x(1), x(0), x(5))
	VUNPCKLPS(x(3), x(2), x(6))
	VUNPCKHPS(x(3), x(2), x(7))
	VUNPCKLPD(x(6), x(4), x(0))
	VUNPCKHPD(x(6), x(4), x(1))
	VUNPCKLPD(x(7), x(5), x(2))
	VUNPCKHPD(x(7), x(5), x(3))
	VMOVUPS(x(0), at(dst, 0))
	VMOVUPS(x(1), Mem{Base: dst, Index: ds, Scale: 1})
	VMOVUPS(x(2), Mem{Base: dst, Index: ds, Scale: 2})
	VMOVUPS(x(3), Mem{Base: dst, Index: reg.R9, Scale: 1})
	ADDQ(Imm(16), src)
	LEAQ(Mem{Base: dst, Index: ds, Scale: 4}, dst)
	DECQ(k)
	JNZ(LabelRef("loop"))
	Label("done")
	finish()
}
