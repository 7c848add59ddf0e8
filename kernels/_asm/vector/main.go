// Command vector generates the elementwise, reducing and converting kernels.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	. "github.com/mmconv/mmconv/kernels/_asm/simd"
)

func main() {
	ConstraintExpr("amd64")
	for _, m := range Targets {
		binaries(m)
		affines(m)
		activations(m)
		normalize(m)
		reductions(m)
		softmax(m)
		halves(m)
		depthwise(m)
		rotary(m)
	}
	Generate()
}

// kernel starts a function whose slices are given by their first numbers.
func kernel(m *ISA, name, args, doc string) {
	TEXT(name+m.Name, NOSPLIT, "func("+args+")")
	Doc(fmt.Sprintf("%s%s: %s", name, m.Name, doc))
	Pragma("noescape")
}

func param(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// broadcast loads a float32 argument into every lane.
func broadcast(m *ISA, name string) reg.VecVirtual {
	r := m.Reg()
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(a.Addr, r)
	return r
}

func finish() {
	VZEROUPPER()
	RET()
}

func binaries(m *ISA) {
	for _, op := range []struct {
		name, sign string
		emit       func(...Op)
	}{{"add", "a[i] + b[i]", VADDPS}, {"sub", "a[i] - b[i]", VSUBPS}, {"mul", "a[i] * b[i]", VMULPS}, {"div", "a[i] / b[i]", VDIVPS},
		{"max", "max(a[i], b[i])", VMAXPS}, {"min", "min(a[i], b[i])", VMINPS}} {
		kernel(m, op.name, "dst, a, b *float32, n int", "dst[i] = "+op.sign)
		dst, a, b, n := param("dst"), param("a"), param("b"), param("n")
		m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
			x, y := load(a), load(b)
			r := m.Do(op.emit, y, x)
			if op.name == "max" || op.name == "min" {
				r = m.Select(Unordered, x, x, x, r) // the instruction drops a NaN of the first operand
			}
			store(r, dst)
		})
		finish()
	}
}

func affines(m *ISA) {
	kernel(m, "affine", "dst, x *float32, n int, scale, shift float32", "dst[i] = x[i]*scale + shift, rounded once")
	dst, x, n := param("dst"), param("x"), param("n")
	scale, shift := broadcast(m, "scale"), broadcast(m, "shift")
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
		v := load(x)
		VFMADD213PS(shift, scale, v)
		store(v, dst)
	})
	finish()

	kernel(m, "addScaled", "dst, x *float32, n int, scale float32", "dst[i] += x[i] * scale, rounded once")
	dst, x, n = param("dst"), param("x"), param("n")
	scale = broadcast(m, "scale")
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
		d, v := load(dst), load(x)
		VFMADD231PS(v, scale, d)
		store(d, dst)
	})
	finish()

	kernel(m, "multiplyAdd", "dst, x, y, z *float32, n int", "dst[i] = x[i] + y[i]*z[i], rounded once")
	dst, x, n = param("dst"), param("x"), param("n")
	y, z := param("y"), param("z")
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
		d, a, b := load(x), load(y), load(z)
		VFMADD231PS(a, b, d)
		store(d, dst)
	})
	finish()
}

func activations(m *ISA) {
	sparing := *m
	sparing.Sparing = true
	for _, f := range []struct {
		name string
		make func() Map
	}{
		{"exp", m.Exp}, {"erf", sparing.Erf}, {"gelu", m.GELU}, {"geluTanh", m.GELUTanh},
		{"quickGELU", func() Map { return m.Swish(1.702) }}, {"silu", func() Map { return m.Swish(1) }},
		{"sigmoid", m.Sigmoid}, {"tanh", m.Tanh}, {"relu", m.ReLU}, {"squaredReLU", m.SquaredReLU}, {"relu6", m.ReLU6},
		{"hardswish", m.Hardswish}, {"hardsigmoid", m.Hardsigmoid}, {"elu", m.ELU}, {"leakyReLU", m.LeakyReLU},
	} {
		kernel(m, f.name, "dst, x *float32, n int", "dst[i] = "+f.name+"(x[i])")
		dst, x, n := param("dst"), param("x"), param("n")
		compute := f.make()
		m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
			store(compute(load(x)), dst)
		})
		finish()
	}
}

func normalize(m *ISA) {
	for _, v := range []struct {
		name, doc  string
		gain, bias bool
	}{{"normalize", "dst[i] = (x[i]-mean)*inverse + offset", false, false}, {"normalizeGain", "dst[i] = ((x[i]-mean)*inverse + offset) * gain[i]", true, false},
		{"normalizeBias", "dst[i] = (x[i]-mean)*inverse + offset + bias[i]", false, true},
		{"normalizeGainBias", "dst[i] = ((x[i]-mean)*inverse+offset)*gain[i] + bias[i]", true, true}} {
		args := "dst, x *float32, n int, mean, inverse, offset float32"
		if v.gain {
			args += ", gain *float32"
		}
		if v.bias {
			args += ", bias *float32"
		}
		kernel(m, v.name, args, v.doc)
		dst, x, n := param("dst"), param("x"), param("n")
		mean, inverse, offset := broadcast(m, "mean"), broadcast(m, "inverse"), broadcast(m, "offset")
		var gain, bias reg.GPVirtual
		if v.gain {
			gain = param("gain")
		}
		if v.bias {
			bias = param("bias")
		}
		m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
			r := m.Do(VSUBPS, mean, load(x))
			VFMADD213PS(offset, inverse, r)
			switch {
			case v.gain && v.bias:
				b := load(bias)
				VFMADD213PS(b, load(gain), r)
			case v.gain:
				VMULPS(load(gain), r, r)
			case v.bias:
				VADDPS(load(bias), r, r)
			}
			store(r, dst)
		})
		finish()
	}
}

// reductions add up in float64: four running sums of half as many lanes, then the rest one by one.
func reductions(m *ISA) {
	step := m.Lanes / 2
	for _, squared := range []bool{false, true} {
		name, args, doc := "sum", "x *float32, n int", "the sum of x, in float64"
		if squared {
			name, args, doc = "sumSquaredDeviations", "x *float32, n int, mean float32", "the sum of (x-mean)^2, in float64"
		}
		TEXT(name+m.Name, NOSPLIT, "func("+args+") float64")
		Doc(name + m.Name + ": " + doc)
		Pragma("noescape")
		x, n := param("x"), param("n")
		mean := XMM()
		var meanAll reg.VecVirtual
		if squared {
			Load(Param("mean"), mean)
			VCVTSS2SD(mean, mean, mean)
			meanAll = m.Reg()
			VBROADCASTSD(mean, meanAll)
		}
		var acc [4]reg.VecVirtual
		for i := range acc {
			acc[i] = m.Zero()
		}
		one := func(i int) {
			v := m.Reg()
			VCVTPS2PD(Mem{Base: x, Disp: 4 * step * i}, v)
			if squared {
				VSUBPD(meanAll, v, v)
				VFMADD231PD(v, v, acc[i])
			} else {
				VADDPD(v, acc[i], acc[i])
			}
		}
		for _, l := range []struct {
			name  string
			count int
		}{{"wide", 4}, {"narrow", 1}} {
			Label(l.name)
			CMPQ(n, U32(uint32(step*l.count)))
			JL(LabelRef(l.name + "done"))
			for i := range l.count {
				one(i)
			}
			ADDQ(U32(uint32(4*step*l.count)), x)
			SUBQ(U32(uint32(step*l.count)), n)
			JMP(LabelRef(l.name))
			Label(l.name + "done")
		}
		VADDPD(acc[1], acc[0], acc[0])
		VADDPD(acc[3], acc[2], acc[2])
		VADDPD(acc[2], acc[0], acc[0])
		total := fold(m, acc[0], VADDPD, true)
		Label("single")
		TESTQ(n, n)
		JZ(LabelRef("done"))
		v := XMM()
		VMOVSS(Mem{Base: x}, v)
		VCVTSS2SD(v, v, v)
		if squared {
			VSUBSD(mean, v, v)
			VFMADD231SD(v, v, total)
		} else {
			VADDSD(v, total, total)
		}
		ADDQ(Imm(4), x)
		DECQ(n)
		JMP(LabelRef("single"))
		Label("done")
		Store(total, ReturnIndex(0))
		finish()
	}

	TEXT("maximum"+m.Name, NOSPLIT, "func(x *float32, n int) float32")
	Doc("maximum" + m.Name + ": the largest of x, not empty; NaN may be passed over")
	Pragma("noescape")
	x, n := param("x"), param("n")
	best := m.Reg()
	VBROADCASTSS(Mem{Base: x}, best)
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), t *Tail) {
		v := load(x)
		if t != nil {
			v = t.Keep(v, best)
		}
		VMAXPS(best, v, best)
	})
	Store(fold(m, best, VMAXPS, false), ReturnIndex(0))
	finish()
}

// fold joins the lanes of a register by op, halving it each time.
func fold(m *ISA, v reg.VecVirtual, op func(...Op), double bool) reg.VecVirtual {
	half := YMM()
	if m.Wide() {
		VEXTRACTF64X4(Imm(1), v, half)
		op(v.(reg.Vec).AsY(), half, half)
	} else {
		half = v
	}
	x := XMM()
	VEXTRACTF128(Imm(1), half, x)
	op(half.(reg.Vec).AsX(), x, x)
	y := XMM()
	VPERMILPD(Imm(1), x, y)
	op(y, x, x)
	if !double {
		VMOVSHDUP(x, y)
		op(y, x, x)
	}
	return x
}

func softmax(m *ISA) {
	TEXT("expSum"+m.Name, NOSPLIT, "func(dst, x *float32, n int, shift float32) float64")
	Doc("expSum" + m.Name + ": dst[i] = exp(x[i]-shift), and their sum in float64")
	Pragma("noescape")
	dst, x, n := param("dst"), param("x"), param("n")
	shift := broadcast(m, "shift")
	exp := m.Exp()
	low, high, zero := m.Zero(), m.Zero(), m.Zero()
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), t *Tail) {
		e := exp(m.Do(VSUBPS, shift, load(x)))
		store(e, dst)
		if t != nil {
			e = t.Keep(e, zero)
		}
		a, b, h := m.Reg(), m.Reg(), m.Half()
		VCVTPS2PD(m.HalfOf(e), a)
		if m.Wide() {
			VEXTRACTF32X8(Imm(1), e, h)
		} else {
			VEXTRACTF128(Imm(1), e, h)
		}
		VCVTPS2PD(h, b)
		VADDPD(a, low, low)
		VADDPD(b, high, high)
	})
	VADDPD(high, low, low)
	Store(fold(m, low, VADDPD, true), ReturnIndex(0))
	finish()
}

// halves convert whole registers; n is a multiple of Lanes.
func halves(m *ISA) {
	for _, f := range []struct {
		name, args, doc string
		widen           bool
		emit            func(src, dst Mem)
	}{
		{"float16ToFloat32", "dst *float32, src *byte, n int", "dst[i] = float32(src[i]), n a multiple of the register's lanes", true, func(src, dst Mem) {
			v := m.Reg()
			VCVTPH2PS(src, v)
			VMOVUPS(v, dst)
		}},
		{"bfloat16ToFloat32", "dst *float32, src *byte, n int", "dst[i] = float32(src[i]), n a multiple of the register's lanes", true, func(src, dst Mem) {
			v := m.Reg()
			VPMOVZXWD(src, v)
			VPSLLD(Imm(16), v, v)
			VMOVUPS(v, dst)
		}},
		{"float32ToFloat16", "dst *byte, src *float32, n int", "dst[i] = float16(src[i]), ties to even, n a multiple of the register's lanes", false, func(src, dst Mem) {
			v := m.Copy(src)
			VCVTPS2PH(Imm(0), v, dst)
		}},
		{"float32ToBFloat16", "dst *byte, src *float32, n int", "dst[i] = bfloat16(src[i]), ties to even, n a multiple of the register's lanes", false, nil},
	} {
		kernel(m, f.name, f.args, f.doc)
		dst, src, n := param("dst"), param("src"), param("n")
		emit := f.emit
		if emit == nil {
			one, round, quiet := m.ConstBits(1), m.ConstBits(0x7fff), m.ConstBits(1<<22)
			emit = func(src, dst Mem) {
				x := m.Copy(src)
				r := m.Reg()
				VPSRLD(Imm(16), x, r)
				VANDPS(one, r, r)
				VPADDD(round, r, r)
				VPADDD(x, r, r)
				nan := m.Reg()
				VORPS(quiet, x, nan)
				r = m.Select(Unordered, x, x, nan, r)
				VPSRLD(Imm(16), r, r)
				if m.Wide() {
					VPMOVDW(r, dst)
					return
				}
				high := XMM()
				VEXTRACTI128(Imm(1), r, high)
				VPACKUSDW(high, r.(reg.Vec).AsX(), high)
				VMOVDQU(high, dst)
			}
		}
		narrow, wide := src, dst
		if !f.widen {
			narrow, wide = dst, src
		}
		i := GP64()
		XORQ(i, i)
		Label("loop")
		CMPQ(i, n)
		JGE(LabelRef("done"))
		half, full := Mem{Base: narrow, Index: i, Scale: 2}, Mem{Base: wide, Index: i, Scale: 4}
		if f.widen {
			emit(half, full)
		} else {
			emit(full, half)
		}
		ADDQ(U32(uint32(m.Lanes)), i)
		JMP(LabelRef("loop"))
		Label("done")
		finish()
	}
}

func depthwise(m *ISA) {
	kernel(m, "depthwise", "out, bias, x, weights *float32, xDown, xRight, wDown, wRight, h, w, n int",
		"out[c] = bias[c] + the sum over i < h, j < w of x[i*xDown+j*xRight+c] * weights[i*wDown+j*wRight+c], c < n")
	out, bias, x, weights, n := param("out"), param("bias"), param("x"), param("weights"), param("n")
	block := func(label string, count int, tail *Tail) {
		acc := make([]reg.VecVirtual, count)
		for v := range acc {
			acc[v] = m.Reg()
			if tail != nil {
				tail.Load(Mem{Base: bias}, acc[v])
			} else {
				VMOVUPS(Mem{Base: bias, Disp: v * m.Bytes()}, acc[v])
			}
		}
		rowX, rowW, rows := GP64(), GP64(), GP64()
		MOVQ(x, rowX)
		MOVQ(weights, rowW)
		Load(Param("h"), rows)
		Label(label + "rows")
		px, pw, columns := GP64(), GP64(), GP64()
		MOVQ(rowX, px)
		MOVQ(rowW, pw)
		Load(Param("w"), columns)
		Label(label + "columns")
		for v := range acc {
			a := m.Reg()
			if tail != nil {
				b := m.Reg()
				tail.Load(Mem{Base: px}, a)
				tail.Load(Mem{Base: pw}, b)
				VFMADD231PS(b, a, acc[v])
			} else {
				VMOVUPS(Mem{Base: px, Disp: v * m.Bytes()}, a)
				VFMADD231PS(Mem{Base: pw, Disp: v * m.Bytes()}, a, acc[v])
			}
		}
		step := GP64()
		advance := func(p reg.Register, arg string) {
			Load(Param(arg), step)
			LEAQ(Mem{Base: p, Index: step, Scale: 4}, p)
		}
		advance(px, "xRight")
		advance(pw, "wRight")
		DECQ(columns)
		JNZ(LabelRef(label + "columns"))
		advance(rowX, "xDown")
		advance(rowW, "wDown")
		DECQ(rows)
		JNZ(LabelRef(label + "rows"))
		for v := range acc {
			if tail != nil {
				tail.Store(acc[v], Mem{Base: out})
			} else {
				VMOVUPS(acc[v], Mem{Base: out, Disp: v * m.Bytes()})
			}
		}
	}
	for _, count := range []int{4, 1} {
		label := fmt.Sprintf("blocks%d", count)
		Label(label)
		CMPQ(n, U32(uint32(count*m.Lanes)))
		JL(LabelRef(label + "done"))
		block(label, count, nil)
		for _, p := range []reg.GPVirtual{out, bias, x, weights} {
			ADDQ(U32(uint32(count*m.Bytes())), p)
		}
		SUBQ(U32(uint32(count*m.Lanes)), n)
		JMP(LabelRef(label))
		Label(label + "done")
	}
	TESTQ(n, n)
	JZ(LabelRef("done"))
	t := m.Tail(n)
	block("tail", 1, &t)
	Label("done")
	finish()
}

func rotary(m *ISA) {
	kernel(m, "rotateHalves", "lo, hi, cos, sin *float32, half int",
		"lo[i], hi[i] = lo[i]*cos[i] - hi[i]*sin[i], hi[i]*cos[half+i] + lo[i]*sin[half+i]")
	lo, hi, cos, sin, half := param("lo"), param("hi"), param("cos"), param("sin"), param("half")
	cos2, sin2 := GP64(), GP64()
	LEAQ(Mem{Base: cos, Index: half, Scale: 4}, cos2)
	LEAQ(Mem{Base: sin, Index: half, Scale: 4}, sin2)
	m.Stream(half, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
		p, q := load(lo), load(hi)
		a := m.Do(VMULPS, q, load(sin))
		VFMSUB231PS(load(cos), p, a)
		b := m.Do(VMULPS, p, load(sin2))
		VFMADD231PS(load(cos2), q, b)
		store(a, lo)
		store(b, hi)
	})
	finish()

	kernel(m, "rotatePairs", "x, cos, sin *float32, n int",
		"x[i], x[i+1] = x[i]*cos[i] - x[i+1]*sin[i], x[i+1]*cos[i+1] + x[i]*sin[i+1] for even i < n")
	x, cos, sin, n := param("x"), param("cos"), param("sin"), param("n")
	m.Stream(n, "", func(load func(reg.Register) reg.VecVirtual, store func(reg.VecVirtual, reg.Register), _ *Tail) {
		v := load(x)
		swapped := m.Reg()
		VPERMILPS(Imm(0xb1), v, swapped)
		VMULPS(load(sin), swapped, swapped)
		VFMADDSUB213PS(swapped, load(cos), v)
		store(v, x)
	})
	finish()
}
