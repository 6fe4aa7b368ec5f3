package main

import (
	"errors"
	"fmt"
	"os"

	"ward/kernel"
	"ward/monitor"
)

// memoryOwner is the user that owns the memory of objects: nobody is that user,
// so nobody opens it but by what he was given. It is below those of all domains.
const memoryOwner = uidBase - 1

// memoriesOf starts what makes memory, before the monitor gives up CAP_SETUID.
// If it cannot, the system has no memory, and says so to who asks for some.
func memoriesOf(o *options) monitor.Memories {
	if o.library {
		return nil
	}
	m, err := kernel.NewMemories(memoryOwner)
	return memoryPort{m, err}
}

// memoryPort is kernel.Memories as the monitor sees it.
type memoryPort struct {
	m   *kernel.Memories // nil: err says why
	err error
}

func (p memoryPort) Make(name string, size uint64, fixed bool) (*os.File, error) {
	if p.m == nil {
		return nil, p.err
	}
	return p.m.Make(name, size, fixed)
}

func (p memoryPort) Open(f *os.File, write bool) (*os.File, error) {
	if p.m == nil {
		return nil, p.err
	}
	return p.m.Open(f, write)
}

func (p memoryPort) Seal(f *os.File) error { return kernel.SealMemory(f) }

func (p memoryPort) Sealed(f *os.File) (bool, error) { return kernel.MemorySealed(f) }

func (p fabricPort) Handle(id uint64) (monitor.HandleState, error) {
	s, err := p.fabric.Handle(id)
	return map[kernel.HandleState]monitor.HandleState{kernel.HandleOffered: monitor.HandleOffered, kernel.HandleAdmitted: monitor.HandleAdmitted}[s], err
}

func (p fabricPort) TakeHandle(id uint64) (bool, error) { return p.fabric.TakeHandle(id) }

func (p fabricPort) ForgetHandle(id uint64) error { return p.fabric.ForgetHandle(id) }

func (g gatePort) Offer(o monitor.HandleOffer) (uint64, error) {
	id, err := g.Gate.Offer(kernel.HandleOffer{Dir: o.Dir, Kind: o.Kind, Size: o.Size, Write: o.Write})
	if errors.Is(err, kernel.ErrNoHandles) {
		err = fmt.Errorf("%w: %w", monitor.ErrNoHandles, err)
	}
	return id, err
}
