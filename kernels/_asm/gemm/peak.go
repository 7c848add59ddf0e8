package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peak runs an instruction on as many independent accumulators as there are registers for: what the unit can do at best.
func (t *target) peak(name, does string, chains, perChain int, emit func(acc, tmp reg.VecPhysical)) {
	function(name+t.name, "n int", "repeats "+does+" n times.")
	n := reg.RCX
	Load(Param("n"), n)
	for i := range t.registers() {
		t.zero(t.v(i))
	}
	Label("loop")
	for i := range chains {
		emit(t.v(t.registers()-1-i), t.v(2+i%perChain))
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	finish()
}

func (t *target) peaks() {
	a, b := t.v(0), t.v(1)
	chains := t.registers() - 4
	if !t.zmm {
		chains = 12
	}
	if t.dot {
		t.peak("peakInteger", "a dot product of bytes on each of the accumulators", chains, 1, func(acc, _ reg.VecPhysical) { t.dpbusd(a, b, acc) })
		return
	}
	t.peak("peakFloat", "a multiply-add on each of the accumulators", chains, 1, func(acc, _ reg.VecPhysical) { VFMADD231PS(a, b, acc) })
	t.peak("peakInteger", "a multiplication of words and an addition on each of the accumulators", chains-2, 4, func(acc, tmp reg.VecPhysical) {
		if !t.zmm {
			tmp = t.v(2)
		}
		VPMADDWD(a, b, tmp)
		VPADDD(tmp, acc, acc)
	})
}

// read loads memory in streams streams of equal length, and does nothing else.
func (t *target) read(streams int, name string) {
	function(name+t.name, "p *byte, n int", "reads n bytes, a multiple of 256 for each stream.")
	p, n, step := reg.RSI, reg.RCX, reg.RBX
	Load(Param("p"), p)
	Load(Param("n"), n)
	sum := func(i int) reg.VecPhysical { return t.v(i) }
	for i := range 4 {
		t.zero(sum(i))
	}
	MOVQ(n, step)
	if streams == 4 {
		SHRQ(Imm(2), step)
	}
	MOVQ(step, n)
	LEAQ(Mem{Base: step, Index: step, Scale: 2}, reg.RDX)
	Label("loop")
	for s := range streams {
		for i := 0; i < 256/streams/t.size()*streams; i++ {
			m := at(p, i*t.size())
			switch s {
			case 1, 2:
				m.Index, m.Scale = step, uint8(s)
			case 3:
				m.Index, m.Scale = reg.RDX, 1
			}
			if t.zmm {
				VPORD(m, sum(i%4), sum(i%4))
			} else {
				VPOR(m, sum(i%4), sum(i%4))
			}
		}
	}
	ADDQ(imm(256), p)
	SUBQ(imm(256), n)
	JNZ(LabelRef("loop"))
	finish()
}
