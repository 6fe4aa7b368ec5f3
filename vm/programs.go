package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hostPrograms are what the tests run of a host: the guest gets those that this
// one has, with their libraries. Without sh it would be no host, and the tests
// would skip what they try with its programs in view.
var hostPrograms = []string{"sh", "cat", "cp", "chmod", "cut", "dd", "echo", "env", "false", "find", "getconf", "grep", "head", "id", "kill", "ln", "ls", "mkdir", "mktemp", "mount",
	"mkfs.ext4", "mkfs.xfs", "mv", "nproc", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "seq", "setsid", "sleep", "sort", "stat", "tail", "tee", "test", "touch", "tr", "true", "ulimit", "uname", "wc", "xargs"}

// hostFiles returns the files of the host's programs, as they stand here: with
// the symbolic links on the way, so that /bin is what it is on this host.
func hostFiles() ([]file, error) {
	h := host{have: map[string]bool{}}
	for _, name := range hostPrograms {
		program, err := look(name)
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, dir := range []string{"/bin", "/usr/bin"} { // the one may be a link to the other
			if path := filepath.Join(dir, name); exists(path) {
				program = path
				h.add(path)
			}
		}
		h.add(program)
		libraries, err := librariesOf(program)
		if err != nil {
			return nil, err
		}
		for _, l := range libraries {
			h.add(l)
		}
	}
	if !h.have["/bin/sh"] && !h.have["/usr/bin/sh"] {
		return nil, errors.New("this host has no sh, which tests in the guest run")
	}
	if _, err := look("mkfs.ext4"); err != nil {
		return nil, errors.New("this host has no mkfs.ext4, with which tests in the guest make file systems: install e2fsprogs")
	}
	if exists("/etc/ld.so.cache") {
		h.add("/etc/ld.so.cache")
	}
	return h.files, h.err
}

// look finds a program, also of those that are not in an ordinary user's PATH.
func look(name string) (string, error) {
	program, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); err != nil && exists(path) {
			return path, nil
		}
	}
	return program, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// librariesOf lists the shared libraries of a program, the loader included.
func librariesOf(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	var paths []string
	for word := range strings.FieldsSeq(string(out)) {
		if filepath.IsAbs(word) {
			paths = append(paths, word)
		}
	}
	return paths, nil
}

// host collects files of the host.
type host struct {
	files []file
	have  map[string]bool
	err   error
}

// maxLinks bounds the symbolic links that are followed for one file, as the kernel does.
const maxLinks = 40

// add adds a file and the symbolic links that lead to it.
func (h *host) add(path string) {
	for range maxLinks {
		next, err := h.link(path)
		if err != nil {
			h.err = errors.Join(h.err, err)
			return
		}
		if next == "" {
			if !h.have[path] {
				h.have[path] = true
				h.files = append(h.files, file{path: path, source: path, mode: 0o755})
			}
			return
		}
		path = next
	}
	h.err = errors.Join(h.err, fmt.Errorf("%s: too many symbolic links", path))
}

// link adds the first symbolic link on the way to path, and returns where the
// path leads by it; "" if there is none.
func (h *host) link(path string) (string, error) {
	at := "/"
	parts := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(at)
		if err != nil {
			return "", err
		}
		if !h.have[at] {
			h.have[at] = true
			h.files = append(h.files, file{path: at, link: target})
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(at), target)
		}
		return filepath.Join(append([]string{target}, parts[i+1:]...)...), nil
	}
	return "", nil
}
