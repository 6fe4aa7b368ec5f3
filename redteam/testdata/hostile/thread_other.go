//go:build !amd64

package main

import "errors"

// call32: 32-bit calls need code in another instruction set here.
func call32(uint32) int32 { return -1 }

func sleepingThread(uintptr) error { return errors.New("needs amd64: a thread without Go") }
