package main

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// target is an instruction set. Registers are chosen by hand: a tile takes nearly all of them, and which does what is most
// of what there is to know about a kernel.
type target struct {
	name      string
	zmm       bool
	rows      int // the greatest float32 tile, of rows x cols vectors
	cols      int
	intRows   int // the greatest integer tile
	intCols   int
	groupRows int  // the greatest tile with float32 sums in registers
	dot       bool // VPDPBUSD, else VPMADDWD of 16-bit numbers
	vex       bool // VPDPBUSD in its VEX encoding (AVX-VNNI)
}

var (
	avx512     = &target{name: "AVX512", zmm: true, rows: 14, cols: 2, intRows: 14, intCols: 2, groupRows: 6}
	avx512vnni = &target{name: "AVX512VNNI", zmm: true, intRows: 14, intCols: 2, groupRows: 7, dot: true}
	avx2       = &target{name: "AVX2", rows: 6, cols: 2, intRows: 6, intCols: 2}
	// The 256-bit dot product has two encodings; the tile keeps to the sixteen registers that both reach.
	avxvnni  = &target{name: "AVXVNNI", intRows: 6, intCols: 2, dot: true, vex: true}
	avx512vl = &target{name: "AVX512VL", intRows: 6, intCols: 2, dot: true}
)

var zmms = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

var ymms = []reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
}

// v returns vector register i.
func (t *target) v(i int) reg.VecPhysical {
	if t.zmm {
		return zmms[i]
	}
	return ymms[i]
}

// size is that of a vector in bytes, lanes the 32-bit numbers in it, registers how many there are.
func (t *target) size() int {
	if t.zmm {
		return 64
	}
	return 32
}

func (t *target) lanes() int { return t.size() / 4 }

func (t *target) registers() int {
	if t.zmm {
		return len(zmms)
	}
	return len(ymms)
}

// kStep is the number of values of K that an integer step takes.
func (t *target) kStep() int {
	if t.dot {
		return 4
	}
	return 2
}

// zero clears a register.
func (t *target) zero(r reg.VecPhysical) {
	if t.zmm {
		build.VPXORD(r, r, r)
	} else {
		build.VPXOR(r, r, r)
	}
}

// dpbusd adds to each 32-bit lane of acc the four products of unsigned bytes of a and signed bytes of b.
func (t *target) dpbusd(b, a, acc reg.VecPhysical) {
	if !t.vex {
		build.VPDPBUSD(b, a, acc)
		return
	}
	// VEX.256.66.0F38.W0 50 /r, which the Go assembler does not know: acc is the reg field, a vvvv, b rm.
	d, s, m := uint32(acc.ID()>>16&0xff), uint32(a.ID()>>16&0xff), uint32(b.ID()>>16&0xff)
	second := 0x02 | (^d>>3&1)<<7 | 1<<6 | (^m>>3&1)<<5
	third := (^s&15)<<3 | 1<<2 | 1
	modrm := 0xc0 | (d&7)<<3 | m&7
	build.Commentf("VPDPBUSD Y%d, Y%d, Y%d", m, s, d)
	build.Instruction(&ir.Instruction{Opcode: "LONG", Operands: []Op{U32(0xc4 | second<<8 | third<<16 | 0x50<<24)}})
	build.Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(modrm)}})
}

// at is memory at a register and a displacement.
func at(base reg.Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

// imm is an immediate operand of arithmetic.
func imm(n int) Constant {
	if n < 128 {
		return U8(n)
	}
	return U32(n)
}
