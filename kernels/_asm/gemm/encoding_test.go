package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func committed(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile("../../gemm_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// The VEX form of VPDPBUSD is emitted as bytes, which must decode to the comment before them.
func TestBytesDecodeToTheirComments(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("objdump (Debian: binutils) is not installed")
	}
	var code []byte
	var want []string
	for _, m := range regexp.MustCompile(`// VPDPBUSD Y(\d+), Y(\d+), Y(\d+)\n\tLONG +\$0x([0-9a-f]{8})\n\tBYTE +\$0x([0-9a-f]{2})`).FindAllStringSubmatch(committed(t), -1) {
		word, _ := strconv.ParseUint(m[4], 16, 32)
		last, _ := strconv.ParseUint(m[5], 16, 8)
		code = append(binary.LittleEndian.AppendUint32(code, uint32(word)), byte(last))
		want = append(want, "%ymm"+m[1]+",%ymm"+m[2]+",%ymm"+m[3])
	}
	file := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(file, code, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "i386:x86-64", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	decoded := regexp.MustCompile(`(?m)\{vex\} vpdpbusd (\S+)$`).FindAllStringSubmatch(string(out), -1)
	if len(decoded) != len(want) || len(want) == 0 {
		t.Fatalf("%d instructions, %d decoded", len(want), len(decoded))
	}
	for i, d := range decoded {
		if d[1] != want[i] {
			t.Errorf("instruction %d is of %s, its comment says %s", i, d[1], want[i])
		}
	}
}

// A kernel uses no more of the instruction set than its name promises, which is what is checked before it is called.
func TestKernelsKeepToTheirInstructionSet(t *testing.T) {
	allowed := map[string]string{
		"AVX2":       "AVX AVX2 FMA3 SSE SSE2",
		"AVXVNNI":    "AVX AVX2 FMA3 SSE SSE2",
		"AVX512VL":   "AVX AVX2 FMA3 SSE SSE2 AVX512F AVX512VL AVX512VNNI",
		"AVX512":     "AVX AVX2 FMA3 SSE SSE2 AVX512F AVX512BW AVX512DQ AVX512VL",
		"AVX512VNNI": "AVX AVX2 FMA3 SSE SSE2 AVX512F AVX512BW AVX512DQ AVX512VL AVX512VNNI",
	}
	functions := regexp.MustCompile(`(?m)^// Requires: (.*)\nTEXT ·([A-Za-z0-9]*?)(AVX2|AVXVNNI|AVX512VL|AVX512VNNI|AVX512)(_\d+)?\(`).FindAllStringSubmatch(committed(t), -1)
	if len(functions) < 80 {
		t.Fatalf("found only %d functions", len(functions))
	}
	for _, f := range functions {
		for _, needs := range strings.Split(f[1], ", ") {
			if !strings.Contains(" "+allowed[f[3]]+" ", " "+needs+" ") && needs != "MMX+" {
				t.Errorf("%s%s%s needs %s", f[2], f[3], f[4], needs)
			}
		}
	}
}
