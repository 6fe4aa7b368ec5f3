package main

// call32 makes a system call without arguments the 32-bit way.
func call32(nr uint32) int32
