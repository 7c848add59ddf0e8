package kernels

import (
	"fmt"
	"slices"
	"strings"
)

// ParseActivation returns the activation of that name, as String gives it.
func ParseActivation(name string) (Activation, error) {
	i := slices.Index(activationNames[:], name)
	if i < 0 {
		return ActNone, fmt.Errorf("no such activation: %q; known: %s", name, strings.Join(activationNames[:], ", "))
	}
	return Activation(i), nil
}

// MarshalText writes the name, so that files hold it.
func (a Activation) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the name.
func (a *Activation) UnmarshalText(b []byte) (err error) {
	*a, err = ParseActivation(string(b))
	return err
}
