package kernel

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
)

// A gate that nobody described (of a child, by a delegation) outlives the
// process that made it: its row names slots of the program array, into which the
// next process puts the programs of others. Without Restored, the control, the
// old gate is then judged by a policy of somebody else.
func TestAttackUnrestoredGate(t *testing.T) {
	wide := echoImage()
	wide.Routes[0].Methods[0].Request.Permit[0].When.Right.Value.Long = 5000
	body := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 2000)
	call := func(slot uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, body)
	}
	for _, c := range []struct {
		name     string
		restored bool
	}{{"control", false}, {"attack", true}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4}
			g := newGateTest(t, echoImage(), cfg)
			if g.send(abi.Request, call(1)) != nil {
				t.Fatal("the first policy lets the call pass: the test shows nothing")
			}
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
			if c.restored {
				if err := f.Restored(); err != nil {
					t.Fatal(err)
				}
				if g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 5, Gen: 1}, []byte{8, 1})) != nil {
					t.Error("a gate that was not restored lets a call pass")
				}
			}
			spec, err := filter.Build(wide, 0, filter.Atoms{User: -1})
			if err != nil {
				t.Fatal(err)
			}
			// Fills the slots of the program array.
			for range 4 {
				r, err := f.Load(spec, client, server)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if !c.restored {
					break
				}
			}
			if passed := g.send(abi.Request, call(2)) != nil; passed == c.restored {
				t.Errorf("the old gate lets pass what another's policy allows: %v", passed)
			}
		})
	}
}

// What was restored stays as it is.
func TestRestoredKeeps(t *testing.T) {
	cfg := FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4}
	g := newGateTest(t, echoImage(), cfg)
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
	if _, err := f.RestoreGate(g.gate.Describe(), r); err != nil {
		t.Fatal(err)
	}
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	if g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, []byte{8, 1})) == nil {
		t.Error("a gate that was restored lets nothing pass")
	}
}

// Buckets are taken over by name, also those that nothing charges at the moment:
// coming again does not fill them. Rows of such as are charged once and never
// again are free.
func TestRestoredBuckets(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 2})
	once, rate := onceMark(true)+"domain 3072 uses 1", `domain 3072 "p" t.Say 0`
	f, err := RestoreFabric(FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 2}, dupAll(t, g.f.Files()), 1000,
		[]BucketState{{once, 0}, {rate, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.buckets.rows.get(&f.buckets.mu); err == nil {
		t.Fatal("a row that was taken over is free before anything is restored")
	}
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	if rows, err := f.buckets.take([]string{rate}); err != nil || rows[0] != 1 {
		t.Errorf("the bucket of a rate is in row %v, %v", rows, err)
	}
	if rows, err := f.buckets.take([]string{"another"}); err != nil || rows[0] != 0 {
		t.Errorf("the row of what ended is not free: %v, %v", rows, err)
	}
}
