//go:build linux

// Hostile is a program that tries to get out of its domain, or to harm others
// from inside. The tests of package redteam run it in a domain and, as a
// control, where the defence is missing.
//
// Usage: hostile ORDER [ARG...]. It prints a line that begins with "done" if
// the attack took effect, and with "refused: " and the reason if not.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An act tries one attack. It returns what it achieved, or why it did not.
type act func(args []string) (string, error)

var acts = map[string]act{}

// order makes an attack known by a name, which must be new: of two with one
// name only the later one would ever be tried.
func order(name string, f act) {
	if acts[name] != nil {
		panic("two orders named " + name)
	}
	acts[name] = f
}

func main() {
	runtime.LockOSThread() // what belongs to a thread, tracing for one, stays on this one
	if len(os.Args) < 2 || acts[os.Args[1]] == nil {
		fmt.Println("unknown order", os.Args)
		os.Exit(2)
	}
	got, err := acts[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Printf("refused: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("done %s\n", got)
}

// kept is what the kernel is given addresses of.
var kept []any

// text is the address of a C string.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// at is the address of a value.
func at[T any](p *T) uintptr {
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

// call makes a system call with up to six arguments.
func call(nr uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, e := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if e != 0 {
		return r, e
	}
	return r, nil
}

// only is for an attack that is all in one system call.
func only(nr uintptr, args ...uintptr) (string, error) {
	_, err := call(nr, args...)
	return "", err
}

// beyond turns an error that the kernel gives only after it has judged the
// caller's rights into success. It is for calls that must not take effect
// where they would be allowed, as they would harm the whole machine.
func beyond(err error, own ...unix.Errno) (string, error) {
	for _, o := range own {
		if err == o {
			return "the kernel judged the rights and went on: " + o.Error(), nil
		}
	}
	return "", err
}

// errNothing: all calls went well, and nothing was gained.
var errNothing = errors.New("nothing gained")

func number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		fmt.Println("bad argument", s)
		os.Exit(2)
	}
	return int(n)
}

// here is the working directory for calls that take a directory.
const here = ^uintptr(99) // AT_FDCWD, -100
