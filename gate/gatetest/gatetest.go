// Package gatetest makes gates for tests: socket pairs without a filter, which
// carry everything, so a test sees what the library itself does.
package gatetest

import (
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
)

// Methods are the methods of the gates that Pair makes, one of each kind.
var Methods = []abi.ControlMethod{
	{Name: "Unary"},
	{Name: "Upload", ClientStream: true},
	{Name: "Download", ServerStream: true},
	{Name: "Chat", ClientStream: true, ServerStream: true},
}

// Metadata are the keys that gates of Pair carry.
var Metadata = []string{"traceparent", "x-test"}

// Pair makes the two ends of a gate without a filter.
func Pair(t testing.TB, methods ...abi.ControlMethod) (client, server gate.End) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if methods == nil {
		methods = Methods
	}
	e := gate.End{Interface: "test.v1.Test", Page: -1, Methods: methods, Metadata: Metadata}
	client, server = e, e
	client.Socket, server.Socket = fds[0], fds[1]
	client.Peer = abi.Peer{Domain: 1, Name: "server"}
	server.Peer = abi.Peer{Domain: 2, Name: "client", UID: 1234, Ring: 3}
	return client, server
}
