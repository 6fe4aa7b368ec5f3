package main

import (
	"testing"

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
