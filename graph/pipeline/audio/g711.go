package audio

// The two companding laws of telephony (ITU-T G.711), as the 16-bit value of each byte divided by 32768.
var aLaw, muLaw = g711()

func g711() (a, mu [256]float32) {
	for i := range 256 {
		// A-law: even bits are inverted; sign, three bits of exponent, four of mantissa.
		x := i ^ 0x55
		m, e := x&15, x>>4&7
		v := m<<4 + 8
		if e > 0 {
			v = (v + 256) << (e - 1)
		}
		if x&128 == 0 {
			v = -v
		}
		a[i] = float32(v) / 32768

		// mu-law: all bits are inverted, and a bias of 33 (132 in 16 bits) is taken off.
		x = ^i & 255
		v = (x&15<<3+132)<<(x>>4&7) - 132
		if x&128 != 0 {
			v = -v
		}
		mu[i] = float32(v) / 32768
	}
	return a, mu
}
