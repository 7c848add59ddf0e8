package kernels

//go:generate go -C _asm run ./gemm -out ../gemm_amd64.s -stubs ../gemm_stubs_amd64.go -pkg kernels

import (
	"golang.org/x/sys/cpu"
)

func init() {
	floats512 := gemmKernels{
		floatRows: 14, floatCols: 32, float: floatTileAVX512, packRows: packRowsAVX2,
		int8Floats: int8FloatsAVX512, int4Floats: int4FloatsAVX512,
	}
	vnni := floats512
	vnni.intRows, vnni.intCols, vnni.kStep, vnni.form = 14, 32, 4, formUint8
	vnni.integer, vnni.int4 = channelTileAVX512VNNI, int4AVX512VNNI
	vnni.groupRows, vnni.group = 7, groupTileAVX512VNNI
	vnni.fewRows, vnni.few = 6, fewTileAVX512VNNI
	gemmSets[AVX512VNNI] = &vnni

	words := floats512
	words.intRows, words.intCols, words.kStep, words.form = 14, 32, 2, formInt16
	words.integer, words.int4 = channelTileAVX512, int4AVX512
	words.groupRows, words.group = 6, groupTileAVX512
	gemmSets[AVX512] = &words

	avx2 := gemmKernels{
		floatRows: 6, floatCols: 16, float: floatTileAVX2, packRows: packRowsAVX2,
		int8Floats: int8FloatsAVX2, int4Floats: int4FloatsAVX2,
		intRows: 6, intCols: 16, kStep: 2, form: formInt16, integer: integerTileAVX2, int4: int4AVX2,
	}
	gemmSets[AVX2] = &avx2

	vex := avx2
	vex.kStep, vex.form, vex.integer, vex.int4 = 4, formUint8, integerTileAVXVNNI, int4AVXVNNI
	if !cpu.X86.HasAVXVNNI {
		vex.integer = integerTileAVX512VL
	}
	gemmSets[AVXVNNI] = &vex
}

var floatTilesAVX512 = [...]func(*tile){
	1: floatTileAVX512_1, 2: floatTileAVX512_2, 3: floatTileAVX512_3, 4: floatTileAVX512_4, 5: floatTileAVX512_5, 6: floatTileAVX512_6,
	7: floatTileAVX512_7, 8: floatTileAVX512_8, 9: floatTileAVX512_9, 10: floatTileAVX512_10, 11: floatTileAVX512_11,
	12: floatTileAVX512_12, 13: floatTileAVX512_13, 14: floatTileAVX512_14,
}

var floatTilesAVX2 = [...]func(*tile){
	1: floatTileAVX2_1, 2: floatTileAVX2_2, 3: floatTileAVX2_3, 4: floatTileAVX2_4, 5: floatTileAVX2_5, 6: floatTileAVX2_6,
}

var channelTilesAVX512VNNI = [...]func(*tile){
	1: channelTileAVX512VNNI_1, 2: channelTileAVX512VNNI_2, 3: channelTileAVX512VNNI_3, 4: channelTileAVX512VNNI_4, 5: channelTileAVX512VNNI_5,
	6: channelTileAVX512VNNI_6, 7: channelTileAVX512VNNI_7, 8: channelTileAVX512VNNI_8, 9: channelTileAVX512VNNI_9, 10: channelTileAVX512VNNI_10,
	11: channelTileAVX512VNNI_11, 12: channelTileAVX512VNNI_12, 13: channelTileAVX512VNNI_13, 14: channelTileAVX512VNNI_14,
}

var channelTilesAVX512 = [...]func(*tile){
	1: channelTileAVX512_1, 2: channelTileAVX512_2, 3: channelTileAVX512_3, 4: channelTileAVX512_4, 5: channelTileAVX512_5,
	6: channelTileAVX512_6, 7: channelTileAVX512_7, 8: channelTileAVX512_8, 9: channelTileAVX512_9, 10: channelTileAVX512_10,
	11: channelTileAVX512_11, 12: channelTileAVX512_12, 13: channelTileAVX512_13, 14: channelTileAVX512_14,
}

var groupTilesAVX512VNNI = [...]func(*tile){
	1: groupTileAVX512VNNI_1, 2: groupTileAVX512VNNI_2, 3: groupTileAVX512VNNI_3, 4: groupTileAVX512VNNI_4,
	5: groupTileAVX512VNNI_5, 6: groupTileAVX512VNNI_6, 7: groupTileAVX512VNNI_7,
}

var fewTilesAVX512VNNI = [...]func(*tile){
	1: fewTileAVX512VNNI_1, 2: fewTileAVX512VNNI_2, 3: fewTileAVX512VNNI_3, 4: fewTileAVX512VNNI_4, 5: fewTileAVX512VNNI_5, 6: fewTileAVX512VNNI_6,
}

var groupTilesAVX512 = [...]func(*tile){
	1: groupTileAVX512_1, 2: groupTileAVX512_2, 3: groupTileAVX512_3, 4: groupTileAVX512_4, 5: groupTileAVX512_5, 6: groupTileAVX512_6,
}

var integerTilesAVX512VL = [...]func(*tile){
	1: integerTileAVX512VL_1, 2: integerTileAVX512VL_2, 3: integerTileAVX512VL_3, 4: integerTileAVX512VL_4, 5: integerTileAVX512VL_5, 6: integerTileAVX512VL_6,
}

var integerTilesAVXVNNI = [...]func(*tile){
	1: integerTileAVXVNNI_1, 2: integerTileAVXVNNI_2, 3: integerTileAVXVNNI_3, 4: integerTileAVXVNNI_4, 5: integerTileAVXVNNI_5, 6: integerTileAVXVNNI_6,
}

var integerTilesAVX2 = [...]func(*tile){
	1: integerTileAVX2_1, 2: integerTileAVX2_2, 3: integerTileAVX2_3, 4: integerTileAVX2_4, 5: integerTileAVX2_5, 6: integerTileAVX2_6,
}

func floatTileAVX512(t *tile)       { floatTilesAVX512[t.rows](t) }
func floatTileAVX2(t *tile)         { floatTilesAVX2[t.rows](t) }
func channelTileAVX512VNNI(t *tile) { channelTilesAVX512VNNI[t.rows](t) }
func channelTileAVX512(t *tile)     { channelTilesAVX512[t.rows](t) }
func integerTileAVX512VL(t *tile)   { integerTilesAVX512VL[t.rows](t) }
func integerTileAVXVNNI(t *tile)    { integerTilesAVXVNNI[t.rows](t) }
func integerTileAVX2(t *tile)       { integerTilesAVX2[t.rows](t) }
func groupTileAVX512VNNI(t *tile)   { groupTilesAVX512VNNI[t.rows](t) }
func fewTileAVX512VNNI(t *tile)     { fewTilesAVX512VNNI[t.rows](t) }
func groupTileAVX512(t *tile)       { groupTilesAVX512[t.rows](t) }

// packRowsAVX2 moves blocks of four rows; the last overlaps the one before it where rows is not a multiple of four.
func packRowsAVX2(dst, a []float32, lda, rows, k int) {
	if rows < 4 || k < 4 {
		packRowsGeneric(dst, a, lda, rows, k)
		return
	}
	_, _ = dst[rows*k-1], a[(rows-1)*lda+k-1]
	for r := 0; r < rows; r += 4 {
		r = min(r, rows-4)
		transpose4AVX2(&dst[r], &a[r*lda], rows*4, lda*4, k/4)
	}
	for i := k &^ 3; i < k; i++ {
		for r := range rows {
			dst[i*rows+r] = a[r*lda+i]
		}
	}
}
