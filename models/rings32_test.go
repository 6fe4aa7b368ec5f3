package models_test

import (
	"fmt"
	"strings"
	"testing"

	"ward/compile"
	"ward/ring"
)

// lineOf makes a system of n rings with a domain in each; the server, in the
// middle one, has the bracket [n/4, n/2, 3n/4].
func lineOf(n int) string {
	var y strings.Builder
	y.WriteString("ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/rings-multics]\nrings: [")
	for i := range n {
		fmt.Fprintf(&y, "r%d, ", i)
	}
	fmt.Fprintf(&y, "]\ndomains:\n  server: {program: /s, ring: r%d, exports: [{interface: t.v1.T, bracket: [%d, %d, %d]}]}\n", n/2, n/4, n/2, 3*n/4)
	for i := range n {
		fmt.Fprintf(&y, "  c%d: {program: /c, ring: r%d}\n", i, i)
	}
	return y.String()
}

// From 4 to 32 rings, as the pattern has it: the bracket holds for a caller in
// each. One more is refused, with its place.
func TestThirtyTwoRings(t *testing.T) {
	for _, n := range []int{4, 8, 31, ring.Max} {
		img := compiled(t, files(lineOf(n), proto(1), everything))
		b := ring.Bracket{N1: n / 4, N2: n / 2, N3: 3 * n / 4}
		allowed := 0
		for i := range n {
			call, reply := passes(img, fmt.Sprintf("c%d", i), "server", 0)
			if want := b.Allows(i, true); call != want || reply != want {
				t.Errorf("%d rings, from ring %d to %v: call %v, reply %v, want %v", n, i, b, call, reply, want)
			}
			if call {
				allowed++
			}
			if got := img.Domains[1+i].Ring; int(got.Level) != i || got.Name != fmt.Sprintf("r%d", i) {
				t.Errorf("%d rings: c%d is in ring %d %s", n, i, got.Level, got.Name)
			}
		}
		if allowed != 3*n/4+1 {
			t.Errorf("%d rings: %d may call", n, allowed)
		}
	}
	r, l := compile.Dir(files(lineOf(ring.Max+1), proto(1), everything))
	if r.Image != nil || !strings.Contains(l.Error(), "system.yaml:6:1: error: rings has 33 entries") {
		t.Errorf("%d rings: %v", ring.Max+1, l)
	}
}
