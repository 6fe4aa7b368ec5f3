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

// TestFabricHasRoomForQuotas: who may have many gates takes nobody else's, and who has many
// rates has buckets beside those of children.
func TestFabricHasRoomForQuotas(t *testing.T) {
	img := &image.Image{Domains: []image.Domain{{}, {}}, Routes: []image.Route{{Client: 0, Server: 1}}}
	without := fabricConfig(img, false)
	img.Domains[1].Quota.Gates = 4096
	img.Routes[0].Methods = make([]image.MethodPolicy, 10_000)
	for i := range img.Routes[0].Methods {
		img.Routes[0].Methods[i].Request.Permit = []image.Rule{{Rate: image.Rate{Every: 1, Burst: 1}}}
	}
	with := fabricConfig(img, false)
	if with.Gates != without.Gates+4096-gatesADomain {
		t.Errorf("%d gates, without a quota %d", with.Gates, without.Gates)
	}
	if without.Buckets-without.KinBuckets != otherBuckets || with.Buckets-with.KinBuckets != 10_002+spareBuckets {
		t.Errorf("buckets %d and %d, %d of children", without.Buckets, with.Buckets, with.KinBuckets)
	}
	img.Domains = make([]image.Domain, image.MaxDomains)
	if n := fabricConfig(img, false).KinBuckets; n != 0 {
		t.Errorf("domains that have children's numbers have %d buckets", n)
	}
}

// TestFabricHasRoomForHandles: the table of handles keeps the size that it gets at the
// start, so that is as much as there can be: a reload may add any number of domains.
func TestFabricHasRoomForHandles(t *testing.T) {
	if n := fabricConfig(&image.Image{Domains: []image.Domain{{}}}, false).Handles; n != abi.MaxHandles {
		t.Errorf("room for %d handles, want %d", n, abi.MaxHandles)
	}
}
