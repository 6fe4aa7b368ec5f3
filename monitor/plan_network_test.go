package monitor

import (
	"slices"
	"testing"

	"ward/image"
)

// TestFirstGate: a running domain with sockets and without gates gets none by a
// reload: it would keep sendmsg. The controls: one that has gates already, one without sockets.
func TestFirstGate(t *testing.T) {
	for _, test := range []struct {
		connect []string
		had     bool
		want    bool
	}{{[]string{"tcp:*:1"}, false, true}, {[]string{"tcp:*:1"}, true, false}, {nil, false, false}} {
		before, after := testImage(), testImage()
		for _, img := range []*image.Image{before, after} {
			img.Domains[client].Connect = test.connect
		}
		if !test.had {
			before.Routes = before.Routes[2:]
		}
		p := makePlan(before, after, nil, []bool{true, true, true})
		got := slices.ContainsFunc(p.restart, func(r restart) bool { return r.domain == client })
		if got != test.want {
			t.Errorf("connect %q, gates before: %v: restart %v, want %v", test.connect, test.had, got, test.want)
		}
	}
}
