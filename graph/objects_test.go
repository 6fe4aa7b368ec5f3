package graph_test

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/graph"
	"ward/image"
)

// objects is a system with memory of both kinds and a mailbox, of which the
// policies have an ID.
func objects(id string) *image.Image {
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	always := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}}
	size := image.Expr{Op: image.Less, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: 9}}}
	some := image.Decision{Permit: []image.Rule{{When: size}}}
	return &image.Image{Name: "objects",
		Domains: []image.Domain{
			{Name: "camera", Ring: image.Ring{Level: 1}, Start: yes},
			{Name: "viewer", Ring: image.Ring{Level: 2}, Start: yes},
			{Name: "absent", Ring: image.Ring{Level: 2}, Start: no},
			{Name: "orders", Mailbox: true, Start: no, Exports: []image.Export{{Publish: no}}},
			{Name: "unused", Mailbox: true, Start: no, Exports: []image.Export{{Publish: no}}},
		},
		Interfaces: []image.Interface{{Name: "o.v1.Orders", Methods: []image.Method{{Name: "Place"}, {Name: "Cancel"}, {Name: "Never"}}}},
		Messages:   []image.Message{{Name: "o.v1.M"}},
		Policies:   []image.Policy{{ID: id, Source: "policy.cedar:3"}},
		Objects: []image.Object{
			{Name: "frames", Kind: image.ObjectMemory, Size: 4 << 20, Count: 16, Domain: abi.NoDomain,
				Create: []image.Verdict{yes, no, yes, no, no}, Read: []image.Verdict{no, yes, yes, no, no}, Write: []image.Verdict{yes, no, yes, no, no}},
			{Name: "board", Kind: image.ObjectMemory, Size: 100, Count: 1, Shared: true, Domain: abi.NoDomain,
				Create: []image.Verdict{no, no, no, no, no}, Read: []image.Verdict{yes, yes, no, no, no}, Write: []image.Verdict{yes, no, no, no, no}},
			{Name: "orders", Kind: image.ObjectMailbox, Domain: 3,
				Create: []image.Verdict{no, no, no, no, no}, Read: []image.Verdict{no, yes, no, no, no}, Write: []image.Verdict{no, no, no, no, no}},
			{Name: "unused", Kind: image.ObjectMailbox, Domain: 4,
				Create: []image.Verdict{no, no, no, no, no}, Read: []image.Verdict{no, no, no, no, no}, Write: []image.Verdict{no, no, no, no, no}},
			{Name: "idle", Kind: image.ObjectMemory, Size: 1, Count: 1, Domain: abi.NoDomain,
				Create: []image.Verdict{no, no, no, no, no}, Read: []image.Verdict{no, no, no, no, no}, Write: []image.Verdict{no, no, no, no, no}},
		},
		Routes: []image.Route{{Client: 0, Server: 3, Connect: yes, Methods: []image.MethodPolicy{{Request: always}, {Request: some}, {}}}},
	}
}

// Each right is an edge, and what nobody has is not drawn: neither a right to
// write without that to read, nor those of a domain that may not start.
func TestObjects(t *testing.T) {
	g := graph.Of(objects("o"), false)
	var uses []string
	for _, u := range g.Uses {
		uses = append(uses, u.From+" "+u.Access+" "+g.Objects[u.Object].Name)
	}
	want := "camera create frames, viewer read frames, camera read board, camera write board, viewer read board, viewer read orders"
	if got := strings.Join(uses, ", "); got != want {
		t.Errorf("edges to objects:\n%s, want\n%s", got, want)
	}
	if len(g.Objects) != 3 {
		t.Errorf("drawn: %v", g.Objects)
	}
	var gates []string
	for _, e := range g.Gates {
		for _, m := range e.Methods {
			gates = append(gates, m.Name+map[bool]string{true: "?"}[e.Conditional]+map[bool]string{true: " no reply"}[m.NoReply])
		}
	}
	if got := strings.Join(gates, ", "); got != "Place, Cancel?" {
		t.Errorf("edges to the mailbox: %s", got)
	}
	for format, text := range map[string]string{"dot": g.DOT(), "mermaid": g.Mermaid()} {
		for _, word := range []string{"idle", "unused", "absent", "Never"} {
			if strings.Contains(text, word) {
				t.Errorf("%s draws %s:\n%s", format, word, text)
			}
		}
	}
	events := map[string]int{}
	for _, r := range g.Records() {
		events[r.Event]++
		if (r.Event == "memory" || r.Event == "mailbox") && (r.Policy == nil || r.Policy.ID != "o") {
			t.Errorf("record without its policy: %+v", r)
		}
	}
	if events["memory"] != 5 || events["mailbox"] != 1 || events["gate"] != 2 {
		t.Errorf("records: %v", events)
	}
}
