// Command fit generates the kernel by which scales are searched.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	TEXT("fitAVX2", NOSPLIT, "func(xq, qq *float64, x *float32, n int, inv, lo, hi float32)")
	Doc("fitAVX2: xq[i%8] = the sum of x[i]*q, qq[i%8] = that of q*q, q being x[i]*inv rounded and clamped, for i < n;",
		"n is a multiple of eight.")
	Pragma("noescape")
	broadcast := func(name string) reg.VecVirtual {
		r := YMM()
		a, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		VBROADCASTSS(a.Addr, r)
		return r
	}
	inv, lo, hi := broadcast("inv"), broadcast("lo"), broadcast("hi")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	// The sums of lanes 0 to 3 and 4 to 7. The products are exact, so that fusing them with the addition changes nothing.
	var xq, qq [2]reg.VecVirtual
	for i := range 2 {
		xq[i], qq[i] = YMM(), YMM()
		VXORPD(xq[i], xq[i], xq[i])
		VXORPD(qq[i], qq[i], qq[i])
	}
	Label("loop")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	v, p := YMM(), YMM()
	VMOVUPS(Mem{Base: x}, v)
	VMULPS(inv, v, p)
	VMINPS(hi, p, p)
	VMAXPS(lo, p, p)
	VROUNDPS(Imm(0), p, p) // to nearest, ties to even
	for i := range 2 {
		half, a, b := XMM(), YMM(), YMM()
		VEXTRACTF128(Imm(uint64(i)), v, half)
		VCVTPS2PD(half, a)
		VEXTRACTF128(Imm(uint64(i)), p, half)
		VCVTPS2PD(half, b)
		VFMADD231PD(a, b, xq[i])
		VFMADD231PD(b, b, qq[i])
	}
	ADDQ(Imm(32), x)
	SUBQ(Imm(8), n)
	JMP(LabelRef("loop"))
	Label("done")
	toXQ, toQQ := Load(Param("xq"), GP64()), Load(Param("qq"), GP64())
	for i := range 2 {
		VMOVUPD(xq[i], Mem{Base: toXQ, Disp: 32 * i})
		VMOVUPD(qq[i], Mem{Base: toQQ, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
	Generate()
}
