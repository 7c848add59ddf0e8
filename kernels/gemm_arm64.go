package kernels

//go:generate go -C _asm run ./gemmneon -out ../gemm_arm64.s -stubs ../gemm_stubs_arm64.go

func init() {
	neon := gemmKernels{
		floatRows: 8, floatCols: 8, float: floatTileNEON, packRows: packRowsGeneric, int8Floats: int8FloatsNEON, int4Floats: int4FloatsNEON,
		intRows: 6, intCols: 16, kStep: 2, form: formInt8, integer: integerTileNEON, int4: int4NEON,
	}
	gemmSets[NEON] = &neon

	dot := neon
	dot.kStep, dot.integer, dot.int4 = 4, integerTileNEONDot, int4NEONDot
	gemmSets[NEONDot] = &dot
}

var floatTilesNEON = [...]func(*tile){
	1: floatTileNEON_1, 2: floatTileNEON_2, 3: floatTileNEON_3, 4: floatTileNEON_4, 5: floatTileNEON_5, 6: floatTileNEON_6, 7: floatTileNEON_7, 8: floatTileNEON_8,
}

var integerTilesNEON = [...]func(*tile){
	1: integerTileNEON_1, 2: integerTileNEON_2, 3: integerTileNEON_3, 4: integerTileNEON_4, 5: integerTileNEON_5, 6: integerTileNEON_6,
}

var integerTilesNEONDot = [...]func(*tile){
	1: integerTileNEONDot_1, 2: integerTileNEONDot_2, 3: integerTileNEONDot_3, 4: integerTileNEONDot_4, 5: integerTileNEONDot_5, 6: integerTileNEONDot_6,
}

func floatTileNEON(t *tile)      { floatTilesNEON[t.rows](t) }
func integerTileNEON(t *tile)    { integerTilesNEON[t.rows](t) }
func integerTileNEONDot(t *tile) { integerTilesNEONDot[t.rows](t) }
