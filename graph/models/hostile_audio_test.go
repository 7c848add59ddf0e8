package models

import "testing"

// TestHostileCLAP does the same to CLAP's towers and namings.
func TestHostileCLAP(t *testing.T) {
	for _, name := range []string{"clap-hf-fused-long-sharded", "clap-laion-unfused", "clap-msclap-2022-cnn14"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostile(t, name)
		})
	}
}
