package graph_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ward/abi"
	"ward/graph"
	"ward/image"
)

// loans is a system in which a desk and its clerks lend, of which the policies
// have an ID, and in which much may be lent that nobody ever can.
func loans(id string) *image.Image {
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	other := image.Verdict{Allow: true, Policy: 1}
	always := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}}
	never := image.Decision{Permit: always.Permit, Forbid: always.Permit}
	all := image.MethodPolicy{Request: always, Reply: always}
	methods := []image.MethodPolicy{all, all, all, {Request: never, Reply: always}}
	const store, desk, clerk, auditor, ghost, never1 = 0, 1, 2, 3, 4, 5
	lend := func(from, to abi.DomainID, method uint32, v image.Verdict) image.Grant {
		return image.Grant{From: from, To: to, Entry: image.Entry{Method: method}, Verdict: v}
	}
	route := func(client abi.DomainID) image.Route {
		return image.Route{Client: client, Server: store, Connect: yes, Methods: methods}
	}
	return &image.Image{Name: "loans",
		Domains: []image.Domain{
			{Name: "store", Ring: image.Ring{Level: 1}, Start: yes, Exports: []image.Export{{Publish: yes}}},
			{Name: "desk", Ring: image.Ring{Level: 2}, Start: yes},
			{Name: "clerk", Ring: image.Ring{Level: 3}, Start: yes, Template: true},
			{Name: "auditor", Ring: image.Ring{Level: 3}, Start: yes},
			{Name: "ghost", Ring: image.Ring{Level: 3}, Start: yes, Template: true}, // nobody may make one
			{Name: "never", Ring: image.Ring{Level: 3}, Start: no},
		},
		Interfaces: []image.Interface{{Name: "s.v1.Store", Methods: []image.Method{{Name: "Read"}, {Name: "Write"}, {Name: "List"}, {Name: "Forbidden"}}}},
		Messages:   []image.Message{{Name: "s.v1.M"}},
		Policies:   []image.Policy{{ID: id, Source: "policy.cedar:3"}, {ID: strings.Repeat("long ", 20), Source: "policy.cedar:9"}},
		Routes:     []image.Route{route(desk), route(clerk), route(ghost), route(never1)},
		Spawns:     []image.Spawn{{Parent: desk, Template: clerk, Spawn: yes, Adopt: no}},
		Grants: []image.Grant{
			lend(desk, clerk, 0, yes), lend(desk, clerk, 1, yes), lend(desk, clerk, 2, other), lend(desk, clerk, 3, yes), // what may not be called cannot be lent
			lend(desk, auditor, 0, yes), lend(desk, auditor, 1, image.Verdict{Policy: 0}), lend(desk, never1, 0, yes),
			lend(clerk, desk, 1, yes),                                    // to the one above it
			lend(clerk, auditor, 0, other), lend(clerk, auditor, 2, yes), // its maker may not lend List
			lend(ghost, auditor, 0, yes), lend(never1, auditor, 0, yes),
		},
	}
}

// TestLoans: each pair of who may lend to whom is an edge for an interface.
// What no policy permits, and what nobody can lend, is not drawn.
func TestLoans(t *testing.T) {
	g := graph.Of(loans("pens"), false)
	var got []string
	for _, l := range g.Loans {
		for _, m := range l.Methods {
			got = append(got, l.From+" lends "+l.To+" "+m.Name)
		}
	}
	want := "desk lends clerk Read, desk lends clerk Write, desk lends clerk List, desk lends auditor Read, clerk lends desk Write, clerk lends auditor Read"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("drawn:\n%s\nwant\n%s", s, want)
	}
	var records []string
	for _, r := range g.Records() {
		if r.Event == "loan" {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, string(b))
		}
	}
	const first = `{"event":"loan","from":"desk","to":"clerk","interface":"s.v1.Store","methods":[` +
		`{"method":"s.v1.Store/Read","permits":[{"id":"pens","source":"policy.cedar:3"}]},{"method":"s.v1.Store/Write","permits":[{"id":"pens","source":"policy.cedar:3"}]},`
	if len(records) != 4 || !strings.HasPrefix(records[0], first) {
		t.Errorf("records:\n%s", strings.Join(records, "\n"))
	}
}
