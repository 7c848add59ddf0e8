package kernels

import "golang.org/x/sys/cpu"

func detect() (isas []ISA) {
	x := &cpu.X86
	if !(x.HasAVX2 && x.HasFMA) {
		return nil
	}
	wide := x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL
	if wide {
		if x.HasAVX512VNNI {
			isas = append(isas, AVX512VNNI)
		}
		isas = append(isas, AVX512)
	}
	// The 256-bit VPDPBUSD is encoded as EVEX where AVX-512 VL and VNNI are there and as VEX where AVX-VNNI is.
	if x.HasAVXVNNI || wide && x.HasAVX512VNNI {
		isas = append(isas, AVXVNNI)
	}
	return append(isas, AVX2)
}
