package main

import (
	"fmt"
	"math"
	"strings"
)

// Go's arm64 assembler lacks most vector arithmetic, so that instructions are emitted as words, each with its text in
// ARM's syntax beside it. Encodings are from the Arm Architecture Reference Manual, section C7.2.

// v is a vector register.
type v int

// x is a general register.
type x int

// assembler collects the output files and hands out the vector registers of the function at hand.
type assembler struct {
	asm, stubs strings.Builder
	used       [32]bool
	constants  []uint32
	table      string
	name       string
	offset     map[string]int // of parameters in the frame
	bytes      int            // of the frame
}

func (a *assembler) line(format string, args ...any) { fmt.Fprintf(&a.asm, "\t"+format+"\n", args...) }
func (a *assembler) label(l string)                  { fmt.Fprintf(&a.asm, "\n%s:\n", l) }
func (a *assembler) word(w uint32, format string, args ...any) {
	a.line("WORD $0x%08x // %s", w, fmt.Sprintf(format, args...))
}

// reg takes a free register.
func (a *assembler) reg() v {
	for i, used := range a.used {
		if !used {
			a.used[i] = true
			return v(i)
		}
	}
	panic(a.name + ": out of vector registers")
}

func (a *assembler) free(rs ...v) {
	for _, r := range rs {
		if !a.used[r] {
			panic(a.name + ": register freed twice")
		}
		a.used[r] = false
	}
}

// constant loads a number into every lane of a new register. All constants come before the first use of R8.
func (a *assembler) constant(f float64) v { return a.bits(math.Float32bits(float32(f))) }

func (a *assembler) bits(word uint32) v {
	if len(a.constants) == 0 {
		a.table = a.name + "Constants"
		a.line("MOVD $%s<>(SB), R8", a.table)
	}
	a.constants = append(a.constants, word)
	r := a.reg()
	a.word(0x4ddfc800|8<<5|uint32(r), "ld1r {v%d.4s}, [x8], #4", r)
	return r
}

func (a *assembler) constantList(fs ...float64) (rs []v) {
	for _, f := range fs {
		rs = append(rs, a.constant(f))
	}
	return rs
}

// begin starts a function; args is its Go parameter list, result its result type or nothing.
func (a *assembler) begin(name, args, result, doc string) {
	a.name, a.constants, a.used, a.offset = name, nil, [32]bool{}, map[string]int{}
	params := strings.Split(args, ", ")
	types := make([]string, len(params))
	for i := len(params) - 1; i >= 0; i-- {
		if at := strings.IndexByte(params[i], ' '); at >= 0 {
			params[i], types[i] = params[i][:at], params[i][at+1:]
		} else {
			types[i] = types[i+1]
		}
	}
	size := map[string]int{"float32": 4, "": 0}
	place := func(name, kind string) (end int) {
		n, ok := size[kind]
		if !ok {
			n = 8
		}
		at := a.bytes
		if n > 4 || name == "ret" && n > 0 {
			at = (at + 7) &^ 7
		}
		a.offset[name] = at
		return at + n
	}
	a.bytes = 0
	for i, p := range params {
		a.bytes = place(p, types[i])
	}
	a.bytes = place("ret", result)
	fmt.Fprintf(&a.asm, "\n// func %s(%s) %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, args, result, name, a.bytes)
	fmt.Fprintf(&a.stubs, "\n// %s: %s\n//\n//go:noescape\nfunc %s(%s) %s\n", name, doc, name, args, result)
}

// params loads parameters that are pointers or integers into R0, R1, …
func (a *assembler) params(names ...string) (rs []x) {
	for i, name := range names {
		a.line("MOVD %s+%d(FP), R%d", name, a.offset[name], i)
		rs = append(rs, x(i))
	}
	return rs
}

// scalar loads a float32 parameter into every lane.
func (a *assembler) scalar(name string) v {
	r := a.reg()
	a.line("FMOVS %s+%d(FP), F%d", name, a.offset[name], r)
	a.lane0(r, r)
	return r
}

// result stores a register's first number as the function's result.
func (a *assembler) result(move string, r v) { a.line("%s F%d, ret+%d(FP)", move, r, a.offset["ret"]) }

// end returns and writes the function's constants.
func (a *assembler) end() {
	a.line("RET")
	if len(a.constants) > 0 {
		a.asm.WriteString("\n")
		for i, c := range a.constants {
			fmt.Fprintf(&a.asm, "DATA %s<>+%d(SB)/4, $0x%08x\n", a.table, 4*i, c)
		}
		fmt.Fprintf(&a.asm, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n", a.table, 4*len(a.constants))
	}
}

// Three-register instructions on four float32 lanes, or 128 bits.
func (a *assembler) three(op uint32, name, lanes string, d, n, m v) {
	a.word(op|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s v%d.%s, v%d.%s, v%d.%s", name, d, lanes, n, lanes, m, lanes)
}

func (a *assembler) fadd(d, n, m v)  { a.three(0x4e20d400, "fadd", "4s", d, n, m) }
func (a *assembler) fsub(d, n, m v)  { a.three(0x4ea0d400, "fsub", "4s", d, n, m) }
func (a *assembler) fmul(d, n, m v)  { a.three(0x6e20dc00, "fmul", "4s", d, n, m) }
func (a *assembler) fdiv(d, n, m v)  { a.three(0x6e20fc00, "fdiv", "4s", d, n, m) }
func (a *assembler) fmax(d, n, m v)  { a.three(0x4e20f400, "fmax", "4s", d, n, m) }
func (a *assembler) fmin(d, n, m v)  { a.three(0x4ea0f400, "fmin", "4s", d, n, m) }
func (a *assembler) fmla(d, n, m v)  { a.three(0x4e20cc00, "fmla", "4s", d, n, m) }
func (a *assembler) fmls(d, n, m v)  { a.three(0x4ea0cc00, "fmls", "4s", d, n, m) }
func (a *assembler) fcmeq(d, n, m v) { a.three(0x4e20e400, "fcmeq", "4s", d, n, m) }
func (a *assembler) add(d, n, m v)   { a.three(0x4ea08400, "add", "4s", d, n, m) }
func (a *assembler) sub(d, n, m v)   { a.three(0x6ea08400, "sub", "4s", d, n, m) }
func (a *assembler) and(d, n, m v)   { a.three(0x4e201c00, "and", "16b", d, n, m) }
func (a *assembler) orr(d, n, m v)   { a.three(0x4ea01c00, "orr", "16b", d, n, m) }
func (a *assembler) eor(d, n, m v)   { a.three(0x6e201c00, "eor", "16b", d, n, m) }
func (a *assembler) bsl(d, n, m v)   { a.three(0x6e601c00, "bsl", "16b", d, n, m) }
func (a *assembler) faddD(d, n, m v) { a.three(0x4e60d400, "fadd", "2d", d, n, m) }
func (a *assembler) fsubD(d, n, m v) { a.three(0x4ee0d400, "fsub", "2d", d, n, m) }
func (a *assembler) fmlaD(d, n, m v) { a.three(0x4e60cc00, "fmla", "2d", d, n, m) }
func (a *assembler) trn1(d, n, m v)  { a.three(0x4e802800, "trn1", "4s", d, n, m) }
func (a *assembler) trn2(d, n, m v)  { a.three(0x4e806800, "trn2", "4s", d, n, m) }
func (a *assembler) trn1D(d, n, m v) { a.three(0x4ec02800, "trn1", "2d", d, n, m) }
func (a *assembler) trn2D(d, n, m v) { a.three(0x4ec06800, "trn2", "2d", d, n, m) }

// Two-register instructions; text has the place of d and n.
func (a *assembler) two(op uint32, text string, d, n v) {
	a.word(op|uint32(n)<<5|uint32(d), text, d, n)
}

func (a *assembler) fabs(d, n v)   { a.two(0x4ea0f800, "fabs v%d.4s, v%d.4s", d, n) }
func (a *assembler) fneg(d, n v)   { a.two(0x6ea0f800, "fneg v%d.4s, v%d.4s", d, n) }
func (a *assembler) frintn(d, n v) { a.two(0x4e218800, "frintn v%d.4s, v%d.4s", d, n) }
func (a *assembler) fcvtns(d, n v) { a.two(0x4e21a800, "fcvtns v%d.4s, v%d.4s", d, n) }
func (a *assembler) mov(d, n v) {
	a.word(0x4ea01c00|uint32(n)<<16|uint32(n)<<5|uint32(d), "mov v%d.16b, v%d.16b", d, n)
}

// widen converts two float32 lanes, the lower or the upper ones, to float64.
func (a *assembler) widen(d, n v, upper bool) {
	if upper {
		a.two(0x4e617800, "fcvtl2 v%d.2d, v%d.4s", d, n)
	} else {
		a.two(0x0e617800, "fcvtl v%d.2d, v%d.2s", d, n)
	}
}

func (a *assembler) shl(d, n v, s uint32)  { a.shift(0x4f005400|(32+s)<<16, "shl", d, n, s) }
func (a *assembler) sshr(d, n v, s uint32) { a.shift(0x4f000400|(64-s)<<16, "sshr", d, n, s) }
func (a *assembler) ushr(d, n v, s uint32) { a.shift(0x6f000400|(64-s)<<16, "ushr", d, n, s) }
func (a *assembler) shift(op uint32, name string, d, n v, s uint32) {
	a.word(op|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.4s, #%d", name, d, n, s)
}

// zero clears a new register.
func (a *assembler) zero() v {
	r := a.reg()
	a.eor(r, r, r)
	return r
}

// Loads and stores of 4, 8 or 16 bytes at a pointer plus a multiple of the size.
func (a *assembler) memory(op uint32, name, class string, size int, r v, base x, offset int) {
	if offset%size != 0 || offset/size > 4095 {
		panic("offset out of range")
	}
	a.word(op|uint32(offset/size)<<10|uint32(base)<<5|uint32(r), "%s %s%d, [x%d, #%d]", name, class, r, base, offset)
}

func (a *assembler) load(r v, base x, offset int) {
	a.memory(0x3dc00000, "ldr", "q", 16, r, base, offset)
}
func (a *assembler) store(r v, base x, offset int) {
	a.memory(0x3d800000, "str", "q", 16, r, base, offset)
}
func (a *assembler) load8(r v, base x, offset int) {
	a.memory(0xfd400000, "ldr", "d", 8, r, base, offset)
}
func (a *assembler) store8(r v, base x, offset int) {
	a.memory(0xfd000000, "str", "d", 8, r, base, offset)
}
func (a *assembler) load4(r v, base x, offset int) {
	a.memory(0xbd400000, "ldr", "s", 4, r, base, offset)
}
func (a *assembler) store4(r v, base x, offset int) {
	a.memory(0xbd000000, "str", "s", 4, r, base, offset)
}

// repeat loads one float32 into every lane.
func (a *assembler) repeat(r v, base x) {
	a.word(0x4d40c800|uint32(base)<<5|uint32(r), "ld1r {v%d.4s}, [x%d]", r, base)
}

// lane0 copies the first lane into every lane.
func (a *assembler) lane0(d, n v) {
	a.word(0x4e040400|uint32(n)<<5|uint32(d), "dup v%d.4s, v%d.s[0]", d, n)
}
