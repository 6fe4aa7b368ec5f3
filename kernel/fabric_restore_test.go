package kernel

import (
	"encoding/binary"
	"os"
	"reflect"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
)

func dupAll(t *testing.T, files []*os.File) (kept []*os.File) {
	t.Helper()
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		k := os.NewFile(uintptr(fd), "kept")
		t.Cleanup(func() { k.Close() })
		kept = append(kept, k)
	}
	return kept
}

// A fabric is taken over, of descriptors and descriptions, while its gate
// carries calls: each is judged, the old gate's and new ones'; what the gate's
// word holds stays, nothing is handed out twice, and revoking works.
func TestRestoreFabric(t *testing.T) {
	cfg := FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4}
	reserved := uint32(0)
	cfg.Reserve = func(n uint32) error { reserved = n; return nil }
	g := newGateTest(t, echoImage(), cfg)
	if err := g.gate.SetState(7, 5); err != nil {
		t.Fatal(err)
	}
	files, clientFiles, serverFiles := dupAll(t, g.f.Files()), dupAll(t, g.client.Files()), dupAll(t, g.server.Files())
	route, gate := g.route.Describe(), g.gate.Describe()
	if reserved < gate.Incarnation {
		t.Errorf("gate %d was made, %d are reserved", gate.Incarnation, reserved)
	}

	const calls = 4000
	var load sync.WaitGroup
	body := func(width uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), width)
	}
	load.Go(func() {
		for i := range calls {
			width, want := uint64(800), abi.ReasonPermit
			if i%2 == 1 {
				width, want = 2000, abi.ReasonDefault
			}
			gen := uint16(i + 1)
			got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: gen}, body(width)))
			if v := g.verdict(abi.Request, 1); (got != nil) != (want == abi.ReasonPermit) || v.Reason() != want {
				t.Errorf("call %d: delivered %v, %v", i, got != nil, v.Reason())
				return
			}
			if got != nil {
				g.send(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: gen}, []byte{8, 1}))
			}
		}
	})
	f, err := RestoreFabric(cfg, files, reserved, nil)
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
	r, err := f.RestoreRoute(route, client, server)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := f.RestoreGate(gate, r)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Describe(); !reflect.DeepEqual(got, route) {
		t.Errorf("the route is %+v, and was %+v", got, route)
	}
	// What made it is gone: its maps, programs and endpoints.
	g.f.Close()
	g.client.release()
	g.server.release()
	for _, p := range g.route.programs {
		p.program.Close()
	}
	if _, err := f.RestoreGate(gate, r); err == nil {
		t.Error("a gate was restored twice")
	}
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	load.Wait()

	fresh, err := f.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Client.Close()
	defer fresh.Server.Close()
	if fresh.Index == gate.Index || fresh.ClientBlock == gate.ClientBlock || fresh.ServerBlock == gate.ServerBlock || fresh.incarnation <= gate.Incarnation {
		t.Errorf("a new gate %+v beside %+v", fresh.Describe(), gate)
	}
	if word, err := restored.State(); err != nil || word&7 != 5 {
		t.Errorf("the gate's word is %x, %v", word, err)
	}
	// A swap of the policy reaches the gate.
	img := echoImage()
	img.Routes[0].Methods[0].Request.Permit[0].When.Right.Value.Long = 10
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Replace(spec); err != nil {
		t.Fatal(err)
	}
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 2, Gen: 1}, body(800))); got != nil {
		t.Error("the new policy does not reach a gate that was restored")
	}
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 2, Gen: 2}, body(8))); got == nil {
		t.Error("the new policy lets nothing pass")
	}
	if err := restored.Revoke(); err != nil {
		t.Fatal(err)
	}
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 3, Gen: 3}, body(8))); got != nil {
		t.Error("a revoked gate lets calls pass")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// Rates go on where they were.
func TestRestoreBuckets(t *testing.T) {
	needRoot(t)
	cfg := FabricConfig{Gates: 2, Programs: 4, Buckets: 3}
	f, err := NewFabric(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := f.buckets.take([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	full := make([]byte, 8)
	binary.LittleEndian.PutUint64(full, 1<<62)
	if err := f.buckets.m.Put(rows[1], full); err != nil {
		t.Fatal(err)
	}
	files := dupAll(t, f.Files())
	f.Close()
	again, err := RestoreFabric(cfg, files, 0, []BucketState{{"b", rows[1]}, {"a", rows[0]}})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got, err := again.buckets.take([]string{"b", "c"})
	if err != nil || got[0] != rows[1] || got[1] == rows[0] || got[1] == rows[1] {
		t.Fatalf("rows %v after %v: %v", got, rows, err)
	}
	if v, err := again.buckets.m.LookupBytes(rows[1]); err != nil || string(v) != string(full) {
		t.Errorf("the bucket was filled again: %x, %v", v, err)
	}
}
