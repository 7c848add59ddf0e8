package main

import "fmt"

// function starts a function of several parameters, whose frame has that many bytes.
func (a *assembler) function(name, signature string, frame int, doc string) {
	fmt.Fprintf(&a.asm, "\n// func %s%s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, signature, name, frame)
	fmt.Fprintf(&a.stubs, "\n// %s %s\n//\n//go:noescape\nfunc %s%s\n", name, doc, name, signature)
}

func (a *assembler) fabs(d, n v)      { a.two(0x4ea0f800, "fabs v%d.4s, v%d.4s", d, n) }
func (a *assembler) umax(d, n, m v)   { a.three(0x6ea06400, "umax v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) umaxv(d, n v)     { a.two(0x6eb0a800, "umaxv s%d, v%d.4s", d, n) }
func (a *assembler) addv(d, n v)      { a.two(0x4eb1b800, "addv s%d, v%d.4s", d, n) }
func (a *assembler) fmaxnm(d, n, m v) { a.three(0x4e20c400, "fmaxnm v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) fminnm(d, n, m v) { a.three(0x4ea0c400, "fminnm v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) smax(d, n, m v)   { a.three(0x4ea06400, "smax v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) smin(d, n, m v)   { a.three(0x4ea06c00, "smin v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) add(d, n, m v)    { a.three(0x4ea08400, "add v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) fcvtns(d, n v)    { a.two(0x4e21a800, "fcvtns v%d.4s, v%d.4s", d, n) }
func (a *assembler) xtn4(d, n v)      { a.two(0x0e612800, "xtn v%d.4h, v%d.4s", d, n) }
func (a *assembler) xtn8(d, n v)      { a.two(0x4e612800, "xtn2 v%d.8h, v%d.4s", d, n) }
func (a *assembler) xtnBytes(d, n v)  { a.two(0x0e212800, "xtn v%d.8b, v%d.8h", d, n) }
func (a *assembler) dup(d v, n x) {
	a.word(0x4e040c00|uint32(n)<<5|uint32(d), "dup v%d.4s, w%d", d, n)
}
func (a *assembler) store8Next(r v, base x) {
	a.word(0xfc008400|uint32(base)<<5|uint32(r), "str d%d, [x%d], #8", r, base)
}

// absMax compares magnitudes as integers.
func absMax(a *assembler) {
	a.function("absMaxNEON", "(x *float32, n int) uint32", 20, "returns the greatest magnitude as bits; n is a multiple of 16.")
	a.line("MOVD x+0(FP), R0")
	a.line("MOVD n+8(FP), R1")
	for i := range v(4) {
		a.zero(i)
	}
	a.label("loop")
	for i := range v(4) {
		a.loadNext(4+i, 0)
		a.fabs(4+i, 4+i)
		a.umax(i, i, 4+i)
	}
	a.line("SUBS $16, R1, R1")
	a.line("BNE loop")
	a.umax(0, 0, 1)
	a.umax(2, 2, 3)
	a.umax(0, 0, 2)
	a.umaxv(0, 0)
	a.line("FMOVS F0, ret+16(FP)")
	a.line("RET")
}

// quantize rounds to bytes. The maximum of NaN and a number is the number.
func quantize(a *assembler) {
	a.function("quantize8NEON", "(dst *byte, x *float32, n int, inv float32, zero, lo, hi int32) (sum int32)", 44,
		"writes clamp(round(x*inv)+zero, lo, hi), a byte each, and returns their sum; n is a multiple of 8.")
	a.line("MOVD dst+0(FP), R0")
	a.line("MOVD x+8(FP), R1")
	a.line("MOVD n+16(FP), R2")
	const inv, zero, lo, hi, most, least, sum v = 0, 1, 2, 3, 4, 5, 6
	for i, name := range []string{"inv", "zero", "lo", "hi"} {
		a.line("MOVWU %s+%d(FP), R3", name, 24+4*i)
		a.dup(v(i), 3)
	}
	for i, limit := range []uint32{0x4e800000, 0xce800000} { // 2^30 and -2^30
		a.line("MOVD $0x%08x, R3", limit)
		a.dup(most+v(i), 3)
	}
	a.zero(sum)
	a.label("loop")
	for i := range v(2) {
		p := 16 + i
		a.loadNext(p, 1)
		a.fmul(p, p, inv)
		a.fmaxnm(p, p, least)
		a.fminnm(p, p, most)
		a.fcvtns(p, p)
		a.add(p, p, zero)
		a.smax(p, p, lo)
		a.smin(p, p, hi)
		a.add(sum, sum, p)
	}
	a.xtn4(18, 16)
	a.xtn8(18, 17)
	a.xtnBytes(18, 18)
	a.store8Next(18, 0)
	a.line("SUBS $8, R2, R2")
	a.line("BNE loop")
	a.addv(6, 6)
	a.line("FMOVS F6, sum+40(FP)")
	a.line("RET")
}
