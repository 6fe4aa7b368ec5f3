package kernel

import (
	"testing"

	"ward/abi"
	"ward/image"
)

// Of a table for as many handles as there can be, who takes it over finds those that
// there are, and reads no more rows than were ever used.
func TestRestoreManyHandles(t *testing.T) {
	const made = 2*handlePortion + 3
	cfg := FabricConfig{Gates: 8, Programs: 8, Words: 3, Buckets: 4, Handles: abi.MaxHandles}
	g := handleTest(t, handleImage(image.Rule{}), cfg)
	numbers := map[uint64]bool{}
	for i := range made {
		id, err := g.gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 4096})
		if err != nil {
			t.Fatal(err)
		}
		numbers[id] = true
		if i%3 == 0 {
			if err := g.f.ForgetHandle(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := g.f.handles.next
	files, clientFiles, serverFiles := dupAll(t, g.f.Files()), dupAll(t, g.client.Files()), dupAll(t, g.server.Files())
	f, err := RestoreFabric(cfg, files, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	client, err := f.RestoreEndpoint(0, 0, 0, clientFiles)
	if err != nil {
		t.Fatal(err)
	}
	server, err := f.RestoreEndpoint(1, 0, 0, serverFiles)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.RestoreRoute(g.route.Describe(), client, server)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := f.RestoreGate(g.gate.Describe(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	if f.handles.next != used || int(used) > made {
		t.Errorf("%d rows were found used, want %d", f.handles.next, used)
	}
	if n, want := len(f.handles.byGate[gate.incarnation]), len(g.f.handles.byGate[g.gate.incarnation]); n != want || n == 0 {
		t.Errorf("%d handles of the gate were found, want %d", n, want)
	}
	for id := range numbers {
		was, err := g.f.Handle(id)
		if err != nil {
			t.Fatal(err)
		}
		if is, err := f.Handle(id); err != nil || is != was {
			t.Errorf("handle %#x is %v and was %v, %v", id, is, was, err)
		}
	}
	for range made {
		id, err := gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 4096})
		if err != nil {
			t.Fatal(err)
		}
		if numbers[id] {
			t.Fatalf("handle %#x had been given away before", id)
		}
		numbers[id] = true
	}
}
