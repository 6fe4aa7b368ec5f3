package image

import (
	"encoding/binary"
	"errors"
	"math"
)

// A codec writes a value or reads one, by one description of the layout for
// both (layout.go), so that the two cannot disagree. Writing stores nothing
// through the pointers that it is given. Numbers are unsigned
// varints in their shortest form, or fixed little-endian words; strings and
// lists carry their length in front.
//
// A reader trusts no length: a list is grown as its elements are read, each
// of at least one byte, so memory stays within a constant factor of the input.
type codec struct {
	b       []byte // written so far, or left to read
	reading bool
	err     error
	depth   int // of the expression that is being read
}

var (
	errShort    = errors.New("ends too early")
	errVarint   = errors.New("number that is too large or not in its shortest form")
	errBool     = errors.New("truth value that is neither 0 nor 1")
	errDeep     = errors.New("expression nested too deep")
	errTrailing = errors.New("trailing bytes")
)

func (c *codec) fail(err error) {
	if c.err == nil {
		c.err, c.b = err, nil
	}
}

// take returns the next n bytes of the input, or nil after a failure.
func (c *codec) take(n int) []byte {
	if c.err != nil || n > len(c.b) {
		c.fail(errShort)
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

// number reads or writes a varint of at most limit.
func (c *codec) number(v uint64, limit uint64) uint64 {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, v)
		return v
	}
	got, n := binary.Uvarint(c.b)
	if n <= 0 || got > limit || n > 1 && c.b[n-1] == 0 {
		c.fail(errVarint)
		return 0
	}
	c.b = c.b[n:]
	return got
}

func (c *codec) u32(v *uint32) {
	if n := c.number(uint64(*v), math.MaxUint32); c.reading {
		*v = uint32(n)
	}
}

func (c *codec) u64(v *uint64) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint64(c.b, *v)
	} else if p := c.take(8); p != nil {
		*v = binary.LittleEndian.Uint64(p)
	}
}

func (c *codec) i64(v *int64) {
	u := uint64(*v)
	if c.u64(&u); c.reading {
		*v = int64(u)
	}
}

func (c *codec) i32(v *int32) {
	u := uint32(*v)
	if c.u32(&u); c.reading {
		*v = int32(u)
	}
}

func (c *codec) byte(v *byte) {
	if !c.reading {
		c.b = append(c.b, *v)
	} else if p := c.take(1); p != nil {
		*v = p[0]
	}
}

// small reads or writes a one-byte enumeration.
func small[T ~uint8](c *codec, v *T) {
	u := byte(*v)
	if c.byte(&u); c.reading {
		*v = T(u)
	}
}

func (c *codec) bool(v *bool) {
	var u byte
	if *v {
		u = 1
	}
	if c.byte(&u); u > 1 {
		c.fail(errBool)
	}
	if c.reading {
		*v = u == 1
	}
}

func (c *codec) str(v *string) {
	n := c.number(uint64(len(*v)), MaxString)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else {
		*v = string(c.take(int(n)))
	}
}

func (c *codec) strings(v *[]string) { list(c, v, (*codec).str) }
func (c *codec) numbers(v *[]uint32) { list(c, v, (*codec).u32) }

// list reads or writes the elements of s. An empty list is read as nil.
func list[T any](c *codec, s *[]T, each func(*codec, *T)) {
	n := int(c.number(uint64(len(*s)), MaxImage))
	if !c.reading {
		for i := range *s {
			each(c, &(*s)[i])
		}
		return
	}
	if n > len(c.b) { // each element is at least one byte
		c.fail(errShort)
		return
	}
	*s = nil
	if n > 0 {
		*s = make([]T, 0, min(n, 8))
	}
	for range n {
		var e T
		each(c, &e)
		if c.err != nil {
			return
		}
		*s = append(*s, e)
	}
}
