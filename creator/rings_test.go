package creator

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
)

// A creator takes no ring from the monitor: it makes a child of what its own
// image has in a ring, if that lets the parent, and never one that is more
// trusted than its parent, whose ring it knows itself. The controls: the same
// orders in rings that may be.
func TestAttackRingOfOrder(t *testing.T) {
	idle := []string{"idle"}
	ring := func(level int32, name string) image.Ring { return image.Ring{Level: level, Name: name} }
	may := image.Children{Number: 4, Depth: 3, Tree: 8}
	w := newWorld(t, 0,
		image.Domain{Name: "broker", Program: hostile, Args: idle, Ring: ring(1, "service"), Children: may},
		image.Domain{Name: "worker", Program: hostile, Args: idle, Ring: ring(1, "service"), Template: true, Children: may},
		image.Domain{Name: "worker@system", Program: hostile, Args: idle, Ring: ring(2, "system"), Template: true, Children: may},
		image.Domain{Name: "worker@user", Program: hostile, Args: idle, Ring: ring(3, "user"), Template: true, Children: may},
	)
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	for _, pair := range [][2]abi.DomainID{{0, 2}, {0, 3}, {2, 1}, {2, 2}, {2, 3}, {0, 1}} {
		s := image.Spawn{Parent: pair[0], Template: pair[1], Spawn: yes, Adopt: no}
		w.img.Spawns = append(w.img.Spawns, s)
	}
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	w.mustSpawn(Order{Child: c0, Parent: 0, Template: 2})
	w.mustSpawn(Order{Child: c0 + 1, Parent: c0, Template: 3})
	for what, c := range map[string]struct {
		o    Order
		want string
	}{
		"more trusted than its parent":     {Order{Child: c0 + 2, Parent: c0, Template: 1}, "more trusted"},
		"what no policy lets it make":      {Order{Child: c0 + 2, Parent: c0 + 1, Template: 3}, image.ErrChild.Error()},
		"a ring as the number of a domain": {Order{Child: c0 + 2, Parent: c0, Template: 3 << 16}, "no such"},
		"a child's number as what it is":   {Order{Child: c0 + 2, Parent: c0, Template: c0 + 1}, "no such"},
	} {
		if _, err := w.spawn(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	w.mustSpawn(Order{Child: c0 + 2, Parent: c0, Template: 2})
	if _, err := w.start(3); err == nil || !strings.Contains(err.Error(), "template") {
		t.Errorf("it is started as a domain: %v", err)
	}
}

// TestLongestName: the name of a child may be longer than what a host's may be.
func TestLongestName(t *testing.T) {
	w := familyWorld(t)
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Quota: image.ChildQuota{Processes: 100}, Name: strings.Repeat("n", 64) + "#1024"})
}
