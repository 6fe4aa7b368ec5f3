package kernel

import (
	"maps"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"ward/abi"
	"ward/image"
)

// alwaysLost is the compiled filter in which the compare-and-swap of a word of
// state never succeeds, as if another sender had always been there first.
func alwaysLost(t *testing.T) *object {
	t.Helper()
	o, err := loadObject()
	if err != nil {
		t.Fatal(err)
	}
	o = &object{programs: maps.Clone(o.programs), maps: o.maps}
	spec := o.programs["gate_effects"].Copy()
	o.programs["gate_effects"] = spec
	fn, last := "", -1
	for i := range spec.Instructions {
		if f := btf.FuncMetadata(&spec.Instructions[i]); f != nil {
			fn = f.Name
		}
		if fn == "settle" && spec.Instructions[i].OpCode.AtomicOp() == asm.CmpXchg {
			last = i
		}
	}
	if last < 0 {
		t.Fatal("no compare-and-swap in settle")
	}
	// R0 holds the old value that is expected, and afterwards the one that was there.
	lost := asm.Xor.Imm(asm.R0, 1)
	in := &spec.Instructions[last]
	in.OpCode, in.Dst, in.Src, in.Offset, in.Constant = lost.OpCode, lost.Dst, lost.Src, lost.Offset, lost.Constant
	return o
}

// Who loses every race for a word of state is denied after some tries, with the
// reason; nothing is changed, its slot is free, and what changes nothing passes.
// The control: with the filter as it is the same message is admitted.
func TestLostRacesAreBounded(t *testing.T) {
	img := stateImage(enters(cMode, 1), image.Rule{When: cellIs(cMode, 0)}, image.Rule{Enter: []image.Enter{{Cell: cMode, Value: 0}}})
	g := stateTest(t, img, FabricConfig{AuditAll: true})
	g.f.object = alwaysLost(t)
	was := g.f.object
	img.Routes[0].Methods[mWide].Request = image.Decision{} // programs of the same content are shared
	if err := g.tryReplace(img); err != nil {
		t.Fatal(err)
	}
	for slot := range uint16(3) {
		g.mustDeny(abi.Request, unary(slot, 1, 0), abi.ReasonRace)
		if r := g.record(abi.Request); r.Reason != abi.ReasonRace {
			t.Errorf("record %+v", r)
		}
		g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: 1}, nil), abi.ReasonNoCall)
		if v, n := g.value(img, cMode); v != 0 || n != 0 {
			t.Errorf("the state is %d after %d changes of messages that were denied", v, n)
		}
	}
	g.mustSend(abi.Request, unary(4, 1, 1)) // looks at the state
	g.mustSend(abi.Request, unary(5, 1, 2)) // stays as it is: there is nothing to race for

	o, err := loadObject()
	if err != nil {
		t.Fatal(err)
	}
	if g.f.object = o; was == o {
		t.Fatal("the filter is the same")
	}
	img.Routes[0].Methods[mDown].Request = image.Decision{}
	if err := g.tryReplace(img); err != nil {
		t.Fatal(err)
	}
	g.mustSend(abi.Request, unary(6, 1, 0))
	if v, n := g.value(img, cMode); v != 1 || n != 1 {
		t.Errorf("control: the state is %d after %d changes", v, n)
	}
}
