package kernels

// Rotary turns pairs of numbers by an angle that depends on the position (Su et al., arXiv:2104.09864). The pairs of a head
// are neighbours (0,1), (2,3), … if Interleaved, else the two halves (0, Dim/2), (1, Dim/2+1), ….
type Rotary struct {
	// Dim is how many leading numbers of each head are turned; it is even.
	Dim         int
	Interleaved bool
	// Cos and Sin are [positions, Dim]: a value for each number of the head, as the original implementations tabulate them.
	Cos, Sin []float32
}

// Apply turns heads of the rows r0 to r1-1 of batch b of x, in place, row r by the angles of position r-offset. Rows before
// offset, such as class tokens, are left alone.
func (t *Rotary) Apply(x Heads, b, heads, offset, r0, r1 int) {
	half := t.Dim / 2
	if half == 0 {
		return
	}
	for r := max(r0, offset); r < r1; r++ {
		cos, sin := t.Cos[(r-offset)*t.Dim:][:t.Dim], t.Sin[(r-offset)*t.Dim:][:t.Dim]
		for h := range heads {
			v := x.at(b, r, h)[:t.Dim]
			if t.Interleaved {
				if rotatePairsVector(v, cos, sin) {
					continue
				}
				for i := 0; i < len(v); i += 2 {
					p, q := v[i], v[i+1]
					v[i] = p*cos[i] - q*sin[i]
					v[i+1] = q*cos[i+1] + p*sin[i+1]
				}
				continue
			}
			lo, hi := v[:half], v[half:]
			if rotateHalvesVector(lo, hi, cos, sin) {
				continue
			}
			for i, p := range lo {
				q := hi[i]
				lo[i] = p*cos[i] - q*sin[i]
				hi[i] = q*cos[half+i] + p*sin[half+i]
			}
		}
	}
}
