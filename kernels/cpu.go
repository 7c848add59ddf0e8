package kernels

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// ISA is an instruction set that kernels are written for. Larger values of one architecture include the smaller ones.
type ISA uint8

const (
	// Portable is plain Go.
	Portable ISA = iota
	// AVX2 needs AVX2, FMA and F16C.
	AVX2
	// AVXVNNI adds VPDPBUSD on 256-bit registers.
	AVXVNNI
	// AVX512 needs AVX-512 F, BW, DQ and VL.
	AVX512
	// AVX512VNNI adds VPDPBUSD on 512-bit registers.
	AVX512VNNI
	// NEON is baseline arm64.
	NEON
	// NEONDot adds SDOT and UDOT (Armv8.2 DotProd).
	NEONDot
)

var isaNames = [...]string{"portable", "avx2", "avxvnni", "avx512", "avx512vnni", "neon", "neondot"}

// String returns the name that MMCONV_ISA takes.
func (i ISA) String() string { return isaNames[i] }

// ParseISA returns the instruction set of that name.
func ParseISA(name string) (ISA, error) {
	i := slices.Index(isaNames[:], strings.ToLower(name))
	if i < 0 {
		return 0, fmt.Errorf("MMCONV_ISA=%s: no such instruction set; known: %s", name, strings.Join(isaNames[:], ", "))
	}
	return ISA(i), nil
}

// available lists what this processor has, best first; it always ends with Portable.
var available = append(detect(), Portable)

var active atomic.Uint32

// isaError is what was wrong with MMCONV_ISA, reported by [CheckISA] so that a program can end with one clear line.
var isaError error

func init() {
	active.Store(uint32(available[0]))
	if name := os.Getenv("MMCONV_ISA"); name != "" {
		isa, err := ParseISA(name)
		if err == nil {
			err = SetISA(isa)
		}
		isaError = err
	}
}

// CheckISA returns what was wrong with the environment variable MMCONV_ISA, if anything.
func CheckISA() error { return isaError }

// Available returns the instruction sets of this processor that kernels exist for, best first.
func Available() []ISA { return slices.Clone(available) }

// Active returns the instruction set in use.
func Active() ISA { return ISA(active.Load()) }

// SetISA forces an instruction set. Weights packed before it keep the layout of the set they were packed for, so it is
// to be called before anything is packed; tests call it once for each set.
func SetISA(isa ISA) error {
	if !slices.Contains(available, isa) {
		return fmt.Errorf("instruction set %s: this processor has %v", isa, available)
	}
	active.Store(uint32(isa))
	return nil
}
