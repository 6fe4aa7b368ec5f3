package main

import (
	"errors"
	"fmt"
	"os"

	"ward/abi"
	"ward/audit"
	"ward/filter"
	"ward/image"
	"ward/kernel"
	"ward/monitor"
)

// Bounds of a running system.
const (
	minGates        = 4096
	gatesADomain    = 64
	gatesAMailbox   = 512 // that nobody else's are fewer for what waits there
	maxGatesInAll   = 1 << 18
	maxPrograms     = 1 << 20  // of a kernel.Fabric
	changesPrograms = 2 * 1024 // for routes that a change of the policy adds, beside monitor.Slots
	spareWords      = 256      // of state that a change of the policy may add
	kinBuckets      = 1 << 13  // of rates, of children and delegations
	otherBuckets    = 1 << 13  // … of all others at least
	spareBuckets    = 1 << 10  // … which a change of the policy may add
	maxBuckets      = 1 << 20  // of a kernel.Fabric
)

func fabricConfig(img *image.Image, auditAll bool) kernel.FabricConfig {
	boxes, stated := 0, 0
	for i := range img.Domains {
		if img.Domains[i].Mailbox {
			boxes++
		}
		stated += max(0, int(img.Domains[i].Quota.Gates)-gatesADomain)
	}
	cfg := kernel.FabricConfig{
		Gates:    uint32(min(minGates+gatesADomain*len(img.Domains)+stated+gatesAMailbox*boxes, maxGatesInAll)),
		Programs: uint32(min(monitor.Slots(img)+changesPrograms, maxPrograms)),
		Words:    min(img.Words+spareWords, image.MaxWords),
		Buckets:  uint32(min(kinBuckets+max(otherBuckets, rates(img)+spareBuckets), maxBuckets)),
		// All that there can be, 1 MiB: what 256 domains can use, however many a change of the policy adds.
		Handles:  abi.MaxHandles,
		AuditAll: auditAll,
	}
	if len(img.Domains) <= int(image.FirstChild) { // else there are no children, and domains have their numbers
		cfg.KinBuckets = kinBuckets
	}
	return cfg
}

// rates is how many buckets the domains of an image may want at most: one for each rate of
// each route, and one for each quota of messages.
func rates(img *image.Image) int {
	n := len(img.Domains)
	for i := range img.Routes {
		for j := range img.Routes[i].Methods {
			m := &img.Routes[i].Methods[j]
			for _, rules := range [][]image.Rule{m.Request.Permit, m.Reply.Permit} {
				for k := range rules {
					if rules[k].Rate != (image.Rate{}) {
						n++
					}
				}
			}
		}
	}
	return n
}

// fabricPort is kernel.Fabric as the monitor sees it.
type fabricPort struct {
	fabric *kernel.Fabric
	keep   monitor.HolderLink
}

func (p fabricPort) Slots() int { return p.fabric.Slots() }

func (p fabricPort) Endpoint(id abi.DomainID, cgroup uint64, blocks uint32, ringBytes int) (monitor.Endpoint, error) {
	e, err := p.fabric.AddEndpoint(id, cgroup, blocks, ringBytes)
	if err != nil {
		return nil, err
	}
	return endpointPort{e}, nil
}

func (p fabricPort) User(uid uint32, blocks uint32, ringBytes int) (monitor.Endpoint, error) {
	e, err := p.fabric.AddUser(uid, blocks, ringBytes)
	if err != nil {
		return nil, err
	}
	return endpointPort{e}, nil
}

func (p fabricPort) State(word uint32) (uint64, error) { return p.fabric.State(word) }

func (p fabricPort) SetState(word uint32, mask, bits uint64, from ...uint64) error {
	return p.fabric.SetState(word, mask, bits, from...)
}

func (p fabricPort) Load(img *image.Image, route uint32, atoms monitor.Atoms, client, server monitor.Endpoint) (monitor.Route, error) {
	spec, err := filter.Build(img, route, filterAtoms(atoms))
	if err != nil {
		return nil, err
	}
	c, okc := client.(endpointPort)
	s, oks := server.(endpointPort)
	if !okc || !oks {
		return nil, errors.New("endpoint of another fabric")
	}
	r, err := p.fabric.Load(spec, c.Endpoint, s.Endpoint)
	if errors.Is(err, kernel.ErrKinBuckets) {
		err = fmt.Errorf("%w: %w", monitor.ErrFull, err)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func filterAtoms(a monitor.Atoms) filter.Atoms {
	return filter.Atoms{User: a.User, Groups: a.Groups, Chain: filter.Chain(a.Chain)}
}

// Fits reports policies that no filter could hold together.
func (p fabricPort) Fits(img *image.Image, route uint32, atoms monitor.Atoms) error {
	_, err := filter.Build(img, route, filterAtoms(atoms))
	return err
}

func (p fabricPort) Open(r monitor.Route) (monitor.Gate, error) {
	route, ok := r.(*kernel.Route)
	if !ok {
		return nil, fmt.Errorf("route of another fabric")
	}
	g, err := p.fabric.Open(route)
	if err != nil {
		return nil, err
	}
	return gatePort{g}, nil
}

func (p fabricPort) Prepare(img *image.Image, changes []monitor.Change) (monitor.Swap, error) {
	list := make([]kernel.Change, len(changes))
	for i, c := range changes {
		route, ok := c.Route.(*kernel.Route)
		if !ok {
			return nil, errors.New("route of another fabric")
		}
		list[i].Route = route
		if c.Dies {
			continue
		}
		var err error
		if list[i].Spec, err = filter.Build(img, c.Number, filterAtoms(c.Atoms)); err != nil {
			return nil, err
		}
	}
	s, err := p.fabric.Prepare(list)
	if err != nil {
		return nil, err
	}
	return s, nil
}

type endpointPort struct{ *kernel.Endpoint }

func (e endpointPort) Counters() (monitor.Counters, error) {
	c, err := e.Endpoint.Counters()
	return monitor.Counters{Records: c.Records, Lost: c.Lost, Allowed: c.Allowed, Denied: c.Denied}, err
}

type gatePort struct{ *kernel.Gate }

func (g gatePort) Index() uint32                   { return g.Gate.Index }
func (g gatePort) Ends() (client, server *os.File) { return g.Client, g.Server }
func (g gatePort) Blocks() (client, server uint32) { return g.ClientBlock, g.ServerBlock }

func openRing(f *os.File) (audit.Source, error) {
	defer f.Close()
	r, err := kernel.OpenRing(f)
	if err != nil {
		return nil, err
	}
	return r, nil
}
