//go:build !linux

package main

// watchMemory is not measured on this system.
func watchMemory() (stop func() float64) { return func() float64 { return 0 } }
