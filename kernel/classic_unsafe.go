package kernel

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// words is a verdict page as its maker, or a reader, has mapped it.
type words struct{ mem []byte }

// mapWords maps a page for writing; it must not be sealed yet.
func mapWords(fd, size int) (words, error) { return mapPage(fd, size, unix.PROT_READ|unix.PROT_WRITE) }

func mapPage(fd, size, prot int) (words, error) {
	mem, err := unix.Mmap(fd, 0, size, prot, unix.MAP_SHARED)
	if err != nil {
		return words{}, fmt.Errorf("map the page: %w", err)
	}
	return words{mem}, nil
}

// at is the address of a word of a block.
//
// Preconditions: the page has that block.
func (w *words) at(block uint32, word int) *uint64 {
	return (*uint64)(unsafe.Pointer(&w.mem[(int(block)*abi.PageBlock+word)*8]))
}

func (w *words) store(block uint32, word int, v uint64) { atomic.StoreUint64(w.at(block, word), v) }
func (w *words) load(block uint32, word int) uint64     { return atomic.LoadUint64(w.at(block, word)) }

// blocks is the number of blocks of the page.
func (w *words) blocks() int { return len(w.mem) / (abi.PageBlock * 8) }

func (w *words) unmap() error {
	if w.mem == nil {
		return nil
	}
	err := unix.Munmap(w.mem)
	w.mem = nil
	return err
}
