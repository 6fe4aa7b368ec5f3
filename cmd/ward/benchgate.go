package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/gate"
	"ward/image"
	"ward/kernel"
)

const (
	echoInterface = "bench.echo.v1.Echo"
	echoMax       = 64 << 10 // bytes of a payload, as in echo.proto
	echoBody      = echoMax + 8
)

// echoImage is the system that `ward bench call` measures: one client, one
// server, one method, both ways checked and permitted by a policy.
func echoImage() *image.Image {
	payload := []image.Field{{Number: 1, Name: "payload", Type: image.Bytes, MaxLen: echoMax}}
	always := func(policy uint32) image.Decision {
		return image.Decision{Permit: []image.Rule{{Policy: policy, When: image.Expr{Op: image.True}}}}
	}
	return &image.Image{
		Name:       "bench",
		Domains:    []image.Domain{{Name: "client", Program: "/client"}, {Name: "server", Program: "/server"}},
		Interfaces: []image.Interface{{Name: echoInterface, Methods: []image.Method{{Name: "Call", Request: 0, Reply: 1}}}},
		Messages:   []image.Message{{Name: "bench.echo.v1.CallRequest", Fields: payload}, {Name: "bench.echo.v1.CallResponse", Fields: payload}},
		Policies:   []image.Policy{{ID: "the client may call"}, {ID: "replies"}},
		Routes: []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{
			{Request: always(0), Reply: always(1)},
		}}},
	}
}

// echoGate makes a filtered gate of echoImage, and returns what removes it.
func echoGate() (client, server gate.End, remove func(), err error) {
	var undo []func() error
	remove = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	fabric, err := kernel.NewFabric(kernel.FabricConfig{Gates: 1, Programs: 2})
	if err != nil {
		return client, server, nil, err
	}
	undo = append(undo, fabric.Close)
	var ends [2]*kernel.Endpoint
	for i := range ends {
		if ends[i], err = fabric.AddEndpoint(abi.DomainID(i), 0, 1, os.Getpagesize()); err != nil {
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
	defer g.Client.Close()
	defer g.Server.Close()
	common := gate.End{Interface: echoInterface, Methods: []abi.ControlMethod{{Name: "Call", MaxRequest: echoBody, MaxReply: echoBody}}}
	client, server = common, common
	client.Block, server.Block = g.ClientBlock, g.ServerBlock
	for _, e := range []struct {
		end        *gate.End
		sock, page *os.File
	}{{&client, g.Client, ends[0].Page()}, {&server, g.Server, ends[1].Page()}} {
		var err1, err2 error
		e.end.Socket, err1 = duplicate(e.sock)
		e.end.Page, err2 = duplicate(e.page)
		if err = errors.Join(err1, err2); err != nil {
			return client, server, nil, err
		}
		page := e.end.Page
		undo = append(undo, func() error { return unix.Close(page) })
	}
	return client, server, remove, nil
}

func duplicate(f *os.File) (int, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate the descriptor of %s: %w", f.Name(), err)
	}
	return fd, nil
}
