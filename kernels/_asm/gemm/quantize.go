package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// absMax compares magnitudes as integers, in four sets of lanes.
func (t *target) absMax() {
	function("absMax"+t.name, "lanes *uint32, x *float32, n int", "writes the greatest magnitudes, as bits, that the lanes of a vector saw; n is a multiple of four vectors.")
	lanes, x, n := reg.RDI, reg.RSI, reg.RCX
	Load(Param("lanes"), lanes)
	Load(Param("x"), x)
	Load(Param("n"), n)
	mask := t.v(8)
	t.ones(mask, 0x7fffffff)
	for i := range 4 {
		t.zero(t.v(i))
	}
	Label("loop")
	for i := range 4 {
		if t.zmm {
			VPANDD(at(x, i*t.size()), mask, t.v(4+i))
		} else {
			VPAND(at(x, i*t.size()), mask, t.v(4+i))
		}
		VPMAXSD(t.v(4+i), t.v(i), t.v(i))
	}
	ADDQ(imm(4*t.size()), x)
	SUBQ(imm(4*t.lanes()), n)
	JNZ(LabelRef("loop"))
	VPMAXSD(t.v(1), t.v(0), t.v(0))
	VPMAXSD(t.v(3), t.v(2), t.v(2))
	VPMAXSD(t.v(2), t.v(0), t.v(0))
	VMOVUPS(t.v(0), at(lanes, 0))
	finish()
}

// minMax passes over NaN: the instructions return their second source then, which is the extreme so far.
func (t *target) minMax() {
	function("minMax"+t.name, "lo, hi, x *float32, n int", "lowers and raises the lanes at lo and hi to the numbers that they see; n is a multiple of two vectors.")
	lo, hi, x, n := reg.RDI, reg.RDX, reg.RSI, reg.RCX
	Load(Param("lo"), lo)
	Load(Param("hi"), hi)
	Load(Param("x"), x)
	Load(Param("n"), n)
	for i := range 2 {
		VMOVUPS(at(lo, 0), t.v(i))
		VMOVUPS(at(hi, 0), t.v(2+i))
	}
	Label("loop")
	for i := range 2 {
		VMOVUPS(at(x, i*t.size()), t.v(4+i))
		VMINPS(t.v(i), t.v(4+i), t.v(i))
		VMAXPS(t.v(2+i), t.v(4+i), t.v(2+i))
	}
	ADDQ(imm(2*t.size()), x)
	SUBQ(imm(2*t.lanes()), n)
	JNZ(LabelRef("loop"))
	VMINPS(t.v(1), t.v(0), t.v(0))
	VMAXPS(t.v(3), t.v(2), t.v(2))
	VMOVUPS(t.v(0), at(lo, 0))
	VMOVUPS(t.v(2), at(hi, 0))
	finish()
}

// quantize rounds to bytes or to 16-bit words.
func (t *target) quantize(bytes int) {
	name, to := "quantize8", "byte"
	if bytes == 2 {
		name, to = "quantize16", "byte pair"
	}
	function(name+t.name, "dst *byte, x *float32, n int, inv float32, zero, lo, hi int32) (sum int32",
		"writes clamp(round(x*inv)+zero, lo, hi), a "+to+" each, and returns their sum; n is a multiple of a vector.")
	dst, x, n := reg.RDI, reg.RSI, reg.RCX
	Load(Param("dst"), dst)
	Load(Param("x"), x)
	Load(Param("n"), n)
	inv, zero, lo, hi := t.v(0), t.v(1), t.v(2), t.v(3)
	most, least, sum, p, bits := t.v(4), t.v(5), t.v(6), t.v(7), t.v(8)
	broadcast := func(name string, r reg.VecPhysical) {
		a, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		VBROADCASTSS(a.Addr, r)
	}
	broadcast("inv", inv)
	broadcast("zero", zero)
	broadcast("lo", lo)
	broadcast("hi", hi)
	// Clamping before rounding is the same, since the bounds are whole numbers.
	VPSUBD(zero, lo, least)
	VPSUBD(zero, hi, most)
	VCVTDQ2PS(least, least)
	VCVTDQ2PS(most, most)
	if !t.zmm && bytes == 1 {
		t.ones(bits, 255)
	}
	t.zero(sum)
	// What follows is prefetched: the next row, which the processor, going by pages, does not foresee.
	ahead := reg.RDX
	LEAQ(Mem{Base: x, Index: n, Scale: 4}, ahead)
	SUBQ(x, ahead)
	Label("loop")
	PREFETCHT0(Mem{Base: x, Index: ahead, Scale: 1})
	VMULPS(at(x, 0), inv, p)
	VMAXPS(least, p, p) // NaN becomes least
	VMINPS(most, p, p)
	VCVTPS2DQ(p, p)
	VPADDD(zero, p, p)
	VPADDD(p, sum, sum)
	switch {
	case t.zmm && bytes == 1:
		VPMOVDB(p, p.AsX())
		VMOVDQU(p.AsX(), at(dst, 0))
	case t.zmm:
		VPMOVDW(p, at(dst, 0))
	default:
		if bytes == 1 {
			VPAND(bits, p, p)
		}
		VEXTRACTI128(U8(1), p, reg.X9)
		VPACKSSDW(reg.X9, p.AsX(), reg.X9)
		if bytes == 1 {
			VPACKUSWB(reg.X9, reg.X9, reg.X9)
			VMOVQ(reg.X9, at(dst, 0))
		} else {
			VMOVDQU(reg.X9, at(dst, 0))
		}
	}
	ADDQ(imm(t.size()), x)
	ADDQ(imm(bytes*t.lanes()), dst)
	SUBQ(imm(t.lanes()), n)
	JNZ(LabelRef("loop"))
	if t.zmm {
		VEXTRACTI64X4(U8(1), reg.Z6, reg.Y7)
		VPADDD(reg.Y7, reg.Y6, reg.Y6)
	}
	VEXTRACTI128(U8(1), reg.Y6, reg.X7)
	VPADDD(reg.X7, reg.X6, reg.X6)
	VPSHUFD(U8(0x4e), reg.X6, reg.X7)
	VPADDD(reg.X7, reg.X6, reg.X6)
	VPSHUFD(U8(0xb1), reg.X6, reg.X7)
	VPADDD(reg.X7, reg.X6, reg.X6)
	VMOVD(reg.X6, reg.EAX)
	Store(reg.EAX, ReturnIndex(0))
	finish()
}
