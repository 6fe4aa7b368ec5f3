package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// slotFabric has room for a few routes, as a kernel.Fabric has.
type slotFabric struct {
	Fabric
	mu   sync.Mutex
	room int // for routes
	used int
}

// toldFabric says so to the monitor, with room for all that is reserved besides.
type toldFabric struct {
	*slotFabric
	slots int
}

func (f toldFabric) Slots() int { return f.slots }

type slotRoute struct {
	Route
	f      *slotFabric
	closed bool
}

func (f *slotFabric) Load(img *image.Image, route uint32, a Atoms, c, s Endpoint) (Route, error) {
	r, err := f.Fabric.Load(img, route, a, c, s)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.used == f.room {
		return nil, errors.Join(err, fmt.Errorf("%d of %d all in use", f.used, f.room))
	}
	f.used++
	return &slotRoute{Route: r, f: f}, nil
}

func (r *slotRoute) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.f.used--
	}
	return r.Route.Close()
}

func (f *slotFabric) Prepare(img *image.Image, changes []Change) (Swap, error) {
	var list []Change
	for _, c := range changes {
		c.Route = c.Route.(*slotRoute).Route
		list = append(list, c)
	}
	return f.Fabric.Prepare(img, list)
}

func (f *slotFabric) inUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// manyChildren lets client have many children, each of which has little.
func manyChildren(i *image.Image) {
	i.Domains[client].Children.Number, i.Domains[client].Children.Tree = 16, 16
	for d, share := range map[abi.DomainID]uint32{client: 100, middle: 10, lowest: 2} {
		i.Domains[d].Quota.Gates, i.Domains[d].Quota.Processes, i.Domains[d].Quota.Memory = 2*share, 20*share, uint64(share)<<24
	}
}

// roomFamily is a family in a fabric that has slots for the image's own routes, and for so many
// besides; told: the monitor knows.
func roomFamily(t *testing.T, kin int, told bool, change func(*image.Image)) (*family, *slotFabric) {
	t.Helper()
	f := startFamily(t, 0, func(i *image.Image) {
		manyChildren(i)
		change(i)
	})
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	slots := &slotFabric{Fabric: f.m.Fabric, room: ownRoutes(f.m.Image) + kin}
	f.m.Fabric = slots
	if told {
		f.m.Fabric = toldFabric{slots, 2 * (reserved(f.m.Image) + kin)}
	}
	f.m.furnish()
	return f, slots
}

// another makes a child of client; what that is told of others is passed over.
func (f *family) another(template string, seq uint32) (abi.DomainID, *fakeDomain) {
	f.t.Helper()
	ask := abi.SpawnRequest{Template: template}
	f.parent.send(abi.Control{Op: abi.OpSpawn, Seq: 800 + seq, Text: ask.Encode()})
	got, _ := f.parent.answer(800 + seq)
	if got.Op != abi.OpChild {
		f.t.Fatalf("no child: %+v", got)
	}
	id := abi.DomainID(got.Block)
	d := f.domainAgain(id)
	d.read() // the greeting
	return id, d
}

func (d *fakeDomain) echo() abi.Control {
	d.t.Helper()
	d.send(abi.Control{Op: abi.OpOpen, Seq: 70, Interface: "t.Echo", Name: "server"})
	got, _ := d.answer(70)
	return got
}

// A family makes children without end, each of which has a route loaded. A bystander's first
// route is loaded all the same, and so is the family's own. The control: where nothing
// is kept for them, the bystander is refused, as there is no slot left.
func TestAttackRoutesByChildren(t *testing.T) {
	for name, told := range map[string]bool{"control: nothing is reserved": false, "reserved": true} {
		t.Run(name, func(t *testing.T) {
			const share, kin = 3, 6 // of two families
			f, slots := roomFamily(t, kin, told, withSecond)
			bystander := f.domain(second)
			own := ownRoutes(f.m.Image)
			var refused abi.Control
			got := 0
			for range kin + own + 1 {
				if a := f.spawn(f.parent, "leaf", 0).echo(); a.Op == abi.OpGate {
					got++
				} else {
					refused = a
				}
			}
			if refused.Op != abi.OpRefused || refused.Reason != abi.ReasonQuota {
				t.Errorf("the last child: %+v", refused)
			}
			first := bystander.echo()
			if !told {
				if got != kin+own || first.Op != abi.OpRefused || slots.inUse() != slots.room {
					t.Errorf("%d routes for children, %d of %d in use; the bystander: %+v", got, slots.inUse(), slots.room, first)
				}
				return
			}
			if got != share || first.Op != abi.OpGate {
				t.Errorf("%d routes for children, want %d; the bystander: %+v", got, share, first)
			}
			if !strings.Contains(refused.Text, "no more gates: 3 routes are loaded for children of client and what it and they were lent, which is the limit") {
				t.Errorf("told: %q", refused.Text)
			}
			if a := f.parent.echo(); a.Op != abi.OpGate {
				t.Errorf("the family's own route: %+v", a)
			}
			times := uint64(kin + own + 1 - share)
			f.until("a record", func() bool { return f.m.domains[client].hits.Routes == times })
			if e := f.audit.last(event.Quota); e.Domain != client || !strings.HasPrefix(e.Text, "routes: ") || !strings.Contains(e.Text, "at most 3 routes") {
				t.Errorf("recorded: %+v", e)
			}
			if e := f.audit.last(event.Gate); e.Kind != event.Gate {
				t.Error("no gate is recorded")
			}
			d, err := admin.Describe(t.Context(), f.m.RunDir, "client")
			if err != nil || d.Descriptor.Routes != share || d.Descriptor.Quota.Routes != share || d.Descriptor.Hits.Routes != times {
				t.Errorf("shown: %+v, %v", d.Descriptor, err)
			}
		})
	}
}

// What a domain was lent is of its own share, also by its children; a route that
// there is serves any number of gates; and what a child had is there again when it has ended.
func TestRoomOfFamilies(t *testing.T) {
	yes := image.Verdict{Allow: true, Policy: 0}
	f, slots := roomFamily(t, 4, true, func(i *image.Image) {
		withSecond(i)
		i.Grants = append(i.Grants, grantOf(client, second, yes), grantOf(middle, second, yes))
	})
	if f.m.room.share != 2 {
		t.Fatalf("a share is %d of %d", f.m.room.share, f.m.room.all)
	}
	borrower := f.domain(second)
	borrow := func(lender *fakeDomain) abi.Control {
		if a, _ := lender.ask(lend("second", time.Hour, 0)); a.Op != abi.OpLent {
			t.Fatalf("no delegation: %+v", a)
		}
		told, _ := borrower.read()
		borrower.send(abi.Control{Op: abi.OpBorrow, Seq: told.Block, Block: told.Block, Name: "server"})
		a, _ := borrower.answer(told.Block)
		return a
	}
	for i, want := range []abi.ControlOp{abi.OpGate, abi.OpGate, abi.OpRefused} {
		a := borrow(f.parent)
		if a.Op != want {
			t.Fatalf("delegation %d: %+v", i, a)
		}
		if want == abi.OpRefused && (a.Reason != abi.ReasonQuota || !strings.Contains(a.Text, "2 routes are loaded for children of second")) {
			t.Errorf("told: %+v", a)
		}
	}
	for _, d := range []*fakeDomain{f.child, f.lowest, f.child} {
		if a := d.echo(); a.Op != abi.OpGate {
			t.Errorf("of a family that has its share: %+v", a)
		}
	}
	third := f.spawn(f.parent, "leaf", 0)
	if a := third.echo(); a.Op != abi.OpRefused {
		t.Errorf("a third route of two: %+v", a)
	}
	if a := borrower.echo(); a.Op != abi.OpGate {
		t.Errorf("the borrower's own route: %+v", a)
	}
	f.gone(image.FirstChild + 1)
	if a := third.echo(); a.Op != abi.OpGate {
		t.Errorf("when another has ended: %+v", a)
	}
	if n := slots.inUse(); n != 5 {
		t.Errorf("%d routes are loaded", n)
	}
}

// A child whose policies have more rates than there are buckets left for children is told so.
func TestNoMoreRates(t *testing.T) {
	f := startFamily(t, 0, func(*image.Image) {})
	f.fabric.fakeFabric.mu.Lock()
	f.fabric.fail = fmt.Errorf("route 3: %w", ErrFull)
	f.fabric.fakeFabric.mu.Unlock()
	if a := f.child.echo(); a.Op != abi.OpRefused || a.Reason != abi.ReasonQuota || a.Text != noMoreRates {
		t.Errorf("%+v", a)
	}
}

// What is being loaded counts, too.
func TestRoomWhileLoaded(t *testing.T) {
	f, _ := roomFamily(t, 4, true, withSecond)
	third := f.spawn(f.parent, "leaf", 0)
	f.m.loader.lock(asker{id: 99})
	for i, d := range []*fakeDomain{f.child, f.lowest} {
		d.send(abi.Control{Op: abi.OpOpen, Seq: 70, Interface: "t.Echo", Name: "server"})
		f.until("it waits", func() bool { return f.m.loader.waiting() == i+1 })
	}
	if a := third.echo(); a.Op != abi.OpRefused || a.Reason != abi.ReasonQuota {
		t.Errorf("a third route of two: %+v", a)
	}
	f.child.send(abi.Control{Op: abi.OpOpen, Seq: 71, Interface: "t.Echo", Name: "server"}) // by the same route
	f.m.loader.unlock()
	for _, d := range []*fakeDomain{f.child, f.lowest, f.child} {
		if a, _ := d.read(); a.Op != abi.OpGate {
			t.Errorf("no gate: %+v", a)
		}
	}
}

// A server that keeps its ends of the gates of those that have ended keeps no family from
// loading other routes: the oldest are given up. So are those of the image, when they are more
// than there is room for.
func TestAttackEndsKept(t *testing.T) {
	f, slots := roomFamily(t, 4, true, func(i *image.Image) {
		withSecond(i)
		i.Domains[second].Restart = image.RestartAlways
	})
	var ended []abi.DomainID
	for n := range uint32(5) {
		id, child := f.another("leaf", n)
		if a := child.echo(); a.Op != abi.OpGate {
			t.Fatalf("child %d: %+v", n, a)
		}
		f.gone(id)
		ended = append(ended, id)
	}
	f.m.mu.Lock()
	left := len(f.m.room.kin)
	for g := range f.m.gates {
		if !slices.Contains(ended[3:], g.client.id) {
			t.Errorf("of %v that have ended the gate of %d is left", ended, g.client.id)
		}
	}
	f.m.room.left = 2
	f.m.RestartDelay = time.Nanosecond
	f.m.mu.Unlock()
	if left != 2 || slots.inUse() != 2 {
		t.Errorf("%d routes of children are left, %d loaded", left, slots.inUse())
	}
	for n := range 5 {
		f.starts(second, n+1)
		if a := f.domain(second).echo(); a.Op != abi.OpGate {
			t.Fatalf("start %d: %+v", n, a)
		}
		f.ends(second, exit3)
		f.starts(second, n+2)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	stale := len(f.m.stale)
	if stale > 2 {
		t.Errorf("%d routes are left", stale)
	}
}

// A reload for whose routes there is no room is refused, and changes nothing; one that there
// is room for lets each of more families have a smaller share.
func TestRoomInReload(t *testing.T) {
	f, _ := roomFamily(t, 6, true, func(i *image.Image) {
		withSecond(i)
		i.Grants = append(i.Grants, grantOf(client, second, image.Verdict{Allow: true, Policy: 0}))
	})
	after := func(routes, families int) error {
		_, err := f.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) {
			lineage(i)
			manyChildren(i)
			withSecond(i)
			for n := range routes {
				i.Interfaces = append(i.Interfaces, image.Interface{Name: fmt.Sprintf("t.More%d", n), Methods: i.Interfaces[0].Methods})
				i.Domains[server].Exports = append(i.Domains[server].Exports, image.Export{Interface: uint32(len(i.Interfaces) - 1), Publish: image.Verdict{Allow: true}})
				r := i.Routes[0]
				r.Interface = uint32(len(i.Interfaces) - 1)
				i.Routes = append(i.Routes, r)
			}
			i.Grants = append(i.Grants, grantOf(client, second, image.Verdict{Allow: true, Policy: 0}))
			if families > 2 {
				i.Grants = append(i.Grants, grantOf(client, server, image.Verdict{Allow: true, Policy: 0}))
			}
		}))})
		return err
	}
	for _, d := range []*fakeDomain{f.child, f.lowest, f.spawn(f.parent, "leaf", 0)} {
		if a := d.echo(); a.Op != abi.OpGate {
			t.Fatal(a)
		}
	}
	if err := after(2, 3); err == nil || !strings.Contains(err.Error(), "3 are loaded for children and by delegations; the system was started with room for") {
		t.Errorf("no room for two more, and for what is left of them: %v", err)
	}
	if f.m.room.share != 3 {
		t.Errorf("the share is %d", f.m.room.share)
	}
	if err := after(1, 3); err != nil || f.m.room.share != 1 {
		t.Errorf("the share is %d, %v", f.m.room.share, err)
	}
	if a := f.spawn(f.parent, "leaf", 0).echo(); a.Op != abi.OpRefused {
		t.Errorf("a fourth route: %+v", a)
	}
	for i, to := range []abi.DomainID{second, server} { // there are four for all
		f.parent.send(lend(f.m.Image.Domains[to].Name, time.Hour, 0))
		lent, _ := f.parent.answer(1)
		d := f.domainAgain(to)
		d.send(abi.Control{Op: abi.OpBorrow, Seq: 90, Block: lent.Block, Name: "server"})
		if a, _ := d.answer(90); (a.Op == abi.OpRefused) != (i == 1) || i == 1 && !strings.Contains(a.Text, "4 routes are loaded for children and delegations of all domains") {
			t.Errorf("by a delegation to domain %d: %+v", to, a)
		}
	}
}

// The next monitor counts what it finds loaded.
func TestRoomSurvives(t *testing.T) {
	yes := image.Verdict{Allow: true, Policy: 0}
	keeper := &aKeeper{}
	s := startSystem(t, func(c *Config) {
		c.Image = changed(t, func(i *image.Image) {
			lineage(i)
			manyChildren(i)
			i.Grants = append(i.Grants, grantOf(client, second, yes))
		})
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Creator = &makingChildren{fakeCreator: c.Creator.(*fakeCreator)}
		c.Holder, c.Fabric = keeper, roomyFabric{&aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}}
	})
	f := &family{system: s, creator: s.m.Creator.(*makingChildren), parent: s.domain(client)}
	s.domain(server).ok(serve(1, "t.Echo"))
	to := s.domain(second)
	children := []*fakeDomain{f.spawn(f.parent, "middle", 0), f.spawn(f.parent, "leaf", 0), f.spawn(f.parent, "leaf", 0)}
	if a, _ := f.parent.ask(lend("second", time.Hour, 0)); a.Op != abi.OpLent {
		t.Fatalf("no delegation: %+v", a)
	}
	told, _ := to.read()
	for _, d := range append(children, f.parent) {
		if a := d.echo(); a.Op != abi.OpGate {
			t.Fatal(a)
		}
	}
	if a, _ := to.ask(abi.Control{Op: abi.OpBorrow, Seq: 2, Block: told.Block, Name: "server"}); a.Op != abi.OpGate {
		t.Fatal(a)
	}
	f.gone(image.FirstChild + 1) // the server has its end of the gate still
	next := s.next(keeper)
	next.mu.Lock()
	defer next.mu.Unlock()
	for id, want := range map[abi.DomainID]int{client: 3, second: 1} {
		if all, its := next.kinUsed(&opening{client: next.domains[id]}); all != 4 || its != want {
			t.Errorf("domain %d: %d of %d, want %d", id, its, all, want)
		}
	}
	if next.room.share != kinRoutes/2 {
		t.Errorf("the share is %d", next.room.share)
	}
}

// roomyFabric has all the room that there may be.
type roomyFabric struct{ *aFabric }

func (roomyFabric) Slots() int { return 1 << 20 }
