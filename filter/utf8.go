package filter

import "encoding/binary"

// States of the UTF-8 automaton, as bit offsets into a row: the next state is
// the six bits of row[byte] at the offset of the present one. After Unicode
// 3.9, table 3-7 (well-formed UTF-8 byte sequences).
const (
	utf8Accept = 0
	utf8Reject = 6
	utf8Tail1  = 12 // one continuation byte to come
	utf8Tail2  = 18
	utf8Tail3  = 24
	utf8E0     = 30 // second byte A0-BF: no overlong form
	utf8ED     = 36 // second byte 80-9F: no surrogates
	utf8F0     = 42 // second byte 90-BF
	utf8F4     = 48 // second byte 80-8F: not beyond U+10FFFF
)

// UTF8Size is the size of the automaton's table in bytes.
const UTF8Size = 256 * 8

// UTF8Table returns the one row of the map utf8.
func UTF8Table() []byte {
	var rows [256]uint64
	set := func(state, from, to, next uint64) {
		for c := from; c <= to; c++ {
			rows[c] = rows[c]&^(63<<state) | next<<state
		}
	}
	for s := uint64(utf8Accept); s <= utf8F4; s += 6 {
		set(s, 0, 255, utf8Reject)
	}
	set(utf8Accept, 0x00, 0x7f, utf8Accept)
	set(utf8Accept, 0xc2, 0xdf, utf8Tail1)
	set(utf8Accept, 0xe0, 0xef, utf8Tail2)
	set(utf8Accept, 0xe0, 0xe0, utf8E0)
	set(utf8Accept, 0xed, 0xed, utf8ED)
	set(utf8Accept, 0xf0, 0xf0, utf8F0)
	set(utf8Accept, 0xf1, 0xf3, utf8Tail3)
	set(utf8Accept, 0xf4, 0xf4, utf8F4)
	set(utf8Tail1, 0x80, 0xbf, utf8Accept)
	set(utf8Tail2, 0x80, 0xbf, utf8Tail1)
	set(utf8Tail3, 0x80, 0xbf, utf8Tail2)
	set(utf8E0, 0xa0, 0xbf, utf8Tail1)
	set(utf8ED, 0x80, 0x9f, utf8Tail1)
	set(utf8F0, 0x90, 0xbf, utf8Tail2)
	set(utf8F4, 0x80, 0x8f, utf8Tail2)
	b := make([]byte, 0, UTF8Size)
	for _, r := range rows {
		b = binary.LittleEndian.AppendUint64(b, r)
	}
	return b
}
