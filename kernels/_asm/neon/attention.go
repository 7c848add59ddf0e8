package main

import "fmt"

// The blocked attention's kernels, as the generator for amd64 describes them, with four queries in a register.

const vectors = 3

func attention(a *assembler) {
	for n := 1; n <= vectors; n++ {
		product(a, n)
		attentionSoftmax(a, n)
	}
	transpose(a)
}

func product(a *assembler, n int) {
	const row = 16 * vectors
	a.begin(fmt.Sprintf("attentionProduct%dNEON", n), "c, a, b *float32, rows, depth, aRow, aDepth int, scale *float32", "",
		fmt.Sprintf("c[i*12+q] = c[i*12+q]*scale[q] + the sum over j < depth of a[i*aRow+j*aDepth] * b[j*12+q]\n// for i < rows and q < %d; without scale, c is not read.", 4*n))
	p := a.params("c", "a", "b", "rows", "depth", "aRow", "aDepth", "scale")
	c, left, scale := p[0], p[3], p[7]
	a.line("LSL $2, R5, R5")
	a.line("LSL $2, R6, R6")
	for _, height := range []int{8, 4, 1} {
		l := func(s string) string { return fmt.Sprintf("%s%d", s, height) }
		a.label(l("tile"))
		a.line("CMP $%d, R%d", height, left)
		a.line("BLT %s", l("done"))
		acc := make([][vectors]v, height)
		for i := range acc {
			for j := range n {
				acc[i][j] = a.reg()
			}
		}
		a.line("CBZ R%d, %s", scale, l("zero"))
		for j := range n {
			s := a.reg()
			a.load(s, scale, 16*j)
			for i := range acc {
				a.load(acc[i][j], c, i*row+16*j)
				a.fmul(acc[i][j], acc[i][j], s)
			}
			a.free(s)
		}
		a.line("B %s", l("start"))
		a.label(l("zero"))
		for i := range acc {
			for j := range n {
				a.eor(acc[i][j], acc[i][j], acc[i][j])
			}
		}
		a.label(l("start"))
		a.line("MOVD R1, R9")
		a.line("MOVD R2, R10")
		a.line("MOVD R4, R11")
		a.label(l("loop"))
		var in [vectors]v
		for j := range n {
			in[j] = a.reg()
			a.load(in[j], 10, 16*j)
		}
		a.line("MOVD R9, R12")
		for i := range acc {
			s := a.reg()
			a.repeat(s, 12)
			a.line("ADD R5, R12, R12")
			for j := range n {
				a.fmla(acc[i][j], in[j], s)
			}
			a.free(s)
		}
		a.line("ADD R6, R9, R9")
		a.line("ADD $%d, R10, R10", row)
		a.line("SUBS $1, R11, R11")
		a.line("BNE %s", l("loop"))
		for i := range acc {
			for j := range n {
				a.store(acc[i][j], c, i*row+16*j)
				a.free(acc[i][j])
			}
		}
		a.free(in[:n]...)
		a.line("MOVD $%d, R12", height)
		a.line("MADD R12, R1, R5, R1")
		a.line("ADD $%d, R0, R0", height*row)
		a.line("SUB $%d, R%d, R%d", height, left, left)
		a.line("B %s", l("tile"))
		a.label(l("done"))
	}
	a.end()
}

func attentionSoftmax(a *assembler, n int) {
	const row = 16 * vectors
	a.begin(fmt.Sprintf("attentionSoftmax%dNEON", n), "scores, largest, sum, scale *float32, keys int", "",
		fmt.Sprintf("for q < %d, with m = max(largest[q], scores[k*12+q] over k < keys):\n"+
			"// scale[q] = exp(largest[q]-m), scores[…] = exp(scores[…]-m), sum[q] = sum[q]*scale[q] + the sum of those, largest[q] = m.", 4*n))
	p := a.params("scores", "largest", "sum", "scale", "keys")
	scores, largest, sum, scale := p[0], p[1], p[2], p[3]
	log2e, lowest := a.constant(1.44269504088896341), a.constant(-150)
	exp2 := a.exp2(1, 0.693146965, 0.240222256, 0.0555074681, 0.00967258116, 0.00132633543)
	exp := func(r v) {
		a.fmul(r, r, log2e)
		a.fmax(r, r, lowest)
		exp2(r)
	}
	var top, total [vectors]v
	for j := range n {
		top[j] = a.reg()
		a.load(top[j], largest, 16*j)
	}
	loop := func(label string, body func()) {
		a.line("MOVD R%d, R9", scores)
		a.line("MOVD R4, R10")
		a.label(label)
		body()
		a.line("ADD $%d, R9, R9", row)
		a.line("SUBS $1, R10, R10")
		a.line("BNE %s", label)
	}
	loop("largest", func() {
		for j := range n {
			r := a.reg()
			a.load(r, 9, 16*j)
			a.fmax(top[j], top[j], r)
			a.free(r)
		}
	})
	for j := range n {
		r := a.reg()
		total[j] = a.reg()
		a.load(r, largest, 16*j)
		a.fsub(r, r, top[j])
		exp(r)
		a.store(top[j], largest, 16*j)
		a.store(r, scale, 16*j)
		a.load(total[j], sum, 16*j)
		a.fmul(total[j], total[j], r)
		a.free(r)
	}
	loop("exponentials", func() {
		for j := range n {
			r := a.reg()
			a.load(r, 9, 16*j)
			a.fsub(r, r, top[j])
			exp(r)
			a.store(r, 9, 16*j)
			a.fadd(total[j], total[j], r)
			a.free(r)
		}
	})
	for j := range n {
		a.store(total[j], sum, 16*j)
	}
	a.end()
}

func transpose(a *assembler) {
	a.begin("transposeNEON", "dst, src, scale *float32, dstRow, srcRow, rows, cols int", "",
		"dst[c*dstRow+r] = src[r*srcRow+c] * scale[c] for r < rows, c < cols, both multiples of 4")
	a.params("dst", "src", "scale", "dstRow", "srcRow", "rows", "cols")
	a.line("LSL $2, R3, R3")
	a.line("LSL $2, R4, R4")
	a.label("rows")
	a.line("CBZ R5, done")
	a.line("MOVD R0, R9")
	a.line("MOVD R1, R10")
	a.line("MOVD R2, R11")
	a.line("MOVD R6, R12")
	a.label("cols")
	a.line("CBZ R12, colsdone")
	var in, t [4]v
	s := a.reg()
	a.load(s, 11, 0)
	a.line("MOVD R10, R13")
	for i := range in {
		in[i], t[i] = a.reg(), a.reg()
		a.load(in[i], 13, 0)
		a.fmul(in[i], in[i], s)
		a.line("ADD R4, R13, R13")
	}
	a.trn1(t[0], in[0], in[1])
	a.trn2(t[1], in[0], in[1])
	a.trn1(t[2], in[2], in[3])
	a.trn2(t[3], in[2], in[3])
	a.trn1D(in[0], t[0], t[2])
	a.trn1D(in[1], t[1], t[3])
	a.trn2D(in[2], t[0], t[2])
	a.trn2D(in[3], t[1], t[3])
	for i := range in {
		a.store(in[i], 9, 0)
		a.line("ADD R3, R9, R9")
	}
	a.line("ADD $16, R10, R10")
	a.line("ADD $16, R11, R11")
	a.line("SUB $4, R12, R12")
	a.line("B cols")
	a.label("colsdone")
	a.line("ADD R4<<2, R1, R1")
	a.line("ADD $16, R0, R0")
	a.line("SUB $4, R5, R5")
	a.line("B rows")
	a.label("done")
	a.end()
}
