package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StateFile is where the audit writer notes, in the run directory, how far it
// is: a writer that takes over from one that died goes on there.
const StateFile = "audit.state"

// A book is that file. Before a batch of lines is written, what will be true
// afterwards is noted under the batch's number; what was true before stays.
// The length of the audit file says which of the two it is. What the lines were
// made of is given back (Ring.Release, Conn.Recv) after they are written. So no
// record is lost and none is written twice, whenever the writer dies.
//
// The file: two headers, then for each ring two notes. Each has its batch's
// number and a checksum; the one that is older is overwritten.
type book struct {
	file  *os.File
	head  header
	slots map[uint32]*slot // by endpoint
	free  []int
	next  int
}

// A header is what is true after a batch.
type header struct {
	batch      uint64
	start, end uint64 // length of the audit file before and after it
	seq        uint64 // of the last line
	event      uint64 // number of the monitor's last event
	notice     uint64 // time of the holder's last event
}

// A note is what is true of a ring after a batch.
type note struct {
	batch    uint64
	endpoint uint32 // of the ring; noRing: the slot is free
	at       uint64 // position up to which it is written
	next     uint64 // gaps.next
	over     uint64 // withheld, not told
	gaps     [maxNoted]gap
}

type slot struct {
	index int
	half  int // the next one to be written
	last  note
}

const (
	noRing     = 0xffffffff
	maxNoted   = 8 // gaps of a ring that are noted; the rest counts as one
	headerSize = 64
	noteSize   = 256
	booked     = 2 * headerSize
)

// openBook opens the book of a system; again: of a writer that died, of which
// it returns how long the audit file must be.
func openBook(dir string, again bool, length int64) (*book, int64, error) {
	flags := os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW
	if !again {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(filepath.Join(dir, StateFile), flags, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: %w", err)
	}
	b := &book{file: f, slots: map[uint32]*slot{}}
	if !again {
		return b, length, nil
	}
	if err := b.load(uint64(length)); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("audit: how far the writer before was: %w", err)
	}
	return b, int64(b.head.end), nil
}

func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// opened returns what sealed sealed, or nil.
func opened(b []byte, size int) []byte {
	if len(b) < size+4 || binary.LittleEndian.Uint32(b[size:]) != crc32.ChecksumIEEE(b[:size]) {
		return nil
	}
	return b[:size]
}

const headerFields, noteFields = 6 * 8, (5 + 2*maxNoted) * 8

func words(b []byte) (v []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		v = append(v, binary.LittleEndian.Uint64(b))
	}
	return v
}

func pack(size int, v ...uint64) []byte {
	b := make([]byte, 0, size) // the rest is 0
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return sealed(b)[:size]
}

func (b *book) load(length uint64) error {
	all, err := os.ReadFile(b.file.Name())
	if err != nil {
		return err
	}
	var heads []header
	for i := range 2 {
		if len(all) < (i+1)*headerSize {
			break
		}
		if raw := opened(all[i*headerSize:(i+1)*headerSize], headerFields); raw != nil {
			v := words(raw)
			heads = append(heads, header{v[0], v[1], v[2], v[3], v[4], v[5]})
		}
	}
	if len(heads) == 2 && heads[0].batch > heads[1].batch {
		heads[0], heads[1] = heads[1], heads[0]
	}
	for len(heads) > 0 && heads[len(heads)-1].end > length {
		last := heads[len(heads)-1] // its lines are not all there
		heads = heads[:len(heads)-1]
		if len(heads) == 0 {
			b.head = header{end: last.start}
			if last.start > 0 {
				return errors.New("the book does not fit the audit file")
			}
		}
	}
	if len(heads) > 0 {
		b.head = heads[len(heads)-1]
	}
	for i := 0; booked+(i+1)*2*noteSize <= len(all)+noteSize; i++ {
		var best *note
		half := 0
		for h := range 2 {
			at := booked + (2*i+h)*noteSize
			if at+noteSize > len(all) {
				break
			}
			raw := opened(all[at:at+noteSize], noteFields)
			if raw == nil {
				continue
			}
			n := unpack(words(raw))
			if n.batch > b.head.batch {
				// Of a batch that was not written: the next one has its number.
				if _, err := b.file.WriteAt(make([]byte, noteSize), int64(at)); err != nil {
					return err
				}
				continue
			}
			if best == nil || n.batch > best.batch {
				best, half = &n, 1-h
			}
		}
		b.next = i + 1
		if best == nil || best.endpoint == noRing {
			b.free = append(b.free, i)
			continue
		}
		b.slots[best.endpoint] = &slot{i, half, *best}
	}
	return nil
}

func unpack(v []uint64) note {
	n := note{batch: v[0], endpoint: uint32(v[1]), at: v[2], next: v[3], over: v[4]}
	for i := range n.gaps {
		n.gaps[i].from, n.gaps[i].to = v[5+2*i], v[6+2*i]
	}
	return n
}

// of returns what was noted of a ring.
func (b *book) of(endpoint uint32) (note, bool) {
	s := b.slots[endpoint]
	if s == nil {
		return note{}, false
	}
	return s.last, true
}

// note notes a ring for the batch that comes next.
func (b *book) note(n note) error {
	s := b.slots[n.endpoint]
	if s == nil {
		s = &slot{index: b.next}
		if len(b.free) > 0 {
			s.index, b.free = b.free[0], b.free[1:]
		} else {
			b.next++
		}
		b.slots[n.endpoint] = s
	}
	n.batch, s.last = b.head.batch+1, n
	return b.put(s, n)
}

func (b *book) put(s *slot, n note) error {
	v := []uint64{n.batch, uint64(n.endpoint), n.at, n.next, n.over}
	for _, g := range n.gaps {
		v = append(v, g.from, g.to)
	}
	_, err := b.file.WriteAt(pack(noteSize, v...), int64(booked+(2*s.index+s.half)*noteSize))
	s.half = 1 - s.half
	return err
}

// forget frees the place of a ring that has ended, with the batch that comes next.
func (b *book) forget(endpoint uint32) {
	if s := b.slots[endpoint]; s != nil {
		b.put(s, note{batch: b.head.batch + 1, endpoint: noRing}) // an error: the place is found taken
		delete(b.slots, endpoint)
		b.free = append(b.free, s.index)
	}
}

// turn notes what will be true when the lines of this batch are written.
func (b *book) turn(h header) error {
	h.batch = b.head.batch + 1
	b.head = h
	return b.sign()
}

func (b *book) sign() error {
	h := &b.head
	_, err := b.file.WriteAt(pack(headerSize, h.batch, h.start, h.end, h.seq, h.event, h.notice), int64(h.batch%2)*headerSize)
	return err
}
