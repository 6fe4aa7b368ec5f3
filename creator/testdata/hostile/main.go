//go:build linux

// Hostile is a program that attacks its sandbox. It is run as a domain by the
// tests of package creator, with defences and, as a control, without.
//
// Usage: hostile ATTACK [ARG...]. It prints one line: "done" with details if
// the attack took effect, "refused: …" if not.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"
)

// attacks return what they achieved, or why they did not.
var attacks = map[string]func(args []string) (string, error){}

func main() {
	if len(os.Args) < 2 {
		fmt.Println("refused: no attack named")
		os.Exit(2)
	}
	if os.Args[1] == "list" {
		var names []string
		for n := range attacks {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Println(names)
		return
	}
	f := attacks[os.Args[1]]
	if f == nil {
		fmt.Println("refused: no such attack")
		os.Exit(2)
	}
	got, err := f(os.Args[2:])
	if err != nil {
		fmt.Printf("refused: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("done %s\n", got)
}

// reached turns the result of a system call that was called with nonsense on
// purpose into success if it came as far as the kernel's own checks.
func reached(e unix.Errno, own ...unix.Errno) (string, error) {
	if e == 0 {
		return "", nil
	}
	for _, o := range own {
		if e == o {
			return "the kernel itself answered " + e.Error(), nil
		}
	}
	return "", e
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Println("refused: bad argument", s)
		os.Exit(2)
	}
	return n
}

func init() {
	attacks["idle"] = func([]string) (string, error) {
		fmt.Println("ready")
		var b [1]byte
		_, err := unix.Read(3, b[:])
		return "", err
	}
	attacks["exit"] = func(args []string) (string, error) {
		os.Exit(number(args[0]))
		return "", nil
	}
	attacks["descriptors"] = func([]string) (string, error) {
		var open []int
		for fd := 0; fd < 4096; fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				open = append(open, fd)
			}
		}
		return fmt.Sprint(open), nil
	}
	attacks["environment"] = func([]string) (string, error) {
		groups, err := os.Getgroups()
		if err != nil {
			return "", err
		}
		host, err := os.Hostname()
		if err != nil {
			return "", err
		}
		cwd, err := os.Getwd()
		return fmt.Sprintf("env=%q groups=%v host=%s cwd=%s pid=%d sid=%d", os.Environ(), groups, host, cwd, os.Getpid(), sid()), err
	}
	attacks["usefiles"] = useFiles
}

func sid() int {
	n, err := unix.Getsid(0)
	if err != nil {
		return -1
	}
	return n
}

// useFiles says which of r, w, x each path allows.
func useFiles(args []string) (string, error) {
	out := ""
	for _, name := range args {
		out += " " + name + "="
		if f, err := os.Open(name); err == nil {
			f.Close()
			out += "r"
		}
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			f.Close()
			out += "w"
		}
		if err := os.WriteFile(name+"/made", []byte("x"), 0o600); err == nil {
			out += "c"
			os.Remove(name + "/made")
		}
	}
	return out, nil
}
