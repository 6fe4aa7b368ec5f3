package main

import (
	"errors"
	"fmt"
	"os"

	"ward/kernel"
	"ward/monitor"
)

// memoryPort is the kernel's memory as the monitor sees it.
type memoryPort struct{}

func (memoryPort) Make(name string, size uint64, fixed bool) (*os.File, error) {
	return kernel.MakeMemory(name, size, fixed)
}

func (memoryPort) Open(f *os.File, write bool) (*os.File, error) { return kernel.OpenMemory(f, write) }

func (memoryPort) Seal(f *os.File) error { return kernel.SealMemory(f) }

func (memoryPort) Sealed(f *os.File) (bool, error) { return kernel.MemorySealed(f) }

func (memoryPort) InUse(f *os.File) (bool, error) { return kernel.MemoryInUse(f) }

func (memoryPort) MakeSecret(size uint64) (*os.File, error) { return kernel.MakeSecretMemory(size) }

func (memoryPort) Secrets() error { return kernel.SecretMemory() }

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
