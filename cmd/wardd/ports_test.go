package main

import (
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor"
)

// TestFabricHasRoomForMailboxes: what waits in mailboxes takes nobody else's gates
// and programs.
func TestFabricHasRoomForMailboxes(t *testing.T) {
	img := &image.Image{Domains: []image.Domain{{}, {}}, Routes: []image.Route{{Client: 0, Server: 1}}}
	without := fabricConfig(img, false)
	img.Domains[1].Mailbox = true
	with := fabricConfig(img, false)
	if with.Gates != without.Gates+gatesAMailbox || with.Programs != without.Programs+2*monitor.MaxLeft {
		t.Errorf("%d gates, %d programs; without a mailbox %d, %d", with.Gates, with.Programs, without.Gates, without.Programs)
	}
}

// TestFabricHasRoomForHandles: the table of handles keeps the size that it gets at the
// start, so that is as much as there can be: a reload may add any number of domains.
func TestFabricHasRoomForHandles(t *testing.T) {
	if n := fabricConfig(&image.Image{Domains: []image.Domain{{}}}, false).Handles; n != abi.MaxHandles {
		t.Errorf("room for %d handles, want %d", n, abi.MaxHandles)
	}
}
