package page

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"ward/abi"
)

const blockSize = abi.PageBlock * 8 // bytes; divides every page size

// Block is the mapped block of one gate end. Its methods but Close may be
// called from several goroutines.
type Block struct {
	mem   []byte // one page of the system
	words *[abi.PageBlock]uint64
}

// Map maps block number block of the verdict page behind descriptor fd, which
// may be closed afterwards. It reports an error if the page has no such block.
func Map(fd int, block uint32) (*Block, error) {
	size := int64(os.Getpagesize())
	at := int64(block) * blockSize
	mem, err := unix.Mmap(fd, at&^(size-1), int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map block %d of the verdict page: %w", block, err)
	}
	return &Block{mem: mem, words: (*[abi.PageBlock]uint64)(unsafe.Pointer(&mem[at&(size-1)]))}, nil
}

// Load reads one word, with acquire semantics.
//
// Preconditions: word < abi.PageBlock; b is not closed.
func (b *Block) Load(word int) uint64 { return atomic.LoadUint64(&b.words[word]) }

// Close unmaps the block.
func (b *Block) Close() error {
	b.words = nil
	return unix.Munmap(b.mem)
}
