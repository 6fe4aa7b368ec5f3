package system

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestLowerRings(t *testing.T) {
	for _, c := range []struct{ rings, domain, want string }{
		{"", "ring: service, lower_rings: [user, system]", ""},
		{"", "ring: service, template: true, lower_rings: [user]", ""},
		{"", "lower_rings: [user]", `lower_rings of domain "d": "user" is no less trusted than its ring "user"`},
		{"", "ring: system, lower_rings: [service]", `"service" is no less trusted than its ring "system"`},
		{"", "ring: system, lower_rings: [kernel]", "less trusted are user"},
		{"", "ring: system, lower_rings: [usr]", `unknown ring "usr"`},
		{"", "ring: system, lower_rings: [user, user]", `the ring "user" is there twice`},
		{"", "ring: sytem, lower_rings: [user]", `unknown ring "sytem"`},
		{"", "ring: system, lower_rings: user", "lower_rings"},
		{"", "ring: system, lower_rings: [3]", "lower_rings"},
		{"rings: { a: [], b: [a], c: [a], d: [b] }\n", "ring: b, lower_rings: [d]", ""},
		{"rings: { a: [], b: [a], c: [a], d: [b] }\n", "ring: b, lower_rings: [c]", `"c" is no less trusted than its ring "b"`},
		{"rings: [r, " + strings.Repeat("x", 62) + "]\n", "ring: r, lower_rings: [" + strings.Repeat("x", 62) + "]", ""},
		{"rings: [r, " + strings.Repeat("x", 63) + "]\n", "ring: r, lower_rings: [" + strings.Repeat("x", 63) + "]", "more than 63 characters together"},
	} {
		text := "ward: 1\nname: s\n" + c.rings + "domains:\n  d: { program: /bin/d, " + c.domain + " }\n"
		sys, l := Load(fstest.MapFS{"system.yaml": {Data: []byte(text)}})
		switch {
		case c.want == "" && (l.Failed() || len(sys.Domain("d").Lower) == 0):
			t.Errorf("%s%s: %v", c.rings, c.domain, l)
		case c.want != "" && (!l.Failed() || !strings.Contains(l.Error(), c.want)):
			t.Errorf("%s%s: %v, want %q", c.rings, c.domain, l, c.want)
		case c.want != "" && l[0].Pos.Line == 0:
			t.Errorf("%s%s: %v has no place", c.rings, c.domain, l)
		}
	}
	text := "ward: 1\nname: s\ndomains:\n  names: { ring: service, lower_rings: [user] }\n"
	if _, l := Load(fstest.MapFS{"system.yaml": {Data: []byte(text)}}); !l.Failed() || !strings.Contains(l.Error(), "no children are made of the name server") {
		t.Errorf("of the name server: %v", l)
	}
}
