package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"testing/fstest"
	"time"

	"ward/system"
)

// Limits of what is read of a system directory.
const (
	maxFiles = 1000
	maxTotal = 64 << 20 // bytes
)

// sources are the kinds of file that a system directory consists of; the rest
// (programs, pictures, notes) is not read.
var sources = map[string]bool{".yaml": true, ".proto": true, ".cedar": true}

// packDirectory writes the source files of dir as a tar archive, without
// looking into any of them. A file over the limit of system.MaxFile is cut
// one byte after it, so that the compiler sees that it is too large.
func packDirectory(w io.Writer, dir string, more *extra) error {
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: give the one that holds system.yaml", dir)
	}
	archive := tar.NewWriter(w)
	files, total := 0, int64(0)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != dir && path.Base(p)[0] == '.':
			return filepath.SkipDir
		case d.IsDir() || !sources[filepath.Ext(p)]:
			return nil
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		n, err := packFile(archive, p, filepath.ToSlash(name))
		files, total = files+1, total+n
		switch {
		case files > maxFiles:
			if _, err := os.Stat(filepath.Join(dir, "system.yaml")); err != nil {
				return fmt.Errorf("%s holds no system.yaml: give the directory that does", dir)
			}
			return fmt.Errorf("%s has more than %d source files", dir, maxFiles)
		case total > maxTotal:
			return fmt.Errorf("the source files of %s have more than %d bytes", dir, maxTotal)
		}
		return err
	})
	if err == nil && more != nil {
		if err = archive.WriteHeader(&tar.Header{Name: more.name, Size: int64(len(more.data)), Mode: 0o444, Typeflag: tar.TypeReg}); err == nil {
			_, err = archive.Write(more.data)
		}
	}
	return errors.Join(err, archive.Close())
}

func packFile(archive *tar.Writer, file, name string) (int64, error) {
	// A FIFO of that name must not make this wait for a writer.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		// The compiler refuses it, at the place that names it; if nothing does, it is of no account.
		return 0, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Typeflag: tar.TypeFifo})
	}
	size := min(info.Size(), system.MaxFile+1)
	if err := archive.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o444, Typeflag: tar.TypeReg}); err != nil {
		return 0, err
	}
	if _, err := io.CopyN(archive, f, size); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return size, nil
}

// unpackDirectory reads what packDirectory wrote into memory.
func unpackDirectory(r io.Reader) (fs.FS, error) {
	files := fstest.MapFS{}
	for archive := tar.NewReader(io.LimitReader(r, 2*maxTotal)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		mode := fs.FileMode(0o444)
		if header.Typeflag != tar.TypeReg {
			mode |= fs.ModeNamedPipe
		}
		files[header.Name] = &fstest.MapFile{Data: data, Mode: mode, ModTime: time.Unix(0, 0)}
	}
}
