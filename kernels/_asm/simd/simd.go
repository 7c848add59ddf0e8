// Package simd lets a generator write a kernel once for AVX2 and AVX-512: the same mnemonics on registers of either width,
// and one function for each step that the two do differently (masks, rounding, scaling by powers of two).
package simd

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ISA is a target.
type ISA struct {
	Name  string
	Lanes int // float32 numbers in a register
	// Sparing keeps constants in memory also with AVX-512, for functions that need many registers.
	Sparing bool
}

// Targets are what kernels are generated for.
var Targets = []*ISA{{Name: "AVX512", Lanes: 16}, {Name: "AVX2", Lanes: 8}}

// Wide tells if the target is AVX-512.
func (m *ISA) Wide() bool { return m.Lanes == 16 }

// Bytes is the size of a register.
func (m *ISA) Bytes() int { return 4 * m.Lanes }

// Reg returns a new vector register.
func (m *ISA) Reg() reg.VecVirtual {
	if m.Wide() {
		return ZMM()
	}
	return YMM()
}

// Half returns a new register of half the width.
func (m *ISA) Half() reg.VecVirtual {
	if m.Wide() {
		return YMM()
	}
	return XMM()
}

// HalfOf names the lower half of a register.
func (m *ISA) HalfOf(v reg.VecVirtual) Op {
	if m.Wide() {
		return v.(reg.Vec).AsY()
	}
	return v.(reg.Vec).AsX()
}

var data = map[string]Mem{}

// words returns static data that holds a 32-bit word n times.
func words(word uint32, n int) Mem {
	key := fmt.Sprintf("c%08x_%d", word, n)
	if _, ok := data[key]; !ok {
		data[key] = GLOBL(key, RODATA|NOPTR)
		for i := range n {
			DATA(4*i, U32(word))
		}
	}
	return data[key]
}

// Const returns an operand that holds f in every lane: a register with AVX-512, memory with AVX2, whose registers are few.
// It can be any operand that an instruction may read from memory.
func (m *ISA) Const(f float64) Op { return m.ConstBits(math.Float32bits(float32(f))) }

// ConstBits is Const for a bit pattern.
func (m *ISA) ConstBits(word uint32) Op {
	if !m.Wide() || m.Sparing {
		return words(word, m.Lanes)
	}
	r := m.Reg()
	VBROADCASTSS(words(word, 1), r)
	return r
}

// ConstReg is Const in a register.
func (m *ISA) ConstReg(f float64) reg.VecVirtual {
	r := m.Reg()
	VBROADCASTSS(words(math.Float32bits(float32(f)), 1), r)
	return r
}

// Zero returns a register of zeros.
func (m *ISA) Zero() reg.VecVirtual {
	r := m.Reg()
	VXORPS(r, r, r)
	return r
}

// Do emits an instruction of two sources into a new register: op(b, a, r), that is r = a op b.
func (m *ISA) Do(op func(...Op), b, a Op) reg.VecVirtual {
	r := m.Reg()
	op(b, a, r)
	return r
}

// Copy copies an operand into a new register.
func (m *ISA) Copy(a Op) reg.VecVirtual {
	r := m.Reg()
	VMOVUPS(a, r)
	return r
}

// Horner returns ((c[n-1] x + c[n-2]) x + …) x + c[0]; the coefficients come from Consts.
func (m *ISA) Horner(x Op, c []Op) reg.VecVirtual {
	p := m.Copy(c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		VFMADD213PS(c[i], x, p)
	}
	return p
}

// Consts applies Const to each.
func (m *ISA) Consts(fs ...float64) (ops []Op) {
	for _, f := range fs {
		ops = append(ops, m.Const(f))
	}
	return ops
}

// Predicates of Select.
const (
	Less      = 17 // ordered, quiet
	Unordered = 3
)

// Select returns, lane by lane, x where the comparison of a with b holds and y elsewhere. x and b may be memory.
func (m *ISA) Select(predicate int, a, b, x, y Op) reg.VecVirtual {
	r := m.Reg()
	if m.Wide() {
		k := K()
		VCMPPS(Imm(uint64(predicate)), b, a, k)
		VBLENDMPS(x, y, k, r)
	} else {
		VCMPPS(Imm(uint64(predicate)), b, a, r)
		VBLENDVPS(r, x, y, r)
	}
	return r
}

// Round returns a rounded to integers, ties to even.
func (m *ISA) Round(a Op) reg.VecVirtual {
	r := m.Reg()
	if m.Wide() {
		VRNDSCALEPS(Imm(8), a, r)
	} else {
		VROUNDPS(Imm(8), a, r)
	}
	return r
}

// Scaler prepares [ISA.Scale]'s constants.
func (m *ISA) Scaler() func(p, n reg.VecVirtual) {
	if m.Wide() {
		return func(p, n reg.VecVirtual) { VSCALEFPS(n, p, p) }
	}
	lowest, bias := m.Const(-252), m.ConstBits(127)
	// Two factors, so that results down to the smallest denormal and up to infinity are right.
	return func(p, n reg.VecVirtual) {
		a, b := m.Reg(), m.Reg()
		VMAXPS(lowest, n, a)
		VCVTPS2DQ(a, a)
		VPSRAD(Imm(1), a, b)
		VPSUBD(b, a, a)
		for _, f := range []reg.VecVirtual{a, b} {
			VPADDD(bias, f, f)
			VPSLLD(Imm(23), f, f)
			VMULPS(f, p, p)
		}
	}
}

// Tail is the mask of the lanes that are left when n < Lanes numbers remain.
type Tail struct {
	m *ISA
	k Op
}

// Tail makes the mask of the first n lanes.
func (m *ISA) Tail(n reg.GPVirtual) Tail {
	key, entries, entry := "lanes", 16, func(i int) Constant {
		if i < 8 {
			return U32(math.MaxUint32)
		}
		return U32(0)
	}
	if m.Wide() {
		key, entries, entry = "masks", 16, func(i int) Constant { return U16(1<<i - 1) }
	}
	if _, ok := data[key]; !ok {
		data[key] = GLOBL(key, RODATA|NOPTR)
		for i := range entries {
			DATA(i*entry(0).Bytes(), entry(i))
		}
	}
	if m.Wide() {
		table, k := GP64(), K()
		LEAQ(data[key], table)
		KMOVW(Mem{Base: table, Index: n, Scale: 2}, k)
		return Tail{m, k}
	}
	address, table := GP64(), GP64()
	LEAQ(data[key], table)
	MOVQ(U32(8), address)
	SUBQ(n, address)
	k := m.Reg()
	VMOVUPS(Mem{Base: table, Index: address, Scale: 4}, k)
	return Tail{m, k}
}

// Load reads the masked lanes and makes the others zero.
func (t Tail) Load(from Mem, r reg.VecVirtual) {
	if t.m.Wide() {
		VMOVUPS_Z(from, t.k, r)
	} else {
		VMASKMOVPS(from, t.k, r)
	}
}

// Store writes the masked lanes.
func (t Tail) Store(r reg.VecVirtual, to Mem) {
	if t.m.Wide() {
		VMOVUPS(r, t.k, to)
	} else {
		VMASKMOVPS(r, t.k, to)
	}
}

// Keep returns a in the masked lanes and other elsewhere.
func (t Tail) Keep(a, other Op) reg.VecVirtual {
	r := t.m.Reg()
	if t.m.Wide() {
		VBLENDMPS(a, other, t.k, r)
	} else {
		VBLENDVPS(t.k, a, other, r)
	}
	return r
}

// Stream emits a loop over n numbers: body is called once for whole registers and once for the tail, and gets functions to
// load and store at the current position of a pointer. start is the first position; nil means 0.
func (m *ISA) Stream(n reg.GPVirtual, label string, body func(load func(p reg.Register) reg.VecVirtual, store func(r reg.VecVirtual, p reg.Register), tail *Tail)) {
	i, left := GP64(), GP64()
	XORQ(i, i)
	MOVQ(n, left)
	CMPQ(left, U32(uint32(m.Lanes)))
	JL(LabelRef(label + "tail"))
	Label(label + "loop")
	at := func(p reg.Register) Mem { return Mem{Base: p, Index: i, Scale: 4} }
	body(func(p reg.Register) reg.VecVirtual {
		r := m.Reg()
		VMOVUPS(at(p), r)
		return r
	}, func(r reg.VecVirtual, p reg.Register) { VMOVUPS(r, at(p)) }, nil)
	ADDQ(U32(uint32(m.Lanes)), i)
	SUBQ(U32(uint32(m.Lanes)), left)
	CMPQ(left, U32(uint32(m.Lanes)))
	JGE(LabelRef(label + "loop"))
	Label(label + "tail")
	TESTQ(left, left)
	JZ(LabelRef(label + "done"))
	t := m.Tail(left)
	body(func(p reg.Register) reg.VecVirtual {
		r := m.Reg()
		t.Load(at(p), r)
		return r
	}, func(r reg.VecVirtual, p reg.Register) { t.Store(r, at(p)) }, &t)
	Label(label + "done")
}
