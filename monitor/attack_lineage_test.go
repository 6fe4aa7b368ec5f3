package monitor

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// makingChildren is a creator that makes children as it starts domains.
type makingChildren struct {
	*fakeCreator
	mu     sync.Mutex
	orders []Order
}

func (c *makingChildren) Spawn(ctx context.Context, o Order, control, output *os.File) (Process, error) {
	c.mu.Lock()
	c.orders = append(c.orders, o)
	c.mu.Unlock()
	return c.Start(ctx, o.Child, control, output)
}

// notingFabric is a fabric that remembers by what policies gates are judged.
type notingFabric struct {
	*fakeFabric
	mu    sync.Mutex
	atoms []Atoms
}

func (f *notingFabric) Load(img *image.Image, route uint32, a Atoms, c, s Endpoint) (Route, error) {
	f.mu.Lock()
	f.atoms = append(f.atoms, a)
	f.mu.Unlock()
	return f.fakeFabric.Load(img, route, a, c, s)
}

// lastChain is the chain of the route that was loaded last.
func (f *notingFabric) lastChain() image.Chain {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.atoms[len(f.atoms)-1].Chain
}

// Templates of lineage.
const (
	middle abi.DomainID = 3 + iota
	lowest
)

// lineage lets client make children of middle, and those of lowest. All may call
// t.Echo; lowest may lend it to second and to client.
func lineage(i *image.Image) {
	yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: abi.NoPolicy}
	may := image.Children{Number: 4, Depth: 3, Tree: 8, Inherit: image.InheritAll}
	i.Domains[client].Children = may
	for _, name := range []string{"middle", "leaf"} {
		i.Domains = append(i.Domains, image.Domain{Name: name, Program: "/bin/" + name, Ring: i.Domains[0].Ring, Start: yes, Template: true, Children: may})
	}
	for _, d := range []abi.DomainID{middle, lowest} {
		r := i.Routes[0]
		r.Client = d
		i.Routes = append(i.Routes, r)
	}
	i.Spawns = []image.Spawn{{Parent: client, Template: middle, Spawn: yes, Adopt: no}, {Parent: middle, Template: lowest, Spawn: yes, Adopt: no}, {Parent: client, Template: lowest, Spawn: yes, Adopt: no}}
	i.Grants = []image.Grant{grantOf(lowest, second, yes), grantOf(lowest, client, yes)}
}

func grantOf(from, to abi.DomainID, v image.Verdict) image.Grant {
	return image.Grant{From: from, To: to, Verdict: v}
}

// family is a system with a child of client and one of that child.
type family struct {
	*system
	creator               *makingChildren
	fabric                *notingFabric
	parent, child, lowest *fakeDomain
}

// startFamily starts one; life is how long the child may live.
func startFamily(t *testing.T, life time.Duration, change func(*image.Image)) *family {
	t.Helper()
	f := &family{}
	f.system = startSystem(t, func(c *Config) {
		f.creator, f.fabric = &makingChildren{fakeCreator: c.Creator.(*fakeCreator)}, &notingFabric{fakeFabric: c.Fabric.(*fakeFabric)}
		c.Creator, c.Fabric = f.creator, f.fabric
		c.Image = changed(t, func(i *image.Image) { lineage(i); change(i) })
		sealed, err := link.Seal(image.Encode(c.Image))
		if err != nil {
			t.Fatal(err)
		}
		c.Sealed, c.Hash = sealed, image.Hash(image.Encode(c.Image))
	})
	f.parent = f.domain(client)
	server := f.domain(server)
	server.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	f.child = f.spawn(f.parent, "middle", life)
	f.lowest = f.spawn(f.child, "leaf", 0)
	return f
}

// spawn makes a child, and returns its side of its control channel.
func (f *family) spawn(by *fakeDomain, template string, life time.Duration) *fakeDomain {
	f.t.Helper()
	ask := abi.SpawnRequest{Template: template, Lifetime: uint64(life)}
	got, _ := by.ask(abi.Control{Op: abi.OpSpawn, Seq: 900, Text: ask.Encode()})
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

func lend(to string, life time.Duration, uses uint32) abi.Control {
	ask := abi.LendRequest{To: to, Entry: "t.Echo/Say", Lifetime: uint64(life), Uses: uses}
	return abi.Control{Op: abi.OpLend, Seq: 1, Text: ask.Encode()}
}

// A domain has its child, or a child of that, lend what it may not lend itself,
// before and after a reload. The controls: who may itself, and lending to one of
// its forebears, which no policy has to let lend to itself.
func TestAttackLendsByChild(t *testing.T) {
	yes, no, forbidden := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: abi.NoPolicy}, image.Verdict{Policy: 1}
	grants := func(ofMiddle, ofClient image.Verdict) func(*image.Image) {
		return func(i *image.Image) {
			i.Grants = append(i.Grants, grantOf(middle, second, ofMiddle), grantOf(client, second, ofClient), grantOf(middle, client, yes))
		}
	}
	for name, c := range map[string]struct {
		to               string
		middle, client   image.Verdict
		reason           abi.Reason
		policy           uint32
		laterMid, laterC image.Verdict // after a reload
		ends             bool
	}{
		"control":                    {"second", yes, yes, 0, 0, yes, yes, false},
		"control: a forebear":        {"client", no, no, 0, 0, no, no, false},
		"nobody lets its parent":     {"second", no, yes, abi.ReasonDefault, abi.NoPolicy, no, no, false},
		"nobody lets the first":      {"second", yes, no, abi.ReasonDefault, abi.NoPolicy, no, no, false},
		"the first is forbidden it":  {"second", yes, forbidden, abi.ReasonForbid, 1, no, no, false},
		"its parent is forbidden it": {"second", forbidden, yes, abi.ReasonForbid, 1, no, no, false},
		"taken from its parent":      {"second", yes, yes, 0, 0, no, yes, true},
		"taken from the first":       {"second", yes, yes, 0, 0, yes, no, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFamily(t, 0, grants(c.middle, c.client))
			got, _ := f.lowest.ask(lend(c.to, time.Hour, 0))
			if c.reason != 0 {
				if got.Op != abi.OpRefused || got.Reason != c.reason || got.Detail != c.policy {
					t.Errorf("%+v, want it refused with %v by %d", got, c.reason, c.policy)
				}
				return
			}
			if got.Op != abi.OpLent {
				t.Fatalf("refused: %+v", got)
			}
			if _, err := f.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) { lineage(i); grants(c.laterMid, c.laterC)(i) }))}); err != nil {
				t.Fatal(err)
			}
			f.m.mu.Lock()
			defer f.m.mu.Unlock()
			if n := len(f.m.lent); n != 0 == c.ends {
				t.Errorf("after the reload there are %d delegations", n)
			}
		})
	}
}

// A reload takes from a domain the right to make, or to be outlived by, what its
// child has made: that ends. The control: a reload that leaves both.
func TestAttackReloadOfGrandchild(t *testing.T) {
	for name, ends := range map[string]bool{"control": false, "its parent's parent makes none": true} {
		t.Run(name, func(t *testing.T) {
			f := startFamily(t, 0, func(*image.Image) {})
			if _, err := f.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) {
				lineage(i)
				if ends {
					i.Spawns = i.Spawns[:2]
				}
			}))}); err != nil {
				t.Fatal(err)
			}
			if !ends {
				f.m.mu.Lock()
				defer f.m.mu.Unlock()
				if n := len(f.m.children); n != 2 {
					t.Errorf("%d children are left", n)
				}
				return
			}
			f.until("the end of the grandchild", func() bool { return len(f.m.children) == 1 })
			if !f.lowest.closed() {
				t.Error("it is told nothing of its end")
			}
		})
	}
}

// A child of a child is judged by three policies, each charged to whose it is,
// until the end of its parent's time; what is lent, whatever is recorded else, is
// recorded at each use, for that entry point alone, for its time and uses.
func TestChainOfGrandchild(t *testing.T) {
	f := startFamily(t, time.Hour, func(i *image.Image) {
		yes := image.Verdict{Allow: true, Policy: 0}
		i.Grants = append(i.Grants, grantOf(middle, second, yes), grantOf(client, second, yes))
	})
	if got, _ := f.lowest.ask(abi.Control{Op: abi.OpOpen, Seq: 2, Interface: "t.Echo", Name: "server"}); got.Op != abi.OpGate {
		t.Fatalf("no gate: %+v", got)
	}
	c := f.fabric.lastChain()
	f.creator.mu.Lock()
	until := f.creator.orders[0].Until
	ids := []abi.DomainID{f.creator.orders[1].Child, f.creator.orders[0].Child, client}
	f.creator.mu.Unlock()
	if len(c.Levels) != 3 || c.Client != ids[0] || c.Audit || c.Uses != 0 || len(c.Methods) != 1 {
		t.Fatalf("%+v", c)
	}
	for i, policy := range []abi.DomainID{lowest, middle, client} {
		l := c.Levels[i]
		if f.m.Image.Routes[l.Route].Client != policy || l.Sender != ids[i] {
			t.Errorf("level %d is %+v, want the policy of %d, charged to %d", i, l, policy, ids[i])
		}
	}
	if until == 0 || c.Until != until {
		t.Errorf("a child without an end of its time has %d, its parent %d", c.Until, until)
	}
	if got, _ := f.lowest.ask(lend("second", time.Minute, 3)); got.Op != abi.OpLent {
		t.Fatalf("nothing is lent: %+v", got)
	}
	to := f.domain(second)
	told, _ := to.read()
	if got, _ := to.ask(abi.Control{Op: abi.OpBorrow, Seq: 1, Block: told.Block, Name: "server"}); got.Op != abi.OpGate {
		t.Fatalf("no gate: %+v", got)
	}
	lent := f.fabric.lastChain()
	if len(lent.Levels) != 3 || lent.Levels[0] != c.Levels[0] || lent.Levels[2] != c.Levels[2] || lent.Client != second ||
		!lent.Audit || lent.Uses != 3 || lent.Until == 0 || lent.Until >= until || len(lent.Methods) != 1 {
		t.Errorf("%+v, of a chain %+v", lent, c)
	}
}
