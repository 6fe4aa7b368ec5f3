package callbench

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/bench/callbench/echov1"
	"ward/filter"
	"ward/gate"
	"ward/image"
	"ward/kernel"
)

// maxPayload is the largest payload of echov1, bytes.
const maxPayload = 65536

// echoImage is the compiled form of a system of two domains, where a policy
// lets the first call the second.
func echoImage() *image.Image {
	anything := image.Rule{Policy: 0, When: image.Expr{Op: image.True}}
	payload := func(name string) image.Message {
		return image.Message{Name: name, Fields: []image.Field{{Number: 1, Name: "payload", Type: image.Bytes, MaxLen: maxPayload}}}
	}
	return &image.Image{
		Name:       "bench",
		Domains:    []image.Domain{{Name: "client"}, {Name: "server"}},
		Messages:   []image.Message{payload("bench.echo.v1.CallRequest"), payload("bench.echo.v1.CallResponse")},
		Interfaces: []image.Interface{{Name: echov1.Echo_ServiceDesc.ServiceName, Methods: []image.Method{{Name: "Call", Request: 0, Reply: 1}}}},
		Policies:   []image.Policy{{ID: "bench"}},
		Routes: []image.Route{{Client: 0, Server: 1, Interface: 0,
			Connect: image.Verdict{Allow: true}, Lookup: image.Verdict{Allow: true},
			Methods: []image.MethodPolicy{{
				Request: image.Decision{Permit: []image.Rule{anything}},
				Reply:   image.Decision{Permit: []image.Rule{anything}},
			}},
		}},
	}
}

// FilteredGate makes a gate as the monitor does: a socket pair with a filter
// locked on each end. It needs root. It is meant for Options.Gate.
func FilteredGate() (client, server gate.End, remove func(), err error) {
	var undo []func() error
	remove = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			remove()
			err = fmt.Errorf("make a filtered gate: %w", err)
		}
	}()
	fabric, err := kernel.NewFabric(kernel.FabricConfig{Gates: 4, Programs: 8})
	if err != nil {
		return client, server, nil, err
	}
	undo = append(undo, fabric.Close)
	var ends [2]*kernel.Endpoint
	for i := range ends {
		if ends[i], err = fabric.AddEndpoint(abi.DomainID(i), 0, 4, 64<<10); err != nil {
			return client, server, nil, err
		}
		undo = append(undo, ends[i].Close)
	}
	spec, err := filter.Build(echoImage(), 0, filter.Atoms{User: -1})
	if err != nil {
		return client, server, nil, err
	}
	route, err := fabric.Load(spec, ends[0], ends[1])
	if err != nil {
		return client, server, nil, err
	}
	undo = append(undo, route.Close)
	g, err := fabric.Open(route)
	if err != nil {
		return client, server, nil, err
	}
	undo = append(undo, g.Close)
	e := gate.End{Interface: echov1.Echo_ServiceDesc.ServiceName, Methods: []abi.ControlMethod{{Name: "Call", MaxRequest: maxPayload + 8, MaxReply: maxPayload + 8}}, Policies: []string{"bench"}}
	client, server = e, e
	client.Page, client.Block = int(ends[0].Page().Fd()), g.ClientBlock
	server.Page, server.Block = int(ends[1].Page().Fd()), g.ServerBlock
	if client.Socket, err = detach(g.Client); err == nil {
		server.Socket, err = detach(g.Server)
	}
	return client, server, remove, err
}

// detach takes the descriptor out of f.
func detach(f *os.File) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}
