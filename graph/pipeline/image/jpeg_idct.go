package imageproc

// The constants of the accurate integer DCT (libjpeg-turbo jidctint.c, after Loeffler, Ligtenberg and Moschytz 1989), with 13
// fractional bits; between the passes two bits more than the samples have are kept.
const (
	fix0298631336 = 2446
	fix0390180644 = 3196
	fix0541196100 = 4433
	fix0765366865 = 6270
	fix0899976223 = 7373
	fix1175875602 = 9633
	fix1501321110 = 12299
	fix1847759065 = 15137
	fix1961570560 = 16069
	fix2053119869 = 16819
	fix2562915447 = 20995
	fix3072711026 = 25172

	idctBits  = 13
	pass1Bits = 2
)

// idct undoes the quantization and the DCT of a block and writes its samples, 0 to 255.
func idct(dst []uint8, stride int, block *[64]int16, quant *[64]int32) {
	var ws [64]int32
	for x := range 8 {
		c0 := int32(block[x]) * quant[x]
		if block[8+x]|block[16+x]|block[24+x]|block[32+x]|block[40+x]|block[48+x]|block[56+x] == 0 {
			v := c0 << pass1Bits
			for y := 0; y < 64; y += 8 {
				ws[y+x] = v
			}
			continue
		}
		o := idct8([8]int32{c0, int32(block[8+x]) * quant[8+x], int32(block[16+x]) * quant[16+x], int32(block[24+x]) * quant[24+x],
			int32(block[32+x]) * quant[32+x], int32(block[40+x]) * quant[40+x], int32(block[48+x]) * quant[48+x], int32(block[56+x]) * quant[56+x]})
		const shift = idctBits - pass1Bits
		for y := range 8 {
			ws[8*y+x] = (o[y] + 1<<(shift-1)) >> shift
		}
	}
	const shift = idctBits + pass1Bits + 3
	for y := range 8 {
		row := ws[8*y : 8*y+8 : 8*y+8]
		out := dst[y*stride : y*stride+8 : y*stride+8]
		o := idct8([8]int32{row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]})
		for x, v := range o {
			out[x] = clip8((v+1<<(shift-1))>>shift + 128)
		}
	}
}

// idct8 is the transform of eight numbers, times 2^13.
func idct8(in [8]int32) (out [8]int32) {
	z1 := (in[2] + in[6]) * fix0541196100
	t2 := z1 - in[6]*fix1847759065
	t3 := z1 + in[2]*fix0765366865
	t0 := (in[0] + in[4]) << idctBits
	t1 := (in[0] - in[4]) << idctBits
	t10, t13, t11, t12 := t0+t3, t0-t3, t1+t2, t1-t2

	a0, a1, a2, a3 := in[7], in[5], in[3], in[1]
	b1, b2, b3, b4 := a0+a3, a1+a2, a0+a2, a1+a3
	b5 := (b3 + b4) * fix1175875602
	a0 *= fix0298631336
	a1 *= fix2053119869
	a2 *= fix3072711026
	a3 *= fix1501321110
	b1 *= -fix0899976223
	b2 *= -fix2562915447
	b3 = b3*-fix1961570560 + b5
	b4 = b4*-fix0390180644 + b5
	a0 += b1 + b3
	a1 += b2 + b4
	a2 += b2 + b3
	a3 += b1 + b4
	return [8]int32{t10 + a3, t11 + a2, t12 + a1, t13 + a0, t13 - a0, t12 - a1, t11 - a2, t10 - a3}
}
