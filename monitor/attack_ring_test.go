package monitor

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// Domains of inRings, after those of testImage.
const (
	ringed abi.DomainID = 3 + iota // in ring 1
	ringedSystem
	ringedUser
	hidden // a template of which nobody may make children
)

// inRings puts client into ring 1, and lets it make children of ringed in rings
// 1 and 3, and not in 2; those make children of ringed in all. Who is in ring 3 may not call.
func inRings(i *image.Image) {
	yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: abi.NoPolicy}
	may := image.Children{Number: 9, Depth: 3, Tree: 9, Inherit: image.InheritAll}
	rings := []image.Ring{{Level: 1, Name: "service"}, {Level: 2, Name: "system"}, {Level: 3, Name: "user"}}
	i.Domains[client].Children, i.Domains[client].Ring = may, rings[0]
	i.Domains[client].Quota = image.Quota{Processes: 1000, Memory: 8 << 30, Gates: 512}
	for _, d := range []struct {
		name string
		ring image.Ring
	}{{"ringed", rings[0]}, {"ringed@system", rings[1]}, {"ringed@user", rings[2]}, {"hidden", rings[2]}} {
		i.Domains = append(i.Domains, image.Domain{Name: d.name, Program: "/bin/ringed", Ring: d.ring, Start: yes, Template: true, Children: may})
	}
	for _, d := range []abi.DomainID{ringed, ringedSystem} {
		r := i.Routes[0]
		r.Client = d
		i.Routes = append(i.Routes, r)
	}
	i.Spawns = []image.Spawn{{Parent: client, Template: ringed, Spawn: yes, Adopt: no}, {Parent: client, Template: ringedUser, Spawn: yes, Adopt: no},
		{Parent: client, Template: ringedSystem, Spawn: image.Verdict{Policy: 1}, Adopt: no}}
	for parent := ringed; parent <= ringedUser; parent++ {
		for _, template := range []abi.DomainID{ringed, ringedUser} {
			i.Spawns = append(i.Spawns, image.Spawn{Parent: parent, Template: template, Spawn: yes, Adopt: no})
		}
	}
}

func startRings(t *testing.T) *family {
	t.Helper()
	f := &family{}
	f.system = startSystem(t, func(c *Config) {
		f.creator, f.fabric = &makingChildren{fakeCreator: c.Creator.(*fakeCreator)}, &notingFabric{fakeFabric: c.Fabric.(*fakeFabric)}
		c.Creator, c.Fabric, c.Image = f.creator, f.fabric, changed(t, inRings)
		c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
	})
	f.parent = f.domain(client)
	server := f.domain(server)
	server.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	return f
}

// childIn makes a child in a ring, and returns its side of its control channel.
func (f *family) childIn(by *fakeDomain, template, ring string) *fakeDomain {
	f.t.Helper()
	got := f.askRing(by, template, ring)
	if got.Op != abi.OpChild {
		f.t.Fatalf("no child: %+v", got)
	}
	f.creator.fakeCreator.mu.Lock()
	d := &fakeDomain{f.t, f.creator.ends[abi.DomainID(got.Block)]}
	f.creator.fakeCreator.mu.Unlock()
	if hello, _ := d.read(); hello.Op != abi.OpHello || hello.Name != got.Name {
		f.t.Fatalf("greeting: %+v", hello)
	}
	return d
}

// askRing asks for a child in a ring.
func (f *family) askRing(by *fakeDomain, template, ring string) abi.Control {
	ask := abi.SpawnRequest{Template: template, Ring: ring}
	got, _ := by.ask(abi.Control{Op: abi.OpSpawn, Seq: 901, Text: ask.Encode()})
	return got
}

// A hostile domain asks for children in rings that it may not have: more trusted
// than the template's, than its own, of no ring that there is, of what is no name. It
// is refused, with a record and a reason that tells no more than it may know. The
// controls: the rings that it may have, one of which another may not.
func TestAttackRing(t *testing.T) {
	f := startRings(t)
	low := f.childIn(f.parent, "ringed", "user")
	for name, c := range map[string]struct {
		by             *fakeDomain
		template, ring string
		made           abi.DomainID // of what; 0: refused
		reason         abi.Reason
		text           string
	}{
		"control: the template's ring unasked": {f.parent, "ringed", "", ringed, 0, ""},
		"control: the template's ring":         {f.parent, "ringed", "service", ringed, 0, ""},
		"control: a less trusted ring":         {f.parent, "ringed", "user", ringedUser, 0, ""},
		"control: by its other name":           {f.parent, "ringed@user", "", ringedUser, 0, ""},
		"control: back by its other name":      {f.parent, "ringed@user", "service", ringed, 0, ""},
		"control: of its own kind":             {low, "", "", ringedUser, 0, ""},
		"a ring that a policy forbids":         {f.parent, "ringed", "system", 0, abi.ReasonForbid, "no"},
		"the most trusted ring":                {f.parent, "ringed", "kernel", 0, abi.ReasonDefault, "and not in"},
		"ring 0":                               {f.parent, "ringed", "0", 0, abi.ReasonDefault, "and not in"},
		"a negative ring":                      {f.parent, "ringed", "-1", 0, abi.ReasonDefault, "and not in"},
		"an overflowing ring":                  {f.parent, "ringed", "4294967297", 0, abi.ReasonDefault, "and not in"},
		"the mark alone":                       {f.parent, "ringed", "@", 0, abi.ReasonDefault, "and not in"},
		"two rings":                            {f.parent, "ringed", "user@user", 0, abi.ReasonDefault, "and not in"},
		"a child":                              {f.parent, "ringed", "user#1", 0, abi.ReasonDefault, "and not in"},
		"NUL":                                  {f.parent, "ringed", "user\x00", 0, abi.ReasonDefault, "and not in"},
		"no text":                              {f.parent, "ringed", "\xff\xfe", 0, abi.ReasonDefault, "and not in"},
		"a long one":                           {f.parent, "ringed", strings.Repeat("user", 900), 0, abi.ReasonDefault, "and not in"},
		"more trusted than itself":             {low, "ringed", "", 0, abi.ReasonDefault, "would be more trusted"},
		"more trusted than itself, by name":    {low, "ringed", "service", 0, abi.ReasonDefault, "would be more trusted"},
		"itself, more trusted":                 {low, "", "service", 0, abi.ReasonDefault, "would be more trusted"},
		"by the name of what is less trusted":  {low, "ringed@user", "service", 0, abi.ReasonDefault, "would be more trusted"},
		"what it may not make":                 {f.parent, "hidden", "kernel", 0, abi.ReasonDefault, "no policy lets client make children of hidden: "},
		"what there is not":                    {f.parent, "nobody", "kernel", 0, abi.ReasonDefault, "no policy lets client make children of nobody: "},
	} {
		got := f.askRing(c.by, c.template, c.ring)
		e := f.audit.last(event.Spawned)
		if c.made == 0 {
			if got.Op != abi.OpRefused || got.Reason != c.reason || !strings.Contains(got.Text, c.text) || len(got.Text) > 400 {
				t.Errorf("%s: %+v, want it refused with %v: %q", name, got, c.reason, c.text)
			}
			if e.Allow || e.Reason != c.reason || e.Text != got.Text {
				t.Errorf("%s: recorded as %+v", name, e)
			}
			continue
		}
		if got.Op != abi.OpChild {
			t.Errorf("%s: refused: %+v", name, got)
			continue
		}
		f.creator.mu.Lock()
		o := f.creator.orders[len(f.creator.orders)-1]
		f.creator.mu.Unlock()
		level := f.m.Image.Domains[c.made].Ring.Level
		if o.Template != c.made || !e.Allow || e.Ring != level || e.To != c.made {
			t.Errorf("%s: made of %d, recorded as %+v, want %d in ring %d", name, o.Template, e, c.made, level)
		}
		f.m.mu.Lock()
		d := f.m.find(abi.DomainID(got.Block))
		if p := d.peer(); p.Ring != level || p.Name != got.Name {
			t.Errorf("%s: others see %+v", name, p)
		}
		f.m.mu.Unlock()
		f.creator.Signal(t.Context(), abi.DomainID(got.Block), 9)
		if told, _ := c.by.read(); told.Op != abi.OpChildEnded || told.Block != got.Block {
			t.Fatalf("%s: told %+v of its end", name, told)
		}
	}
}

// Policies of its ring decide what a child may call, and of its parent's ring.
func TestRingDecides(t *testing.T) {
	f := startRings(t)
	for ring, may := range map[string]bool{"": true, "user": false} {
		d := f.childIn(f.parent, "ringed", ring)
		if got, _ := d.ask(abi.Control{Op: abi.OpOpen, Seq: 2, Interface: "t.Echo", Name: "server"}); (got.Op == abi.OpGate) != may {
			t.Errorf("in the ring %q: %+v", ring, got)
		}
	}
}

// A reload keeps children in their rings, as long as there may be such; who is
// in a ring that is taken away is ended.
func TestReloadOfRings(t *testing.T) {
	f := startRings(t)
	var ids []abi.DomainID
	for _, ring := range []string{"", "user"} {
		got := f.askRing(f.parent, "ringed", ring)
		if got.Op != abi.OpChild {
			t.Fatalf("%+v", got)
		}
		ids = append(ids, abi.DomainID(got.Block))
	}
	reload := func(change func(*image.Image)) {
		if _, err := f.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) { inRings(i); change(i) }))}); err != nil {
			t.Fatal(err)
		}
	}
	reload(func(i *image.Image) { i.Domains[second].Needs = nil; i.Routes[0].Lookup = image.Verdict{Policy: 1} })
	f.m.mu.Lock()
	for i, want := range []int32{1, 3} {
		if d := f.m.children[ids[i]]; d == nil || d.def.Ring.Level != want || d.kin.overtaken {
			t.Errorf("after a reload child %d is %+v", i, d)
		}
	}
	f.m.mu.Unlock()
	reload(func(i *image.Image) { // the policy does not let anybody make children in that ring any more
		i.Spawns = []image.Spawn{i.Spawns[0]}
	})
	if told, _ := f.parent.read(); told.Op != abi.OpChildEnded || abi.DomainID(told.Block) != ids[1] {
		t.Fatalf("told %+v of the end of the child in the ring", told)
	}
	f.m.mu.Lock()
	if f.m.children[ids[0]] == nil {
		t.Error("the other child ended, too")
	}
	f.m.mu.Unlock()
	if got := f.askRing(f.parent, "ringed", "user"); got.Op != abi.OpRefused {
		t.Errorf("another one: %+v", got)
	}
}
