//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// object asks the monitor for an instance. "done REFERENCE DESCRIPTOR".
func object(c abi.Control) (string, error) {
	a, err := ask(c)
	if err := granted(a, err); err != nil {
		return "", err
	}
	if a.Op != abi.OpObject || len(a.fds) != 1 {
		return "", fmt.Errorf("answer %d with %d descriptors", a.Op, len(a.fds))
	}
	return fmt.Sprint(a.Handle, " ", a.fds[0]), nil
}

// at is the block of an end of this domain, or, as +N, any block.
func at(s string) (uint32, error) {
	if n, ok := strings.CutPrefix(s, "+"); ok {
		return uint32(number(n)), nil
	}
	e, err := nth(s)
	return e.at, err
}

// breaking are the ways to write by a descriptor for reading.
var breaking = []struct {
	name string
	try  func(fd int) error
}{
	{"hole", func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}},
	{"write", func(fd int) error { _, err := unix.Pwrite(fd, []byte("hostile"), 0); return err }},
	{"map", func(fd int) error {
		return scrawl(unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	}},
	{"mprotect", func(fd int) error {
		b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err == nil {
			err = unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE)
		}
		return scrawl(b, err)
	}},
	{"reopen", reopen},
	{"chmod", func(fd int) error { return errors.Join(unix.Fchmod(fd, 0o666), reopen(fd)) }},
	{"size", func(fd int) error { return unix.Ftruncate(fd, 8192) }},
	{"copy", func(fd int) error {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], 0); err != nil {
			return err
		}
		unix.Write(pipe[1], []byte("hostile"))
		_, err := unix.Splice(pipe[0], nil, fd, nil, 7, 0)
		return err
	}},
}

func scrawl(b []byte, err error) error {
	if err == nil {
		copy(b, "hostile")
		unix.Munmap(b)
	}
	return err
}

func reopen(fd int) error {
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(again)
	_, err = unix.Pwrite(again, []byte("hostile"), 0)
	return err
}

func init() {
	// make OBJECT SIZE
	orders["make"] = func(args []string) (string, error) {
		return object(abi.Control{Op: abi.OpMake, Name: args[0], Size: uint64(number(args[1]))})
	}
	// openobject OBJECT ACCESS
	orders["openobject"] = func(args []string) (string, error) {
		return object(abi.Control{Op: abi.OpOpenObject, Name: args[0], Access: uint8(number(args[1]))})
	}
	// offer REFERENCE END ACCESS: "done ID".
	orders["offer"] = func(args []string) (string, error) {
		block, err := at(args[1])
		if err != nil {
			return "", err
		}
		a, err := ask(abi.Control{Op: abi.OpOffer, Handle: uint64(number(args[0])), Block: block, Access: uint8(number(args[2]))})
		return fmt.Sprint(a.Handle), granted(a, err)
	}
	// offers COUNT REFERENCE END ACCESS: until one is refused. "done COUNT WHY".
	orders["offers"] = func(args []string) (string, error) {
		for n := range number(args[0]) {
			if _, err := orders["offer"](args[1:]); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
		return args[0], nil
	}
	// opens COUNT OBJECT ACCESS: likewise.
	orders["opens"] = func(args []string) (string, error) {
		for n := range number(args[0]) {
			if _, err := orders["openobject"](args[1:]); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
		return args[0], nil
	}
	// redeem ID END
	orders["redeem"] = func(args []string) (string, error) {
		block, err := at(args[1])
		if err != nil {
			return "", err
		}
		return object(abi.Control{Op: abi.OpRedeem, Handle: uint64(number(args[0])), Block: block})
	}
	orders["retract"] = func(args []string) (string, error) {
		block, err := at(args[1])
		if err != nil {
			return "", err
		}
		return "", granted(ask(abi.Control{Op: abi.OpRetract, Handle: uint64(number(args[0])), Block: block}))
	}
	orders["dropref"] = func(args []string) (string, error) {
		return "", granted(ask(abi.Control{Op: abi.OpDrop, Handle: uint64(number(args[0]))}))
	}
	// block END: its number on the page.
	orders["block"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		return fmt.Sprint(e.at), err
	}
	// breakin DESCRIPTOR: the ways by which it can be written.
	orders["breakin"] = func(args []string) (string, error) {
		var by []string
		for _, b := range breaking {
			if b.try(number(args[0])) == nil {
				by = append(by, b.name)
			}
		}
		if len(by) == 0 {
			return "", errors.New("by no way")
		}
		return strings.Join(by, " "), nil
	}
	// look DESCRIPTOR: text up to a zero.
	orders["look"] = func(args []string) (string, error) {
		b := make([]byte, 4096)
		n, err := unix.Pread(number(args[0]), b, 0)
		s, _, _ := strings.Cut(string(b[:max(n, 0)]), "\x00")
		return s, err
	}
	// sendfd END DESCRIPTOR: with a message, as descriptors travel.
	orders["sendfd"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.Sendmsg(e.fd, []byte("x"), unix.UnixRights(number(args[1])), nil, 0)
	}
}
