package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A places is a file of places of one size, each of which is written by itself. It is
// made for the first one. What it says of a place is never older than what was put there last:
// if that cannot be written, there is no file, until all of it can.
type places struct {
	path   string
	file   *os.File       // nil: there is none yet
	kept   map[int][]byte // what was put, by place
	failed bool           // kept could not be written
}

// placeSize is the size of a place, in bytes. It lies in one page, of which whoever is
// killed writes all or nothing.
const placeSize = 2 << 10

// put writes a place.
func (p *places) put(place int, b []byte) error {
	if place < 0 {
		return fmt.Errorf("%s: no place %d", p.path, place)
	}
	var long error
	if len(b) > placeSize-8 { // whoever was there before is not there any more
		long, b = fmt.Errorf("%s: %d bytes for a place of %d", p.path, len(b), placeSize-8), nil
	}
	p.keep(place, b)
	if p.failed {
		return long // rewrite does the rest
	}
	return errors.Join(long, p.check(p.write(place, b)))
}

// keep notes what is in a place.
func (p *places) keep(place int, b []byte) []byte {
	if p.kept == nil {
		p.kept = map[int][]byte{}
	}
	p.kept[place] = b
	return b
}

// write writes one: the length of what is in it, that, and a checksum of both.
func (p *places) write(place int, b []byte) error {
	if p.file == nil {
		f, err := openOwn(p.path, 0)
		if err != nil {
			return err
		}
		p.file = f
	}
	_, err := p.file.WriteAt(sealed(append(binary.LittleEndian.AppendUint32(make([]byte, 0, len(b)+8), uint32(len(b))), b...)), int64(place)*placeSize)
	return err
}

// check removes the file if something could not be written.
func (p *places) check(err error) error {
	if p.failed = err != nil; p.failed {
		p.close()
		os.Remove(p.path) // an error: it cannot be written at all, so nothing is recorded either
	}
	return err
}

// rewrite writes all, if there is no file because something could not be written.
func (p *places) rewrite() error {
	if !p.failed {
		return nil
	}
	for place, b := range p.kept {
		if err := p.write(place, b); err != nil {
			return p.check(err)
		}
	}
	return p.check(nil)
}

// all is what is in the places, which it keeps. One that is half written is empty.
func (p *places) all() iter.Seq2[int, []byte] {
	file, _ := os.ReadFile(p.path) // an error: nothing was put
	return func(yield func(int, []byte) bool) {
		for place := 0; place*placeSize < len(file); place++ {
			b := file[place*placeSize : min((place+1)*placeSize, len(file))]
			if len(b) < 4 {
				return
			}
			n := uint64(binary.LittleEndian.Uint32(b))
			if n == 0 || n > placeSize {
				continue
			}
			if raw := opened(b, 4+int(n)); raw != nil && !yield(place, p.keep(place, slices.Clone(raw[4:]))) {
				return
			}
		}
	}
}

func (p *places) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// openOwn opens a file that only the audit writer reads.
func openOwn(path string, how int) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|how, 0o600)
}
