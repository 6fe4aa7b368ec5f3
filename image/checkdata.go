package image

import (
	"encoding/binary"
	"errors"

	"ward/abi"
)

// A Look is a parameter that an audit record of a method carries: its path
// of field numbers from the message down.
type Look struct {
	Path  []uint32
	Count bool // the number of elements of a repeated field
	Text  bool // a string or bytes: the record carries its start
}

// Looks are those of one direction of a gate, by method.
type Looks [][]Look

// EncodeCheck writes what the library at an end of a gate needs to check its
// messages: the part of the image, its length (32 bits) in front, and what
// records carry, little endian. Both ends get the same.
func EncodeCheck(part *Image, looks [2]Looks) []byte {
	le := binary.LittleEndian
	encoded := Encode(part)
	b := append(le.AppendUint32(nil, uint32(len(encoded))), encoded...)
	for _, methods := range looks {
		b = le.AppendUint16(b, uint16(len(methods)))
		for _, list := range methods {
			list = list[:min(len(list), abi.RecordParams)]
			b = append(b, byte(len(list)))
			for _, l := range list {
				what := byte(0)
				if l.Count {
					what |= 1
				}
				if l.Text {
					what |= 2
				}
				b = append(b, what, byte(len(l.Path)))
				for _, n := range l.Path {
					b = le.AppendUint32(b, n)
				}
			}
		}
	}
	return b
}

var errCheckData = errors.New("malformed check data")

// DecodeCheck reads what EncodeCheck wrote. It reports an error if the image
// does not pass its Check or is not that of one route.
func DecodeCheck(b []byte) (part *Image, looks [2]Looks, err error) {
	le := binary.LittleEndian
	bad := false
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			bad, b = true, nil
			return make([]byte, 4)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	encoded := take(int(le.Uint32(take(4))))
	if bad {
		return nil, looks, errCheckData
	}
	if part, err = Decode(encoded); err != nil {
		return nil, looks, err
	}
	if len(part.Routes) != 1 {
		return nil, looks, errCheckData
	}
	for dir := range looks {
		n := int(le.Uint16(take(2)))
		if n != len(part.Routes[0].Methods) {
			return nil, looks, errCheckData
		}
		for range n {
			var list []Look
			for range take(1)[0] {
				what := take(1)[0]
				l := Look{Count: what&1 != 0, Text: what&2 != 0}
				for range take(1)[0] {
					l.Path = append(l.Path, le.Uint32(take(4)))
				}
				if bad {
					return nil, looks, errCheckData
				}
				list = append(list, l)
			}
			looks[dir] = append(looks[dir], list)
		}
	}
	if bad || len(b) != 0 {
		return nil, looks, errCheckData
	}
	return part, looks, nil
}
