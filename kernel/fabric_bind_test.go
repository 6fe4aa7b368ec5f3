package kernel

import (
	"testing"

	"ward/abi"
)

// An endpoint that is made before its domain's process lets nobody send until it
// is bound; gates that are opened then let that cgroup.
func TestBind(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	if !g.f.SenderChecked() {
		t.Skip("needs bpf_get_current_cgroup_id in socket filters: Linux 6.18")
	}
	call := message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, vint(1, 5))
	g.client.Bind(^uint64(0))
	g.open()
	if got := g.send(abi.Request, call); got != nil {
		t.Fatalf("a message of nobody's was delivered: %x", got)
	}
	if r := g.record(abi.Request); r.Reason != abi.ReasonSender {
		t.Errorf("record: %+v", r)
	}
	g.client.Bind(0) // the control: any sender
	g.open()
	g.mustSend(abi.Request, call)
}
