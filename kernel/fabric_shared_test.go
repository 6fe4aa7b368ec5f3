package kernel

import (
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// manyImage is echoImage with a second client, whose route has the same policy.
func manyImage() *image.Image {
	img := echoImage()
	img.Domains = append(img.Domains, image.Domain{Name: "second"})
	r := img.Routes[0]
	r.Client = 2
	img.Routes = append(img.Routes, r)
	return img
}

// What a server answers to two clients under one policy is judged by one
// program; its records tell the clients apart, and it outlives either route.
func TestProgramsAreShared(t *testing.T) {
	img := manyImage()
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4, AuditAll: true})
	second, err := g.f.AddEndpoint(2, 0, 4, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	spec, err := filter.Build(img, 1, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	route, err := g.f.Load(spec, second, g.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { route.Close() })
	if route.programs[abi.Reply] != g.route.programs[abi.Reply] {
		t.Error("two programs for the same replies of one server")
	}
	if route.programs[abi.Request] == g.route.programs[abi.Request] {
		t.Error("one program for the requests of two clients")
	}
	first := g.gate
	g.route.Close()
	g.route = route
	g.open()
	body := vint(1, 7)
	g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, body))
	reply := message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 1}, vint(1, 1))
	if got := g.send(abi.Reply, reply); string(got) != string(reply) {
		t.Fatalf("after the other route has gone: received %x, %v", got, g.verdict(abi.Reply, 1).Reason())
	}
	if r := g.record(abi.Reply); r.From != 1 || r.To != 2 || r.Route != 1 || r.Gate != g.gate.Index {
		t.Errorf("record of the reply: %+v; want it from 1 to 2 on route 1, gate %d", r, g.gate.Index)
	}
	// The control: what was closed is closed.
	g.gate = first
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, body)); got != nil {
		t.Errorf("a gate of the closed route delivered %x", got)
	}
}

// A policy of one route that differs is a program of its own.
func TestProgramsOfOtherPoliciesAreNotShared(t *testing.T) {
	needRoot(t)
	img := manyImage()
	reply := image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}
	img.Routes[1].Methods = []image.MethodPolicy{{Request: img.Routes[0].Methods[0].Request, Reply: reply}}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
	spec, err := filter.Build(img, 1, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	// From the same client, so that both directions have the same sender.
	route, err := g.f.Load(spec, g.client, g.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { route.Close() })
	if route.programs[abi.Reply] == g.route.programs[abi.Reply] {
		t.Error("one program for two policies")
	}
}

// Code that a program's tables do not ask for is not there; what needs it all
// the same is denied.
func TestWhatIsNotUsedDenies(t *testing.T) {
	needRoot(t)
	spec, err := filter.Build(allImage(), 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]byte{"class": lend(18, "valid-name-09"), "set": vint(13, 1000), "far": vint(5000, 1)}
	for name, body := range bodies {
		for _, uses := range []uint64{spec.Programs[0].Uses, 0} {
			g := newGateTest(t, allImage(), FabricConfig{Gates: 4, Programs: 4})
			without := *spec
			without.Programs[0].Uses = uses
			if err := g.route.Replace(&without); err != nil {
				t.Fatal(err)
			}
			msg := message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, body)
			got := g.send(abi.Request, msg)
			if admitted := string(got) == string(msg); admitted != (uses != 0) {
				t.Errorf("%s with uses %#x: received %x, %v", name, uses, got, g.verdict(abi.Request, 1).Reason())
			}
		}
	}
}

// The policy that replaces another may come from an image whose routes are in
// another order: records name the route of the one that judged.
func TestRecordsNameTheNewRoute(t *testing.T) {
	img := manyImage()
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4, AuditAll: true})
	call := func(slot uint16) abi.Record {
		g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, vint(1, 7)))
		return g.record(abi.Request)
	}
	if r := call(1); r.Route != 0 {
		t.Errorf("before: route %d, want 0", r.Route)
	}
	img.Routes[0], img.Routes[1] = img.Routes[1], img.Routes[0]
	spec, err := filter.Build(img, 1, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		t.Fatal(err)
	}
	if r := call(2); r.Route != 1 || r.To != 1 {
		t.Errorf("after: route %d to %d, want 1 to 1", r.Route, r.To)
	}
	// A gate that is revoked stays so.
	if err := g.gate.Revoke(); err != nil {
		t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		t.Fatal(err)
	}
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 3, Gen: 1}, vint(1, 7))); got != nil {
		t.Errorf("a revoked gate delivered %x after a replacement", got)
	}
}
