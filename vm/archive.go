package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// A file of the RAM disk: either source is read from the host, or data is
// written, or it is a symbolic link.
type file struct {
	path   string
	source string
	data   []byte
	link   string // where a symbolic link leads
	mode   uint32 // permission bits
}

// writeArchive writes files as a cpio archive of the "newc" form
// (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's
// source). Directories are made as needed.
func writeArchive(w io.Writer, files []file) error {
	a := archive{w: bufio.NewWriter(w), made: map[string]bool{".": true}}
	for _, f := range files {
		data := f.data
		if f.source != "" {
			var err error
			if data, err = os.ReadFile(f.source); err != nil {
				return err
			}
		}
		name := strings.TrimPrefix(path.Clean(f.path), "/")
		a.directories(path.Dir(name))
		if f.link != "" {
			a.entry(name, 0o120777, []byte(f.link))
			continue
		}
		a.entry(name, 0o100000|f.mode, data)
	}
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

type archive struct {
	w     *bufio.Writer
	made  map[string]bool
	inode int
	err   error
}

func (a *archive) directories(name string) {
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.directories(path.Dir(name))
	a.entry(name, 0o040755, nil)
}

func (a *archive) entry(name string, mode uint32, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.write([]byte(header), []byte(name), []byte{0})
	a.pad(len(header) + len(name) + 1)
	a.write(data)
	a.pad(len(data))
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad(n int) { a.write(make([]byte, -n&3)) }

func (a *archive) write(parts ...[]byte) {
	for _, p := range parts {
		if _, err := a.w.Write(p); err != nil && a.err == nil {
			a.err = err
		}
	}
}
