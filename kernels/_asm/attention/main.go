// Command attention generates the blocked attention's kernels. A register holds one number for each of several queries, so
// that the softmax needs no sums across lanes and keys and values are read where they lie.
package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	. "github.com/mmconv/mmconv/kernels/_asm/simd"
)

// maxVectors is how many registers of queries a block has; the rows of its matrices are always that long.
const maxVectors = 3

func main() {
	ConstraintExpr("amd64")
	for _, m := range Targets {
		for vectors := 1; vectors <= maxVectors; vectors++ {
			product(m, vectors)
			softmax(m, vectors)
		}
	}
	transpose()
	Generate()
}

func start(name, args, doc string) {
	TEXT(name, NOSPLIT, "func("+args+")")
	Doc(strings.Split(name+": "+doc, "\n")...)
	Pragma("noescape")
}

func param(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// product multiplies a strided matrix by a block of queries. The numbers of the former are broadcast one by one, each used
// for all queries, 8 (AVX2: 4) rows at a time.
func product(m *ISA, vectors int) {
	row := maxVectors * m.Bytes()
	start(fmt.Sprintf("attentionProduct%d%s", vectors, m.Name), "c, a, b *float32, rows, depth, aRow, aDepth int, scale *float32",
		fmt.Sprintf("c[i*%[1]d+q] = c[i*%[1]d+q]*scale[q] + the sum over j < depth of a[i*aRow+j*aDepth] * b[j*%[1]d+q]\n"+
			"for i < rows and q < %d; without scale, c is not read.", row/4, vectors*m.Lanes))
	c, a, b, rows := param("c"), param("a"), param("b"), param("rows")
	aRow, aDepth := param("aRow"), param("aDepth")
	SHLQ(Imm(2), aRow)
	SHLQ(Imm(2), aDepth)
	aRow3 := GP64()
	LEAQ(Mem{Base: aRow, Index: aRow, Scale: 2}, aRow3)
	tiles := []int{8, 4, 1}
	if !m.Wide() {
		tiles = tiles[1:]
	}
	for _, height := range tiles {
		l := fmt.Sprintf("tile%d", height)
		Label(l)
		CMPQ(rows, U32(uint32(height)))
		JL(LabelRef(l + "done"))
		acc := make([][]reg.VecVirtual, height)
		for i := range acc {
			for range vectors {
				acc[i] = append(acc[i], m.Reg())
			}
		}
		cell := func(i, v int) Mem { return Mem{Base: c, Disp: i*row + v*m.Bytes()} }
		scale := param("scale")
		TESTQ(scale, scale)
		JZ(LabelRef(l + "zero"))
		for v := range vectors {
			s := m.Copy(Mem{Base: scale, Disp: v * m.Bytes()})
			for i := range acc {
				VMULPS(cell(i, v), s, acc[i][v])
			}
		}
		JMP(LabelRef(l + "start"))
		Label(l + "zero")
		for i := range acc {
			for v := range vectors {
				VXORPS(acc[i][v], acc[i][v], acc[i][v])
			}
		}
		Label(l + "start")
		pa, pb, left := GP64(), GP64(), param("depth")
		MOVQ(a, pa)
		MOVQ(b, pb)
		Label(l + "loop")
		x := m.Reg()
		var in [maxVectors]reg.VecVirtual
		for v := range vectors {
			in[v] = m.Copy(Mem{Base: pb, Disp: v * m.Bytes()})
		}
		from := pa
		for i := range acc {
			if i == 4 {
				from = GP64()
				LEAQ(Mem{Base: pa, Index: aRow, Scale: 4}, from)
			}
			at := []Mem{{Base: from}, {Base: from, Index: aRow, Scale: 1}, {Base: from, Index: aRow, Scale: 2}, {Base: from, Index: aRow3, Scale: 1}}[i%4]
			VBROADCASTSS(at, x)
			for v := range vectors {
				VFMADD231PS(in[v], x, acc[i][v])
			}
		}
		ADDQ(aDepth, pa)
		ADDQ(U32(uint32(row)), pb)
		DECQ(left)
		JNZ(LabelRef(l + "loop"))
		for i := range acc {
			for v := range vectors {
				VMOVUPS(acc[i][v], cell(i, v))
			}
		}
		step := GP64()
		IMUL3Q(U32(uint32(height)), aRow, step)
		ADDQ(step, a)
		ADDQ(U32(uint32(height*row)), c)
		SUBQ(U32(uint32(height)), rows)
		JMP(LabelRef(l))
		Label(l + "done")
	}
	VZEROUPPER()
	RET()
}

// softmax takes the running softmax over one more block of scores.
func softmax(m *ISA, vectors int) {
	row := maxVectors * m.Bytes()
	start(fmt.Sprintf("attentionSoftmax%d%s", vectors, m.Name), "scores, largest, sum, scale *float32, keys int",
		fmt.Sprintf("for q < %d, with m = max(largest[q], scores[k*%d+q] over k < keys):\n"+
			"scale[q] = exp(largest[q]-m), scores[…] = exp(scores[…]-m), sum[q] = sum[q]*scale[q] + the sum of those, largest[q] = m.\n"+
			"What is below 2^-149 becomes zero; largest must be finite.", vectors*m.Lanes, row/4))
	scores, largest, sum, scale, keys := param("scores"), param("largest"), param("sum"), param("scale"), param("keys")
	var top, total [maxVectors]reg.VecVirtual
	for v := range vectors {
		top[v] = m.Copy(Mem{Base: largest, Disp: v * m.Bytes()})
	}
	p, left := GP64(), GP64()
	loop := func(label string, body func()) {
		MOVQ(scores, p)
		MOVQ(keys, left)
		Label(label)
		body()
		ADDQ(U32(uint32(row)), p)
		DECQ(left)
		JNZ(LabelRef(label))
	}
	loop("largest", func() {
		for v := range vectors {
			VMAXPS(Mem{Base: p, Disp: v * m.Bytes()}, top[v], top[v])
		}
	})
	exp2, log2e, lowest := m.Exp2(true), m.Const(1.44269504088896341), m.ConstReg(-150)
	exp := func(x reg.VecVirtual) reg.VecVirtual {
		x = m.Do(VMULPS, log2e, x)
		return exp2(m.Do(VMAXPS, x, lowest))
	}
	for v := range vectors {
		at := Mem{Base: largest, Disp: v * m.Bytes()}
		s := exp(m.Do(VSUBPS, top[v], m.Copy(at)))
		VMOVUPS(top[v], at)
		VMOVUPS(s, Mem{Base: scale, Disp: v * m.Bytes()})
		total[v] = m.Do(VMULPS, Mem{Base: sum, Disp: v * m.Bytes()}, s)
	}
	loop("exponentials", func() {
		for v := range vectors {
			at := Mem{Base: p, Disp: v * m.Bytes()}
			e := exp(m.Do(VSUBPS, top[v], m.Copy(at)))
			VMOVUPS(e, at)
			VADDPS(e, total[v], total[v])
		}
	})
	for v := range vectors {
		VMOVUPS(total[v], Mem{Base: sum, Disp: v * m.Bytes()})
	}
	VZEROUPPER()
	RET()
}

// transpose works on blocks of 8 x 8, which serve both targets.
func transpose() {
	start("transposeAVX2", "dst, src, scale *float32, dstRow, srcRow, rows, cols int",
		"dst[c*dstRow+r] = src[r*srcRow+c] * scale[c] for r < rows, c < cols, both multiples of 8")
	dst, src, dstRow, srcRow, rows := param("dst"), param("src"), param("dstRow"), param("srcRow"), param("rows")
	SHLQ(Imm(2), dstRow)
	SHLQ(Imm(2), srcRow)
	dstRow3, srcRow3 := GP64(), GP64()
	LEAQ(Mem{Base: dstRow, Index: dstRow, Scale: 2}, dstRow3)
	LEAQ(Mem{Base: srcRow, Index: srcRow, Scale: 2}, srcRow3)
	eight := func(base, stride, stride3 reg.Register) (at [8]Mem) {
		upper := GP64()
		LEAQ(Mem{Base: base, Index: stride, Scale: 4}, upper)
		for i := range at {
			b := base
			if i >= 4 {
				b = upper
			}
			at[i] = []Mem{{Base: b}, {Base: b, Index: stride, Scale: 1}, {Base: b, Index: stride, Scale: 2}, {Base: b, Index: stride3, Scale: 1}}[i%4]
		}
		return at
	}
	Label("rows")
	TESTQ(rows, rows)
	JZ(LabelRef("done"))
	from, to, factor, left := GP64(), GP64(), param("scale"), param("cols")
	MOVQ(src, from)
	MOVQ(dst, to)
	Label("cols")
	TESTQ(left, left)
	JZ(LabelRef("colsdone"))
	in := eight(from, srcRow, srcRow3)
	s := YMM()
	VMOVUPS(Mem{Base: factor}, s)
	var t, u [8]reg.VecVirtual
	for i := 0; i < 8; i += 2 {
		a, b := YMM(), YMM()
		VMULPS(in[i], s, a)
		VMULPS(in[i+1], s, b)
		t[i], t[i+1] = YMM(), YMM()
		VUNPCKLPS(b, a, t[i])
		VUNPCKHPS(b, a, t[i+1])
	}
	for i := 0; i < 8; i += 4 {
		for j := range 2 {
			u[i+2*j], u[i+2*j+1] = YMM(), YMM()
			VSHUFPS(Imm(0x44), t[i+2+j], t[i+j], u[i+2*j])
			VSHUFPS(Imm(0xee), t[i+2+j], t[i+j], u[i+2*j+1])
		}
	}
	out := eight(to, dstRow, dstRow3)
	for i := range 4 {
		a, b := YMM(), YMM()
		VPERM2F128(Imm(0x20), u[i+4], u[i], a)
		VPERM2F128(Imm(0x31), u[i+4], u[i], b)
		VMOVUPS(a, out[i])
		VMOVUPS(b, out[i+4])
	}
	ADDQ(Imm(32), from)
	ADDQ(Imm(32), factor)
	LEAQ(Mem{Base: to, Index: dstRow, Scale: 8}, to)
	SUBQ(Imm(8), left)
	JMP(LabelRef("cols"))
	Label("colsdone")
	LEAQ(Mem{Base: src, Index: srcRow, Scale: 8}, src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), rows)
	JMP(LabelRef("rows"))
	Label("done")
	VZEROUPPER()
	RET()
}
