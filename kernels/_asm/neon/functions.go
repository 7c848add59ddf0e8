package main

// The polynomials are those of package simd, which says how good they are. A function made here holds its constants in
// registers and replaces its argument by the result.

func (a *assembler) horner(in v, c []v) v {
	p, t := a.reg(), a.reg()
	a.mov(p, c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		a.mov(t, c[i])
		a.fmla(t, p, in)
		p, t = t, p
	}
	a.free(t)
	return p
}

// scaler multiplies p by 2^n in two steps, so that denormal results and infinity are right; n is spent.
func (a *assembler) scaler() func(p, n v) {
	lowest, bias := a.constant(-252), a.bits(127)
	return func(p, n v) {
		half := a.reg()
		a.fmax(n, n, lowest)
		a.fcvtns(n, n)
		a.sshr(half, n, 1)
		a.sub(n, n, half)
		for _, f := range []v{half, n} {
			a.add(f, f, bias)
			a.shl(f, f, 23)
			a.fmul(p, p, f)
		}
		a.free(half)
	}
}

func (a *assembler) exp() func(in v) {
	highest, lowest, log2e, hi, lo := a.constant(89), a.constant(-104), a.constant(1.44269504088896341), a.constant(0.693359375), a.constant(-2.12194440e-4)
	q := a.constantList(1, 1, 0.499999931, 0.166665148, 0.0416684568, 0.00836941904, 0.00138131424)
	scale := a.scaler()
	return func(in v) {
		n := a.reg()
		a.fmin(in, in, highest)
		a.fmax(in, in, lowest)
		a.fmul(n, in, log2e)
		a.frintn(n, n)
		a.fmls(in, n, hi)
		a.fmls(in, n, lo)
		p := a.horner(in, q)
		scale(p, n)
		a.mov(in, p)
		a.free(n, p)
	}
}

func (a *assembler) exp2(c ...float64) func(in v) {
	q := a.constantList(c...)
	scale := a.scaler()
	return func(in v) {
		n := a.reg()
		a.frintn(n, in)
		a.fsub(in, in, n)
		p := a.horner(in, q)
		scale(p, n)
		a.mov(in, p)
		a.free(n, p)
	}
}

func (a *assembler) gelu() func(in v) {
	limit, zero := a.constant(100), a.zero()
	q := a.constantList(-1, -1.15110473, -0.459215724, -0.0524573194, 0.00697063462, -1.90301831e-05, -0.000270827651,
		7.40261621e-05, -1.05790536e-05, 8.25825694e-07, -2.76895063e-08)
	exp2 := a.exp2(1, 0.693147204, 0.240226477, 0.0555032935, 0.00961844997, 0.00134001706, 0.00015352316)
	return func(in v) {
		t := a.reg()
		a.fabs(t, in)
		a.fmin(t, t, limit)
		p := a.horner(t, q)
		exp2(p)
		a.fmax(in, in, zero)
		a.fmls(in, t, p)
		a.free(t, p)
	}
}

// logistic replaces u by x / (1 + e^u).
func (a *assembler) logistic() func(in, u v) {
	exp, one := a.exp(), a.constant(1)
	return func(in, u v) {
		exp(u)
		a.fadd(u, u, one)
		a.fdiv(u, in, u)
	}
}

func (a *assembler) swish(slope float64) func(in v) {
	logistic, s := a.logistic(), a.constant(-slope)
	return func(in v) {
		u := a.reg()
		a.fmul(u, in, s)
		logistic(in, u)
		a.mov(in, u)
		a.free(u)
	}
}

func (a *assembler) sigmoid() func(in v) {
	logistic, one := a.logistic(), a.constant(1)
	return func(in v) {
		a.fneg(in, in)
		logistic(one, in)
	}
}

func (a *assembler) geluTanh() func(in v) {
	logistic, c, d := a.logistic(), a.constant(-2*0.7978845608028654), a.constant(-2*0.7978845608028654*0.044715)
	return func(in v) {
		u := a.reg()
		a.fmul(u, in, in)
		a.fmul(u, u, d)
		a.fadd(u, u, c)
		a.fmul(u, u, in)
		logistic(in, u)
		a.mov(in, u)
		a.free(u)
	}
}

func (a *assembler) tanh() func(in v) {
	low, high, one := a.constant(-9.02), a.constant(9.02), a.constant(1)
	p := a.constantList(0.99999994, 0.129179996, 0.00291944045, 9.25537103e-06, -1.27444577e-08, 1.81638705e-11)
	q := a.constantList(1, 0.462512826, 0.0237577598, 0.00022791757)
	return func(in v) {
		s, minusOne := a.reg(), a.reg()
		a.fmin(in, in, high)
		a.fmax(in, in, low)
		a.fmul(s, in, in)
		over := a.horner(s, p)
		under := a.horner(s, q)
		a.fmul(in, in, over)
		a.fdiv(in, in, under)
		a.fneg(minusOne, one)
		a.fmin(in, in, one)
		a.fmax(in, in, minusOne)
		a.free(s, minusOne, over, under)
	}
}
