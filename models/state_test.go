package models_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
	"ward/ring"
)

// system is a running system without a kernel: messages are judged one after
// the other, and change state.
type running struct {
	t      *testing.T
	img    *image.Image
	memory *eval.Memory
}

func run(t *testing.T, img *image.Image) *running {
	return &running{t, img, eval.NewMemory(img)}
}

// message judges a message and commits it: whether it was admitted, and the policy that decided.
func (s *running) message(client, server string, method int, reply bool) (bool, string) {
	s.t.Helper()
	id := func(name string) abi.DomainID {
		if name == "user" {
			return abi.NoDomain
		}
		return abi.DomainID(slices.IndexFunc(s.img.Domains, func(d image.Domain) bool { return d.Name == name }))
	}
	for i := range s.img.Routes {
		r := &s.img.Routes[i]
		if r.Client != id(client) || r.Server != id(server) || s.img.Domains[r.Server].Names {
			continue
		}
		d := &r.Methods[method].Request
		if reply {
			d = &r.Methods[method].Reply
		}
		o := eval.Judge(d, nil, eval.Client{}, s.memory)
		by := "default"
		if o.Verdict.Policy != abi.NoPolicy {
			by = s.img.Policies[o.Verdict.Policy].ID
		}
		if !o.Verdict.Allow {
			return false, by
		}
		if _, reason := s.memory.Commit(&o); reason != abi.ReasonPermit {
			s.t.Fatalf("%s to %s: %v", client, server, reason)
		}
		return true, by
	}
	return false, "no route"
}

// value is what a state of a domain has.
func (s *running) value(state, domain string) string {
	for i, c := range s.img.Cells {
		if st := &s.img.States[c.State]; st.Name == state && s.img.Domains[c.Domain].Name == domain {
			return st.Values[s.memory.Cell(uint32(i))]
		}
	}
	return ""
}

// Random calls among domains of integrity 0 to 3, against the rule of Biba's
// low-water-mark policy: min on reading, no write up.
func TestLowWaterMark(t *testing.T) {
	const n, levels = 6, 4
	var y strings.Builder
	y.WriteString("ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/low-water-mark]\ndomains:\n")
	for i := range n {
		fmt.Fprintf(&y, "  c%d: {program: /c, label: {integrity: %d}, exports: [{interface: t.v1.T, socket: /run/%d, methods: {Read: {flow: reply}, Write: {flow: call}}}]}\n", i, i%levels, i)
	}
	const service = `syntax = "proto3";
package t.v1;
message Q { int32 x = 1; }
message None {}
service T { rpc Both(Q) returns (Q); rpc Read(None) returns (Q); rpc Write(Q) returns (None); }
`
	fsys := files(y.String(), service, everything)
	img, control := compiled(t, fsys), without(t, fsys)
	r := rand.New(rand.NewPCG(7, 7))
	denied, sunk := 0, 0
	for range 200 {
		s, c := run(t, img), run(t, control)
		var now [n]int
		for i := range now {
			now[i] = i % levels
		}
		for range 60 {
			a, b, method := r.IntN(n+1), r.IntN(n), r.IntN(3)
			if a == b {
				continue
			}
			client, server, level := fmt.Sprintf("c%d", a), fmt.Sprintf("c%d", b), 0
			if a == n {
				client = "user"
			} else {
				level = now[a]
			}
			want := method == 1 || !ring.Taints(level, now[b])
			got, by := s.message(client, server, method, false)
			if got != want {
				t.Fatalf("%s (%d) to %s (%d), method %d: %v by %s", client, level, server, now[b], method, got, by)
			}
			if ok, _ := c.message(client, server, method, false); !ok {
				t.Fatal("control")
			}
			if !got {
				denied++
				continue
			}
			if ok, by := s.message(client, server, method, true); !ok {
				t.Fatalf("reply of %s to %s: %s", server, client, by)
			}
			if a < n && method != 2 {
				if sinks := ring.LowWater(level, now[b]); sinks != level {
					now[a] = sinks
					sunk++
				}
			}
			if a < n {
				want := "declared"
				if now[a] != a%levels {
					want = fmt.Sprintf("i%d", now[a])
				}
				if got := s.value("Integrity", client); got != want {
					t.Fatalf("%s has integrity %s, want %s", client, got, want)
				}
			}
		}
	}
	if denied < 1000 || sunk < 500 {
		t.Errorf("%d denied, %d sunk: the test says little", denied, sunk)
	}
}

const duties = `ward: 1
name: t
interfaces: [t.proto]
policy: [p.cedar]
use: [ward/roles, ward/separation-of-duty]
roles:
  clerk: {may: [t.v1.T/M3]}
  buyer: {includes: [clerk], may: [t.v1.T/M0], excludes_acts: [payer]}
  payer: {may: [t.v1.T/M1]}
domains:
  server: {program: /s, exports: [t.v1.T]}
  both: {program: /c, roles: [buyer, payer]}
  other: {program: /c, roles: [buyer, payer]}
  one: {program: /c, roles: [payer]}
`

// Dynamic separation of duty: who acted in one role cannot act in the other.
func TestDynamicDuty(t *testing.T) {
	const also = "@id(\"both may ping\")\npermit (principal, action == t::v1::Action::\"T.M2\", resource);\n"
	img := compiled(t, files(duties, proto(4), also))
	const acted = "ward/separation-of-duty: payer after buyer: acted in another role"
	s := run(t, img)
	for i, c := range []struct {
		from   string
		method int
		allow  bool
		by     string
	}{
		{"both", 2, true, "both may ping"},                                    // acts in no role
		{"both", 0, true, "ward/roles: buyer t.v1.T/M0: a right of the role"}, // the buyer's act
		{"both", 0, true, "ward/roles: buyer t.v1.T/M0: a right of the role"}, // and once more
		{"both", 1, false, acted},
		{"both", 3, true, "ward/roles: clerk t.v1.T/M3: a right of the role"}, // a right of the buyer by inclusion
		{"both", 2, true, "both may ping"},
		{"other", 1, true, "ward/roles: payer t.v1.T/M1: a right of the role"}, // another domain chooses for itself
		{"other", 0, false, "ward/separation-of-duty: buyer after payer: acted in another role"},
		{"other", 3, false, "ward/separation-of-duty: buyer after payer: acted in another role"},
		{"one", 1, true, "ward/roles: payer t.v1.T/M1: a right of the role"},
		{"one", 0, false, "default"},
	} {
		if ok, by := s.message(c.from, "server", c.method, false); ok != c.allow || by != c.by {
			t.Errorf("step %d: %s calls M%d: %v by %q, want %v by %q", i, c.from, c.method, ok, by, c.allow, c.by)
		}
	}
	for domain, want := range map[string]string{"both": "buyer", "other": "payer", "one": "payer"} {
		if got := s.value("Duty1", domain); got != want {
			t.Errorf("%s acted as %s, want %s", domain, got, want)
		}
	}
	// The control: without the model, both may do both.
	s = run(t, compiled(t, files(strings.NewReplacer(", ward/separation-of-duty", "", ", excludes_acts: [payer]", "").Replace(duties), proto(4), also)))
	for _, m := range []int{0, 1, 0, 3} {
		if ok, _ := s.message("both", "server", m, false); !ok {
			t.Error("control: denied without the model")
		}
	}
}
