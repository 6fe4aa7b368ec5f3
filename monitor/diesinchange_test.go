package monitor

import (
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// A monitor that dies in the middle of a change of the policy does not end the
// system with it: the next one begins with the old image, and what of the new one
// was kept already is not in its way.
func TestDiesInChange(t *testing.T) {
	before := testImage()
	withObjects(before)
	after := testImage()
	withObjects(after)
	withMailbox(after)
	none := image.Verdict{Policy: abi.NoPolicy}
	extra := image.Object{Name: "extra", Kind: image.ObjectMemory, Size: 64, Count: 1, Domain: abi.NoDomain}
	for _, list := range []*[]image.Verdict{&extra.Create, &extra.Read, &extra.Write} {
		*list = slices.Repeat([]image.Verdict{none}, len(after.Domains))
		(*list)[client], (*list)[server] = image.Verdict{Allow: true}, image.Verdict{Allow: true}
	}
	for i := range after.Objects[:2] {
		o := &after.Objects[i]
		o.Create, o.Read, o.Write = append(o.Create, none), append(o.Read, none), append(o.Write, none)
	}
	after.Objects = append(after.Objects, extra)

	keeper := &aKeeper{}
	s := startSystem(t, func(c *Config) {
		c.Image, c.Memories = before, &fakeMemories{}
		c.Sealed, c.Hash = sealed(t, before), image.Hash(image.Encode(before))
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
	})
	c, srv := s.domain(client), s.domain(server)
	cb, _ := s.joined(c, srv)
	c.gets(makes(1, 64), readWrite, 64)
	keeper.mu.Lock()
	keeper.dies = func(name string) bool { return name == "put "+keptImage }
	keeper.mu.Unlock()

	var posted abi.Control
	s.m.mu.Lock()
	fabric := s.m.Fabric
	s.m.Fabric = &busyFabric{Fabric: fabric, meanwhile: func() {
		ref, _ := c.gets(abi.Control{Op: abi.OpMake, Seq: 2, Name: "extra"}, readWrite, 64)
		c.offers(offer(3, ref, cb, readWrite))
		c.send(post(4)) // waits until the mailbox is there
		s.until("it waits", func() bool { return len(s.m.pending) == 1 })
	}}
	s.m.mu.Unlock()
	if _, err := s.ask(&admin.Change{Image: sealed(t, after)}); err != nil {
		t.Fatal(err)
	}
	if posted, _ = c.read(); posted.Op != abi.OpGate || posted.Seq != 4 {
		t.Errorf("a gate to a mailbox that the change brings: %+v", posted)
	}
	s.m.mu.Lock()
	s.m.Fabric = fabric
	s.m.mu.Unlock()
	kept := keeper.names()
	if !slices.Contains(kept, keptNext) || !slices.Contains(kept, "object 2") || slices.Contains(kept, keptImage) {
		t.Fatalf("it does not die in between: %q", kept)
	}

	m := s.nextOf(keeper, before, sealed(t, after))
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[client]
	if n := len(m.book.Instances()); n != 1 || len(m.book.References(d.owner())) != 1 || len(m.book.OffersOf(d.owner())) != 0 {
		t.Errorf("%d instances; references: %+v", n, m.book.References(d.owner()))
	}
}
