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
)

// number is a message whose parameters are all this number.
type number int64

func (number) Has([]uint32) bool                 { return true }
func (n number) Long([]uint32, image.What) int64 { return int64(n) }
func (number) Text([]uint32) string              { return "" }
func (number) Elements([]uint32) []image.Value   { return nil }
func domainOf(img *image.Image, name string) abi.DomainID {
	return abi.DomainID(slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == name }))
}

// decision is one of the image, of a method of the interface that is not Ward's own.
func decision(t *testing.T, img *image.Image, client, server string, method int, reply bool) *image.Decision {
	t.Helper()
	for i := range img.Routes {
		r := &img.Routes[i]
		if r.Client != domainOf(img, client) || r.Server != domainOf(img, server) || img.Domains[r.Server].Names {
			continue
		}
		if reply {
			return &r.Methods[method].Reply
		}
		return &r.Methods[method].Request
	}
	t.Fatalf("no route from %s to %s", client, server)
	return nil
}

// A transition of a model admits nothing: what the user's own policies hold
// back stays denied, and changes nothing.
func TestTransitionsAdmitNothing(t *testing.T) {
	for _, c := range []struct {
		name, yaml, cedar string
		reply             bool
		state, now, then  string // of the one that the transition is about
	}{
		{"low-water mark", `ward: 1
name: t
interfaces: [t.proto]
policy: [p.cedar]
use: [ward/low-water-mark]
domains:
  high: {program: /h, label: {integrity: 2}}
  low: {program: /l, exports: [t.v1.T]}
`, everything + `@id("small answers")
permit (principal, action == t::v1::Action::"T.M0.reply", resource) when { context.y < 10 };
`, true, "Integrity", "declared", "i0"},
		{"separation of duty", `ward: 1
name: t
interfaces: [t.proto]
policy: [p.cedar]
use: [ward/roles, ward/separation-of-duty]
roles:
  buyer: {may: [t.v1.T/M0], excludes_acts: [payer]}
  payer: {may: [t.v1.T/M1]}
domains:
  high: {program: /h, roles: [buyer, payer]}
  low: {program: /l, exports: [t.v1.T]}
`, `@id("large orders")
forbid (principal, action == t::v1::Action::"T.M0", resource) when { context.x >= 10 };
`, false, "Duty1", "neither", "buyer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := compiled(t, files(c.yaml, proto(2), c.cedar))
			s := run(t, img)
			d := decision(t, img, "high", "low", 0, c.reply)
			if o := eval.Judge(d, number(10), eval.Client{}, s.memory); o.Verdict.Allow || o.Enters() {
				t.Errorf("what the policies hold back: %+v", o)
			}
			if got := s.value(c.state, "high"); got != c.now {
				t.Errorf("%s is %s after a denial, want %s", c.state, got, c.now)
			}
			// The control: what they permit makes the transition.
			o := eval.Judge(d, number(9), eval.Client{}, s.memory)
			if !o.Verdict.Allow || !o.Enters() {
				t.Fatalf("control: %+v", o)
			}
			if _, reason := s.memory.Commit(&o); reason != abi.ReasonPermit {
				t.Fatalf("control: %v", reason)
			}
			if got := s.value(c.state, "high"); got != c.then {
				t.Errorf("control: %s is %s, want %s", c.state, got, c.then)
			}
		})
	}
}

// The moves of the low-water mark alone keep it from rising, whatever a
// condition would let a transition do: here each has none.
func TestLowWaterMarkNeverRises(t *testing.T) {
	const levels = 4
	var y strings.Builder
	y.WriteString("ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/low-water-mark]\ndomains:\n")
	for i := range levels {
		fmt.Fprintf(&y, "  c%d: {program: /c, label: {integrity: %d}, exports: [t.v1.T]}\n", i, i)
	}
	img := compiled(t, files(y.String(), proto(1), everything))
	top := fmt.Sprintf("c%d", levels-1)
	var sinks []image.Rule // of every level, without conditions
	for i := range levels - 1 {
		for _, r := range decision(t, img, top, fmt.Sprintf("c%d", i), 0, true).Permit {
			if len(r.Enter) > 0 {
				r.When = image.Expr{Op: image.True}
				sinks = append(sinks, r)
			}
		}
	}
	if len(sinks) < levels-1 {
		t.Fatalf("%d transitions", len(sinks))
	}
	level := func(value string) int {
		if value == "declared" {
			return levels - 1
		}
		var n int
		if _, err := fmt.Sscanf(value, "i%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	r := rand.New(rand.NewPCG(1, 1))
	fell, refused := 0, 0
	for range 200 {
		s := run(t, img)
		for range 8 {
			was := level(s.value("Integrity", top))
			o := eval.Judge(&image.Decision{Permit: []image.Rule{sinks[r.IntN(len(sinks))]}}, number(0), eval.Client{}, s.memory)
			_, reason := s.memory.Commit(&o)
			is := level(s.value("Integrity", top))
			switch {
			case is > was:
				t.Fatalf("integrity rose from %d to %d", was, is)
			case is < was:
				fell++
			case reason == abi.ReasonState:
				refused++
			}
		}
	}
	if fell < 100 || refused < 100 {
		t.Errorf("fell %d times, refused %d times: the test says little", fell, refused)
	}
}
