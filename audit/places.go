package audit

import (
	"encoding/binary"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// A places is a file of places of one size, each of which is written by itself. It is
// made for the first one.
type places struct {
	path string
	file *os.File
}

// placeSize is the size of a place, in bytes. It lies in one page, of which whoever is
// killed writes all or nothing.
const placeSize = 2 << 10

// put writes a place: the length of what is in it, that, and a checksum of both.
func (p *places) put(place int, b []byte) error {
	raw := sealed(append(binary.LittleEndian.AppendUint32(make([]byte, 0, len(b)+8), uint32(len(b))), b...))
	if place < 0 || len(raw) > placeSize {
		return fmt.Errorf("%s: no place %d for %d bytes", p.path, place, len(b))
	}
	if p.file == nil {
		f, err := openOwn(p.path, 0)
		if err != nil {
			return err
		}
		p.file = f
	}
	_, err := p.file.WriteAt(raw, int64(place)*placeSize)
	return err
}

// all is what is in the places. One that is half written is empty.
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
			if raw := opened(b, 4+int(n)); raw != nil && !yield(place, raw[4:]) {
				return
			}
		}
	}
}

func (p *places) close() {
	if p.file != nil {
		p.file.Close()
	}
}

// openOwn opens a file that only the audit writer reads.
func openOwn(path string, how int) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|how, 0o600)
}
