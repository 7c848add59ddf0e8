package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// fewTile multiplies few rows with a panel of int4 weights that it unpacks in registers. The weights are the unsigned
// operand, so that nothing but zero points times sums of activations is to be taken off; the signed activations are
// broadcast by the multiplication's memory operand.
func (t *target) fewTile(rows int) {
	function(fmt.Sprintf("fewTile%s_%d", t.name, rows), "t *tile",
		fmt.Sprintf("computes C = rowScale * sum over groups of scale * (zero*sums + A B) + bias [+ residual] for %d rows of signed A and int4 B.", rows))
	args := Load(Param("t"), reg.RDI)
	var (
		a, a3, lda, b, k = reg.RSI, reg.R13, reg.RDX, reg.RBX, reg.RCX
		scale, groups    = reg.R9, reg.R10
		sums             = reg.R8
		zero, stride     = reg.R11, reg.R12
		cols             = groupCols
		n                = rows * cols
		sets             = 1
	)
	if rows <= 2 {
		sets = 2 // one for low halves, one for high ones: enough that additions need not wait
	}
	acc := func(set, r, j int) reg.VecPhysical { return t.v(t.registers() - n*(set+1) + r*cols + j) }
	sum := func(r, j int) reg.VecPhysical { return t.v(t.registers() - n*(sets+1) + r*cols + j) }
	mask, low, high := t.v(0), t.v(1), t.v(2)
	byteMask := t.v(3)

	MOVQ(at(args, tileA), a)
	MOVQ(at(args, tileLDA), lda)
	if rows > 3 {
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, a3)
		ADDQ(a, a3)
	}
	row := func(r, disp int) Mem {
		mem := at(a, disp)
		if r >= 3 {
			mem.Base, r = a3, r-3
		}
		if r > 0 {
			mem.Index, mem.Scale = lda, uint8(r)
		}
		return mem
	}
	MOVQ(at(args, tileB), b)
	MOVQ(at(args, tileScale), scale)
	MOVQ(at(args, tileGroups), groups)
	MOVQ(at(args, tileSums), sums)
	MOVQ(at(args, tileZero), zero)
	MOVQ(at(args, tileZeroStride), stride)
	t.ones(mask, 0x0f0f0f0f)
	t.ones(byteMask, 255)
	for r := range rows {
		for j := range cols {
			t.zero(sum(r, j))
		}
	}
	TESTQ(groups, groups)
	JZ(LabelRef("epilogue"))
	Label("group")
	for j := range cols {
		VPANDD(at(zero, j*t.size()), byteMask, low)
		for r := range rows {
			VPMULLD_BCST(at(sums, 4*r), low, acc(0, r, j))
			if sets > 1 {
				t.zero(acc(1, r, j))
			}
		}
	}
	MOVQ(at(args, tileK), k)
	CMPQ(groups, Imm(1))
	JNE(LabelRef("loop"))
	MOVQ(at(args, tileLastK), k)
	Label("loop")
	for j := range cols {
		VMOVUPS(at(b, j*t.size()), low)
		VPSRLW(Imm(4), low, high)
		VPANDD(mask, low, low)
		VPANDD(mask, high, high)
		for r := range rows {
			VPDPBUSD_BCST(row(r, 0), low, acc(0, r, j))
		}
		for r := range rows {
			VPDPBUSD_BCST(row(r, 4), high, acc(sets-1, r, j))
		}
	}
	ADDQ(Imm(8), a)
	if rows > 3 {
		ADDQ(Imm(8), a3)
	}
	ADDQ(imm(cols*t.size()), b)
	DECQ(k)
	JNZ(LabelRef("loop"))
	for r := range rows {
		for j := range cols {
			if sets > 1 {
				VPADDD(acc(1, r, j), acc(0, r, j), acc(0, r, j))
			}
			VCVTDQ2PS(acc(0, r, j), acc(0, r, j))
			VFMADD231PS(at(scale, j*t.size()), acc(0, r, j), sum(r, j))
		}
	}
	ADDQ(imm(cols*t.size()), scale)
	ADDQ(imm(4*rows), sums)
	ADDQ(stride, zero)
	DECQ(groups)
	JNZ(LabelRef("group"))
	Label("epilogue")
	t.integerEpilogue(args, rows, cols, sum)
	finish()
}
