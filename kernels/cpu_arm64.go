package kernels

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

func detect() []ISA {
	// Every Apple arm64 processor has DotProd; x/sys/cpu reads the flags on Linux and Windows only in part.
	if cpu.ARM64.HasASIMDDP || runtime.GOOS == "darwin" {
		return []ISA{NEONDot, NEON}
	}
	return []ISA{NEON}
}
