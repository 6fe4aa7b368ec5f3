package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
	"ward/kernel"
	"ward/monitor"
)

// Names of what this package keeps, beside the monitor: the fabric's maps,
// with its configuration; a number that no gate has reached; the names of
// buckets, by row; the image that is in force, and the one that comes next.
const (
	keptFabric      = "fabric"
	keptIncarnation = "incarnation"
	keptBucket      = "bucket "
	keptImage       = "image"
	keptNext        = "next image"
	keptBacklog     = "backlog" // events wait for the audit writer
)

// takenOver is what an earlier monitor kept, sorted.
type takenOver struct {
	fabric      *monitor.Kept
	incarnation uint32
	buckets     []kernel.BucketState
	image, next *os.File
	backlog     bool
	rest        []monitor.Kept
}

func sortKept(kept []monitor.Kept) (t takenOver, err error) {
	for i := range kept {
		k := &kept[i]
		row, isBucket := strings.CutPrefix(k.Name, keptBucket)
		switch {
		case k.Name == keptFabric:
			t.fabric = k
		case k.Name == keptBacklog:
			t.backlog = true
		case k.Name == keptIncarnation:
			n, err := strconv.ParseUint(string(k.Value), 10, 32)
			if err != nil {
				return t, fmt.Errorf("take over %s: %w", k.Name, err)
			}
			t.incarnation = uint32(n)
		case isBucket:
			n, err := strconv.ParseUint(row, 10, 32)
			if err != nil {
				return t, fmt.Errorf("take over %s: %w", k.Name, err)
			}
			t.buckets = append(t.buckets, kernel.BucketState{Name: string(k.Value), Row: uint32(n)})
		case k.Name == keptImage && len(k.Files) == 1:
			t.image = k.Files[0]
		case k.Name == keptNext && len(k.Files) == 1:
			t.next = k.Files[0]
		default:
			t.rest = append(t.rest, *k)
		}
	}
	return t, nil
}

// openFabric makes the fabric of a system, or takes over that of the monitor before.
func openFabric(img *image.Image, o *options, t *takenOver, keep monitor.HolderLink) (fabricPort, error) {
	p := fabricPort{keep: keep}
	reserve := func(n uint32) error { return keep.Put(keptIncarnation, strconv.AppendUint(nil, uint64(n), 10)) }
	if t.fabric == nil {
		cfg := fabricConfig(img, o.auditAll)
		cfg.Reserve = reserve
		var err error
		if p.fabric, err = kernel.NewFabric(cfg); err != nil {
			return p, err
		}
		value, err := json.Marshal(cfg)
		if err != nil {
			return p, err
		}
		return p, keep.Put(keptFabric, value, p.fabric.Files()...)
	}
	var cfg kernel.FabricConfig
	if err := json.Unmarshal(t.fabric.Value, &cfg); err != nil {
		return p, fmt.Errorf("take over the fabric: %w", err)
	}
	cfg.Reserve = reserve
	var err error
	p.fabric, err = kernel.RestoreFabric(cfg, t.fabric.Files, t.incarnation, t.buckets)
	link.CloseAll(t.fabric.Files)
	return p, err
}

func (p fabricPort) Describe(x any) (json.RawMessage, []*os.File) {
	var state any
	switch x := x.(type) {
	case endpointPort:
		return nil, x.Files()
	case *kernel.Route:
		s := x.Describe()
		for _, names := range s.Buckets {
			for _, b := range names {
				// A row that was given to another name is kept under that from then on.
				p.keep.Put(keptBucket+strconv.FormatUint(uint64(b.Row), 10), []byte(b.Name)) // an error: the holder has died
			}
		}
		state = s
	case gatePort:
		state = x.Describe()
	}
	b, err := json.Marshal(state)
	if err != nil {
		return nil, nil
	}
	return b, nil
}

func (p fabricPort) RestoreEndpoint(id abi.DomainID, uid uint32, cgroup uint64, files []*os.File) (monitor.Endpoint, error) {
	e, err := p.fabric.RestoreEndpoint(id, uid, cgroup, files)
	if err != nil {
		return nil, err
	}
	return endpointPort{e}, nil
}

func (p fabricPort) RestoreRoute(state json.RawMessage, client, server monitor.Endpoint) (monitor.Route, error) {
	var s kernel.RouteState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, err
	}
	c, okc := client.(endpointPort)
	srv, oks := server.(endpointPort)
	if !okc || !oks {
		return nil, errors.New("endpoint of another fabric")
	}
	r, err := p.fabric.RestoreRoute(s, c.Endpoint, srv.Endpoint)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (p fabricPort) RestoreGate(state json.RawMessage, r monitor.Route) (monitor.Gate, error) {
	var s kernel.GateState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, err
	}
	route, ok := r.(*kernel.Route)
	if !ok {
		return nil, errors.New("route of another fabric")
	}
	g, err := p.fabric.RestoreGate(s, route)
	if err != nil {
		return nil, err
	}
	return gatePort{g}, nil
}
