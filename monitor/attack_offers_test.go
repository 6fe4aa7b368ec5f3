package monitor

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
	"ward/objects"
)

// echoGate opens a gate of t.Echo at a server by its name.
func (s *system) echoGate(c, srv *fakeDomain, seq uint32, name string) (clientBlock, serverBlock uint32) {
	s.t.Helper()
	got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: seq, Interface: "t.Echo", Name: name})
	other, _ := srv.read()
	if got.Op != abi.OpGate || other.Op != abi.OpGate {
		s.t.Fatalf("no gate: %+v, %+v", got, other)
	}
	return got.Block, other.Block
}

// offered is how many offers of a domain there are, in the book and in the kernel.
func (s *system) offered(id abi.DomainID) (book, kernel int) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err := s.m.book.Check(); err != nil {
		s.t.Error(err)
	}
	return len(s.m.book.OffersOf(s.m.domains[id].owner())), s.fabric.rows()
}

// A domain that gets handles and neither redeems them nor gives them up does not
// keep who gave them from giving to others: its giver takes them back, and a
// revocation ends them, though nobody closes the gate.
func TestAttackHandlesKept(t *testing.T) {
	build := func(change func(*image.Image)) *image.Image {
		img := testImage()
		withObjects(img)
		img.Objects[frames].Read[second] = image.Verdict{Allow: true}
		route := img.Routes[0]
		route.Server = second
		img.Routes = append(img.Routes, route)
		if change != nil {
			change(img)
		}
		return img
	}
	s := memorySystem(t, func(c *Config) {
		c.Image = build(nil)
		c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
	})
	giver, hostile, honest := s.domain(client), s.domain(server), s.domain(second)
	for _, d := range []*fakeDomain{hostile, honest} {
		d.ok(serve(1, "t.Echo"))
	}
	first, theirs := s.echoGate(giver, hostile, 1, "server")
	other, _ := s.echoGate(giver, hostile, 2, "server")
	seq := uint32(100)
	next := func() uint32 { seq++; return seq }
	ref, _ := giver.gets(makes(next(), 64), readWrite, 64)
	var ids []uint64
	for range 20 {
		for _, block := range []uint32{first, other} {
			id := giver.offers(offer(next(), ref, block, readOnly))
			s.fabric.admit(id)
			ids = append(ids, id)
		}
	}

	// There is a part for each receiver.
	for len(ids) < objects.MaxOffersTo {
		id := giver.offers(offer(next(), ref, other, readOnly))
		s.fabric.admit(id)
		ids = append(ids, id)
	}
	for _, block := range []uint32{first, other} {
		if text := giver.refused(offer(next(), ref, block, readOnly), abi.ReasonQuota); !strings.Contains(text, "same domain") {
			t.Errorf("refused: %s", text)
		}
	}
	fair, its := s.echoGate(giver, honest, 3, "second")
	kept := giver.offers(offer(next(), ref, fair, readOnly))
	s.fabric.admit(kept)
	honest.gets(redeem(2, kept, its), readOnly, 64)

	// What it did not redeem the giver takes back; then it is nobody's.
	giver.ok(retract(next(), ids[0], first))
	hostile.refused(redeem(1, ids[0], theirs), abi.ReasonHandle)
	got, _ := hostile.gets(redeem(2, ids[2], theirs), readOnly, 64) // the control
	hostile.ok(drop(3, got))
	giver.refused(retract(next(), ids[2], first), abi.ReasonHandle)
	if book, kernel := s.offered(client); book != len(ids)-2 || kernel != book {
		t.Errorf("%d offers in the book, %d in the kernel, %d were made", book, kernel, len(ids)-2)
	}

	late := giver.offers(offer(next(), ref, fair, readOnly))
	s.fabric.admit(late)
	if _, err := s.ask(&admin.Change{Image: sealed(t, build(func(i *image.Image) { i.Routes[0].Connect = image.Verdict{Policy: 1} }))}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // gates, which stay open
		if told, _ := hostile.read(); told.Op != abi.OpRevoked {
			t.Errorf("told: %+v", told)
		}
		giver.read()
	}
	if n := s.fabric.get(&s.fabric.closed); n != 0 {
		t.Errorf("%d gates are closed", n)
	}
	if book, kernel := s.offered(client); book != 1 || kernel != 1 {
		t.Errorf("after the revocation there are %d offers, %d in the kernel; one is at another gate", book, kernel)
	}
	hostile.refused(redeem(4, ids[4], theirs), abi.ReasonHandle)
	honest.gets(redeem(1, late, its), readOnly, 64)
}
