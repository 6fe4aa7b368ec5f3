//go:build !amd64

package main

// call32: 32-bit calls need code in another instruction set here.
func call32(uint32) int32 { return -1 }
