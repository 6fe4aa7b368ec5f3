// Package board is what the camera writes into shared memory, and others read.
//
// Nothing stops the camera while somebody reads, so a reader may see half of the
// old and half of the new. It takes a copy, and believes it if its checksum is right.
package board

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// State is what stands on the board.
type State struct {
	Shots uint32 // pictures taken
	Title string // of the last, at most 32 bytes
}

// Layout: checksum of the rest, shots, title with zeros after it.
const (
	shotsAt  = 4
	titleAt  = 8
	titleLen = 32
	end      = titleAt + titleLen
)

// Write puts a state on the board.
func Write(board []byte, s State) {
	var b [end]byte
	binary.LittleEndian.PutUint32(b[shotsAt:], s.Shots)
	copy(b[titleAt:], s.Title)
	binary.LittleEndian.PutUint32(b[:], crc32.ChecksumIEEE(b[shotsAt:]))
	copy(board, b[:])
}

// ErrTorn says that no whole state was found: somebody writes all the time, or
// what stands there is no state.
var ErrTorn = errors.New("the board changes while it is read, or holds something else")

// Read returns the state that stands on the board.
func Read(board []byte) (State, error) {
	for range 1000 {
		var b [end]byte
		copy(b[:], board)
		if binary.LittleEndian.Uint32(b[:]) == crc32.ChecksumIEEE(b[shotsAt:]) {
			title, _, _ := bytes.Cut(b[titleAt:], []byte{0})
			return State{Shots: binary.LittleEndian.Uint32(b[shotsAt:]), Title: string(title)}, nil
		}
	}
	return State{}, ErrTorn
}
