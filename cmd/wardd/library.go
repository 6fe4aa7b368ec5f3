package main

import (
	"errors"
	"fmt"
	"os"

	"ward/abi"
	"ward/audit"
	"ward/image"
	"ward/kernel"
	"ward/monitor"
)

// The level `library`: what an ordinary user starts, in a user namespace of his.

func (o *options) level() abi.Level {
	if o.library {
		return abi.LevelLibrary
	}
	return abi.LevelKernel
}

func singleUser() bool {
	_, ok := kernel.SingleUser()
	return ok
}

// fabricOf makes the fabric of the level, or takes over that of the monitor before.
func fabricOf(img *image.Image, o *options, t *takenOver, keep monitor.HolderLink) (monitor.Fabric, func() error, error) {
	if !o.library {
		p, err := openFabric(img, o, t, keep)
		if err != nil {
			return nil, nil, err
		}
		return p, p.fabric.Close, nil
	}
	if list := img.Unprivileged(); len(list) > 0 {
		return nil, nil, fmt.Errorf("the system cannot run at the level library: %w", &list[0])
	}
	if o.again > 0 {
		return nil, nil, errors.New("the monitor has died; at the level library none takes over, so the system stops")
	}
	return classicPort{kernel.NewClassic(fabricConfig(img, false).Gates, o.auditAll)}, func() error { return nil }, nil
}

// classicPort is kernel.Classic as the monitor sees it.
type classicPort struct{ fabric *kernel.Classic }

var errLibrary = errors.New("not at the level library: the kernel keeps nothing there; start the system as root")

func (p classicPort) Endpoint(id abi.DomainID, _ uint64, blocks uint32, _ int) (monitor.Endpoint, error) {
	e, err := p.fabric.AddEndpoint(id, blocks)
	if err != nil {
		return nil, err
	}
	return classicEndpoint{e}, nil
}

func (p classicPort) User(uint32, uint32, int) (monitor.Endpoint, error) {
	return nil, fmt.Errorf("a gate to a user outside Ward: %w", errLibrary)
}

func (p classicPort) State(uint32) (uint64, error) { return 0, fmt.Errorf("state: %w", errLibrary) }

func (p classicPort) SetState(uint32, uint64, uint64, ...uint64) error {
	return fmt.Errorf("state: %w", errLibrary)
}

func (p classicPort) Load(img *image.Image, route uint32, atoms monitor.Atoms, client, server monitor.Endpoint) (monitor.Route, error) {
	if len(atoms.Chain.Levels) > 0 {
		return nil, errChain
	}
	c, okc := client.(classicEndpoint)
	s, oks := server.(classicEndpoint)
	if !okc || !oks {
		return nil, errors.New("endpoint of another fabric")
	}
	r, err := p.fabric.Load(img, route, c.ClassicEndpoint, s.ClassicEndpoint)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (p classicPort) Open(r monitor.Route) (monitor.Gate, error) {
	route, ok := r.(*kernel.ClassicRoute)
	if !ok {
		return nil, errors.New("route of another fabric")
	}
	g, err := p.fabric.Open(route)
	if err != nil {
		return nil, err
	}
	return classicGate{g}, nil
}

// Prepare refuses: a locked classic filter stays as it is.
func (p classicPort) Prepare(*image.Image, []monitor.Change) (monitor.Swap, error) {
	return nil, fmt.Errorf("a change of the policy: %w", errLibrary)
}

type classicEndpoint struct{ *kernel.ClassicEndpoint }

func (e classicEndpoint) Counters() (monitor.Counters, error) { return monitor.Counters{}, nil }

type classicGate struct{ *kernel.ClassicGate }

func (g classicGate) Index() uint32                   { return g.ClassicGate.Index }
func (g classicGate) Ends() (client, server *os.File) { return g.Client, g.Server }
func (g classicGate) Blocks() (client, server uint32) { return g.ClientBlock, g.ServerBlock }
func (g classicGate) State() (uint64, error)          { return 0, nil }

func (g classicGate) SetState(uint64, uint64, ...uint64) error {
	return fmt.Errorf("state: %w", errLibrary)
}

// ringOpener opens what a domain's records come from. What addresses a domain
// was refused does not come at the level library, which has no such filter.
func ringOpener(o *options) func(*os.File) (audit.Source, error) {
	if !o.library {
		return openRing
	}
	return func(f *os.File) (audit.Source, error) {
		defer f.Close()
		r, err := kernel.OpenReports(f)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
}
