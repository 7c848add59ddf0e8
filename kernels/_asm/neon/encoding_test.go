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

// Every hand-encoded word must decode to the text beside it. The committed output is what is checked, by binutils' decoder.
func TestWordsDecodeToTheirComments(t *testing.T) {
	objdump, err := exec.LookPath("aarch64-linux-gnu-objdump")
	if err != nil {
		t.Skip("aarch64-linux-gnu-objdump (Debian: binutils-aarch64-linux-gnu) is not installed")
	}
	source, err := os.ReadFile("../../neon_arm64.s")
	if err != nil {
		t.Fatal(err)
	}
	var words []byte
	var want []string
	for _, m := range regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.*)`).FindAllStringSubmatch(string(source), -1) {
		w, _ := strconv.ParseUint(m[1], 16, 32)
		words = binary.LittleEndian.AppendUint32(words, uint32(w))
		want = append(want, m[2])
	}
	file := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(file, words, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "aarch64", "-z", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t[0-9a-f]{8} \t(.*)$`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, m[1])
	}
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%d words, %d decoded", len(want), len(got))
	}
	plain := strings.NewReplacer("\t", " ", ", #0]", "]")
	for i := range want {
		if g, w := plain.Replace(got[i]), plain.Replace(want[i]); g != w {
			t.Errorf("word %d is %q, its comment says %q", i, g, w)
		}
	}
}
