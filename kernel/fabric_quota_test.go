package kernel

import (
	"encoding/binary"
	"testing"

	"ward/abi"
	"ward/image"
)

// quotaImage has two permits, the second with a rate, and a client that may
// send so many messages a second; 0: as many as it likes.
func quotaImage(messages uint32) *image.Image {
	img := stateImage(image.Rule{}, limited(hour, 5))
	img.Domains = []image.Domain{{Name: "client", Quota: image.Quota{Messages: messages}}, {Name: "server"}}
	return img
}

// full reads when a bucket will be full.
func (g *gateTest) full(row uint32) uint64 {
	g.t.Helper()
	b, err := g.f.buckets.m.LookupBytes(row)
	if err != nil {
		g.t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b)
}

// A flood of messages ends when the bucket of the domain's quota is empty,
// whatever permits them and by whichever method they come; what is denied takes
// no token of another bucket, and replies are not counted. Without the quota the
// same flood passes.
func TestAttackFloodOfMessages(t *testing.T) {
	const messages = 1000
	g := stateTest(t, quotaImage(messages), FabricConfig{Buckets: 8})
	var slot uint16
	send := func(method uint32, width uint64) abi.VerdictWord {
		slot++
		g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Method: method, Slot: slot, Gen: 1}, vint(1, width)))
		return g.verdict(abi.Request, slot)
	}
	if v := send(mUnary, 0); v.Reason() != abi.ReasonPermit {
		t.Fatalf("%v", v.Reason())
	}
	quota, rate := g.bucketNamed("domain 0 messages"), g.bucketNamed("width 1", "Unary")
	if g.full(quota) == 0 {
		t.Fatal("the message took no token of the quota")
	}
	g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: 1}, vint(1, 1)))
	// Empty for a hundred hours: the test has not to be quicker than the bucket.
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	empty := now + 100*hour
	if err := g.f.buckets.m.Put(quota, empty); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method uint32
		width  uint64
	}{{mUnary, 0}, {mUnary, 1}, {mWide, 0}} {
		if v := send(c.method, c.width); v.Reason() != abi.ReasonRate {
			t.Errorf("method %d, width %d: %v", c.method, c.width, v.Reason())
		}
	}
	if n := g.taken(rate, hour); n != 0 {
		t.Errorf("%d tokens of the policy's rate are taken by what the quota denied", n)
	}
	if g.full(quota) != empty {
		t.Error("what is denied takes a token of the quota")
	}
	if r := g.record(abi.Request); r.Reason != abi.ReasonRate || r.Detail != abi.NoPolicy {
		t.Errorf("record %+v", r)
	}

	plain := stateTest(t, quotaImage(0), FabricConfig{Buckets: 8})
	for i := range 2 * messages { // control
		h := abi.Header{Kind: abi.KindCall, Slot: uint16(i % abi.Slots), Gen: uint16(i/abi.Slots + 1)}
		plain.mustSend(abi.Request, message(h, vint(1, 0)))
		h.Kind = abi.KindReply
		plain.mustSend(abi.Reply, message(h, vint(1, 1)))
	}
	for name := range plain.f.buckets.byName {
		if name == "domain 0 messages" {
			t.Error("a domain without the quota has its bucket")
		}
	}
}
