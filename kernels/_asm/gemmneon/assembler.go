package main

import (
	"fmt"
	"strings"
)

// assembler collects the output files. Vector instructions, most of which Go's assembler lacks, are words with their text in
// ARM's syntax beside them; encodings are from the Arm Architecture Reference Manual, section C7.2.
type assembler struct{ asm, stubs strings.Builder }

// v is a vector register, x a general one.
type (
	v int
	x int
)

func (a *assembler) line(format string, args ...any) { fmt.Fprintf(&a.asm, "\t"+format+"\n", args...) }
func (a *assembler) label(l string)                  { fmt.Fprintf(&a.asm, "\n%s:\n", l) }
func (a *assembler) word(w uint32, format string, args ...any) {
	a.line("WORD $0x%08x // %s", w, fmt.Sprintf(format, args...))
}

// begin starts a function whose argument is a pointer, loaded to R0.
func (a *assembler) begin(name, arg, kind, doc string) {
	fmt.Fprintf(&a.asm, "\n// func %s(%s *%s)\nTEXT ·%s(SB), NOSPLIT, $0-8\n", name, arg, kind, name)
	fmt.Fprintf(&a.stubs, "\n// %s %s\n//\n//go:noescape\nfunc %s(%s *%s)\n", name, doc, name, arg, kind)
	a.line("MOVD %s+0(FP), R0", arg)
}

// field loads a field of the argument.
func (a *assembler) field(offset int, to x) { a.line("MOVD %d(R0), R%d", offset, to) }

func (a *assembler) three(op uint32, text string, d, n, m v) {
	a.word(op|uint32(m)<<16|uint32(n)<<5|uint32(d), text, d, n, m)
}

func (a *assembler) two(op uint32, text string, d, n v) {
	a.word(op|uint32(n)<<5|uint32(d), text, d, n)
}

func (a *assembler) fadd(d, n, m v) { a.three(0x4e20d400, "fadd v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) fsub(d, n, m v) { a.three(0x4ea0d400, "fsub v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) fmul(d, n, m v) { a.three(0x6e20dc00, "fmul v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) fmla(d, n, m v) { a.three(0x4e20cc00, "fmla v%d.4s, v%d.4s, v%d.4s", d, n, m) }
func (a *assembler) and(d, n, m v)  { a.three(0x4e201c00, "and v%d.16b, v%d.16b, v%d.16b", d, n, m) }
func (a *assembler) sub8(d, n, m v) { a.three(0x6e208400, "sub v%d.16b, v%d.16b, v%d.16b", d, n, m) }
func (a *assembler) zero(d v)       { a.three(0x6e201c00, "eor v%d.16b, v%d.16b, v%d.16b", d, d, d) }
func (a *assembler) mov(d, n v) {
	a.word(0x4ea01c00|uint32(n)<<16|uint32(n)<<5|uint32(d), "mov v%d.16b, v%d.16b", d, n)
}
func (a *assembler) scvtf(d, n v)  { a.two(0x4e21d800, "scvtf v%d.4s, v%d.4s", d, n) }
func (a *assembler) high4(d, n v)  { a.two(0x6f0c0400, "ushr v%d.16b, v%d.16b, #4", d, n) }
func (a *assembler) nibbles(d v)   { a.word(0x4f00e5e0|uint32(d), "movi v%d.16b, #0xf", d) }
func (a *assembler) sxtl8(d, n v)  { a.two(0x0f08a400, "sxtl v%d.8h, v%d.8b", d, n) }
func (a *assembler) sxtl16(d, n v) { a.two(0x0f10a400, "sxtl v%d.4s, v%d.4h", d, n) }
func (a *assembler) sxtl162(d, n v) {
	a.two(0x4f10a400, "sxtl2 v%d.4s, v%d.8h", d, n)
}

// sdot adds to each 32-bit lane the four products of signed bytes.
func (a *assembler) sdot(d, n, m v) { a.three(0x4e809400, "sdot v%d.4s, v%d.16b, v%d.16b", d, n, m) }

// smull multiplies eight signed bytes, of the lower or the upper half, to words.
func (a *assembler) smull(d, n, m v, upper bool) {
	if upper {
		a.three(0x4e20c000, "smull2 v%d.8h, v%d.16b, v%d.16b", d, n, m)
	} else {
		a.three(0x0e20c000, "smull v%d.8h, v%d.8b, v%d.8b", d, n, m)
	}
}

// sadalp adds pairs of words to 32-bit lanes.
func (a *assembler) sadalp(d, n v) { a.two(0x4e606800, "sadalp v%d.4s, v%d.8h", d, n) }

// load and store move 16 bytes at base + offset; the forms called next advance the base by 16 afterwards.
func (a *assembler) load(r v, base x, offset int)  { a.memory(0x3dc00000, "ldr", r, base, offset) }
func (a *assembler) store(r v, base x, offset int) { a.memory(0x3d800000, "str", r, base, offset) }
func (a *assembler) memory(op uint32, name string, r v, base x, offset int) {
	a.word(op|uint32(offset/16)<<10|uint32(base)<<5|uint32(r), "%s q%d, [x%d, #%d]", name, r, base, offset)
}
func (a *assembler) loadNext(r v, base x) {
	a.word(0x3cc10400|uint32(base)<<5|uint32(r), "ldr q%d, [x%d], #16", r, base)
}
func (a *assembler) storeNext(r v, base x) {
	a.word(0x3c810400|uint32(base)<<5|uint32(r), "str q%d, [x%d], #16", r, base)
}
func (a *assembler) load8Next(r v, base x) {
	a.word(0xfc408400|uint32(base)<<5|uint32(r), "ldr d%d, [x%d], #8", r, base)
}

// repeat4 loads four bytes into every 32-bit lane, repeat2 two into every 16-bit lane, and they advance the base.
func (a *assembler) repeat4(r v, base x) {
	a.word(0x4ddfc800|uint32(base)<<5|uint32(r), "ld1r {v%d.4s}, [x%d], #4", r, base)
}
func (a *assembler) repeat2(r v, base x) {
	a.word(0x4ddfc400|uint32(base)<<5|uint32(r), "ld1r {v%d.8h}, [x%d], #2", r, base)
}
