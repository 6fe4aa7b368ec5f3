//go:build linux

package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// hoarded are mappings whose descriptors and references are gone.
var hoarded [][]byte

// hoard maps a descriptor and closes it.
func hoard(fd int) error {
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err == nil {
		hoarded = append(hoarded, b)
	}
	unix.Close(fd)
	return err
}

func unhoard() {
	for _, b := range hoarded {
		unix.Munmap(b)
	}
	hoarded = nil
}

// hoards makes or redeems an object, maps it, and drops it, so that only the mapping is left.
func hoards(how string, args ...string) error {
	got, err := orders[how](args)
	if err != nil {
		return err
	}
	var ref string
	var fd int
	if _, err := fmt.Sscan(got, &ref, &fd); err != nil {
		return err
	}
	if err := hoard(fd); err != nil {
		return err
	}
	_, err = orders["dropref"]([]string{ref})
	return err
}

func init() {
	// hoardmaps COUNT OBJECT [unmap]: keeps the mappings, or not, until one more is
	// refused. "done COUNT WHY".
	orders["hoardmaps"] = func(args []string) (string, error) {
		for n := range number(args[0]) {
			if err := hoards("make", args[1], "4096"); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
			if strings.Join(args[2:], " ") == "unmap" {
				unhoard()
			}
		}
		return args[0], nil
	}
	// hoardgiven ID END: keeps the mapping of what is redeemed.
	orders["hoardgiven"] = func(args []string) (string, error) { return "", hoards("redeem", args...) }
	orders["unhoard"] = func([]string) (string, error) { unhoard(); return "", nil }
}
