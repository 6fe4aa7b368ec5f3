package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"ward/policy"
)

// TestListens: an address that two domains may listen on is refused at the place where the
// second one lists it, with that of the first. The control: if a policy forbids it to one
// of them, there is nothing to refuse.
func TestListens(t *testing.T) {
	const system = `ward: 1
name: listens
domains:
  dns: { program: /bin/true, listen: { queries: "udp:*:53" } }
  resolver: { program: /bin/true, listen: { local: "udp:127.0.0.1:53" } }
`
	for forbidden, text := range map[bool]string{
		false: ``,
		true:  `@id("only dns answers") forbid (principal == Domain::"resolver", action == ward::Action::"open.listen", resource);`,
	} {
		sys, set := load(t, system, `syntax = "proto3"; package l.v1;`)
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		if (img != nil) != forbidden || l.Failed() == forbidden {
			t.Errorf("forbidden: %v, compiles: %v: %v", forbidden, img != nil, l)
			continue
		}
		if forbidden {
			continue
		}
		f := l[0]
		if at := fmt.Sprint(f.Pos); !strings.Contains(at, "system.yaml:5:") || !strings.Contains(f.Error(), "system.yaml:4") || f.Fix == "" {
			t.Errorf("%v", f)
		}
	}
}
