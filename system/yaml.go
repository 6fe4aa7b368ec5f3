package system

import (
	"errors"
	"io/fs"
	"unicode/utf8"

	"ward/diag"
)

// tooLarge refuses a file. One that is a byte too large may be larger still:
// `ward` reads no more of it.
func tooLarge(name string, size int64, at diag.Pos, out *diag.List) {
	if size == MaxFile+1 {
		out.Errorf(at, "split it into several files", "%q has more than %d bytes, which is the limit", name, MaxFile)
		return
	}
	out.Errorf(at, "split it into several files", "%q has %d bytes; the limit is %d", name, size, MaxFile)
}

// ReadText reads a text file of a system directory. What is larger than
// MaxFile, no regular file or not UTF-8 is a finding, and is not returned;
// the size is asked for before anything is read.
func ReadText(fsys fs.FS, name string, at diag.Pos, out *diag.List) ([]byte, bool) {
	info, err := fs.Stat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out.Errorf(at, "", "file %q does not exist", name)
		return nil, false
	case err != nil:
		out.Errorf(at, "", "cannot read %q: %v", name, cause(err))
		return nil, false
	case !info.Mode().IsRegular():
		out.Errorf(at, "", "%q is not a regular file", name)
		return nil, false
	case info.Size() > MaxFile:
		tooLarge(name, info.Size(), at, out)
		return nil, false
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		out.Errorf(at, "", "cannot read %q: %v", name, cause(err))
		return nil, false
	}
	if len(data) > MaxFile { // it grew, or lied
		tooLarge(name, int64(len(data)), at, out)
		return nil, false
	}
	if p, bad := notUTF8(name, data); bad {
		out.Errorf(p, "save the file as UTF-8", "byte 0x%02x is not part of UTF-8 text", data[offset(data)])
		return nil, false
	}
	return data, true
}

// cause strips the path, which the message names already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// offset returns the index of the first byte that is not UTF-8, or -1.
func offset(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

func notUTF8(name string, data []byte) (diag.Pos, bool) {
	i := offset(data)
	if i < 0 {
		return diag.Pos{}, false
	}
	p := diag.Pos{File: name, Line: 1, Column: 1}
	for _, r := range string(data[:i]) {
		p.Column++
		if r == '\n' {
			p.Line, p.Column = p.Line+1, 1
		}
	}
	return p, true
}
