package ring

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// The table of Schroeder and Saltzer (CACM 1972, "call" instruction; the
// pattern's rule for a caller in ring i and a bracket [n1, n2, n3]).
func TestBracketTable(t *testing.T) {
	for _, c := range []struct {
		bracket Bracket
		want    string // of the callers in ring 0, 1, ...: o outward, w within, g gate, - denied
	}{
		{Bracket{0, 0, 0}, "w-------"}, // the innermost supervisor, for itself
		{Bracket{0, 0, 5}, "wggggg--"}, // a supervisor gate, as hcs_
		{Bracket{0, 5, 5}, "wwwwww--"}, // a library that runs in its caller's ring
		{Bracket{1, 1, 1}, "ow------"},
		{Bracket{1, 3, 5}, "owwwgg--"},
		{Bracket{4, 4, 4}, "oooow---"}, // user ring procedures
		{Bracket{4, 5, 5}, "oooowW--"},
		{Bracket{7, 7, 7}, "ooooooow"},
		{Bracket{0, 7, 7}, "wwwwwwww"},
		{Bracket{2, 2, 7}, "oowggggg"},
	} {
		for i, want := range strings.ToLower(c.want) {
			kind := map[rune]Crossing{'o': Outward, 'w': Within, 'g': Gate, '-': Denied}[want]
			if got := c.bracket.Cross(i); got != kind {
				t.Errorf("%v from ring %d: %v, want %v", c.bracket, i, got, kind)
			}
			if got, want := c.bracket.Allows(i, true), kind != Denied; got != want {
				t.Errorf("%v from ring %d at an entry point: %v", c.bracket, i, got)
			}
			if got, want := c.bracket.Allows(i, false), kind == Outward || kind == Within; got != want {
				t.Errorf("%v from ring %d elsewhere: %v", c.bracket, i, got)
			}
		}
	}
	if (Bracket{0, 0, 7}).Cross(-1) != Denied {
		t.Error("a ring that does not exist may call")
	}
}

func TestBracketCheck(t *testing.T) {
	for b, ok := range map[Bracket]bool{
		{0, 0, 0}: true, {0, 1, 3}: true, {3, 3, 3}: true,
		{-1, 0, 0}: false, {0, 0, 4}: false, {1, 0, 2}: false, {0, 3, 2}: false, {2, 1, 0}: false,
	} {
		if err := b.Check(4); (err == nil) != ok {
			t.Errorf("%v: %v", b, err)
		}
	}
}

// Intel SDM vol. 3A, figure 5-4 (data) and table 5-1 (gates), for levels 0 to 3.
func TestX86Tables(t *testing.T) {
	for cpl := range 4 {
		for rpl := range 4 {
			for dpl := range 4 {
				if got, want := X86Data(cpl, rpl, dpl), cpl <= dpl && rpl <= dpl; got != want {
					t.Errorf("data: CPL %d RPL %d DPL %d: %v", cpl, rpl, dpl, got)
				}
			}
		}
	}
	for _, c := range []struct {
		cpl, rpl, gate, dpl int
		want                bool
	}{
		{3, 3, 3, 0, true},  // figure 5-12: a gate for everybody to the kernel
		{3, 3, 2, 0, false}, // a gate that asks for more privilege
		{2, 3, 2, 0, false}, // a selector made for a less privileged caller: the confused deputy
		{2, 2, 2, 0, true},
		{0, 0, 3, 3, false}, // a call toward less privilege
		{1, 1, 3, 1, true},
		{3, 0, 3, 3, true},
	} {
		if got := X86Call(c.cpl, c.rpl, c.gate, c.dpl); got != c.want {
			t.Errorf("call: %+v: %v", c, got)
		}
	}
}

func TestLine(t *testing.T) {
	o, err := Line([]string{"kernel", "service", "system", "user"})
	if err != nil || !o.Linear() {
		t.Fatal(err, o)
	}
	for a := range 4 {
		for b := range 4 {
			if o.Trusts(a, b) != (a <= b) || !o.Comparable(a, b) {
				t.Errorf("%d %d", a, b)
			}
			if d, ok := o.Distance(a, b); !ok || d != max(a-b, b-a) {
				t.Errorf("distance %d %d: %d %v", a, b, d, ok)
			}
		}
		if o.Level(a) != a {
			t.Errorf("level of %d: %d", a, o.Level(a))
		}
	}
	if got := o.Above(1); !slices.Equal(got, []string{"kernel", "service"}) {
		t.Error(got)
	}
	if o.Trusts(0, 4) || o.Trusts(-1, 0) || o.Level(9) != -1 || o.Find("user") != 3 {
		t.Error("rings that do not exist")
	}
}

// A database beside, not below, the utilities (the modified S/370 of the pattern).
func TestPartialOrder(t *testing.T) {
	names := []string{"kernel", "database", "utilities", "tools", "user"}
	o, err := New(names, [][]string{{}, {"kernel"}, {"kernel"}, {"utilities"}, {"database", "tools"}})
	if err != nil || o.Linear() {
		t.Fatal(err)
	}
	if got := o.level; !slices.Equal(got, []int{0, 1, 1, 2, 3}) {
		t.Error("levels", got)
	}
	beside := [][2]int{{1, 2}, {1, 3}}
	for a := range names {
		for b := range names {
			want := !slices.Contains(beside, [2]int{min(a, b), max(a, b)})
			if o.Comparable(a, b) != want {
				t.Errorf("%s and %s: %v", names[a], names[b], !want)
			}
			for c := range names { // the laws of an order
				if o.Trusts(a, b) && o.Trusts(b, c) && !o.Trusts(a, c) || a != b && o.Trusts(a, b) && o.Trusts(b, a) || !o.Trusts(a, a) {
					t.Errorf("not an order: %d %d %d", a, b, c)
				}
			}
			if o.Trusts(a, b) && a != b && o.Level(a) >= o.Level(b) {
				t.Errorf("levels of %s and %s", names[a], names[b])
			}
		}
	}
	if _, ok := o.Distance(1, 3); ok {
		t.Error("a distance between rings beside each other")
	}
}

func TestBadOrders(t *testing.T) {
	many := make([]string, Max+1)
	for i := range many {
		many[i] = strings.Repeat("a", i+1)
	}
	for _, c := range []struct {
		names []string
		above [][]string
		want  string
	}{
		{nil, nil, "0 rings"},
		{many, make([][]string, len(many)), "33 rings"},
		{[]string{"a", "a"}, [][]string{{}, {}}, `"a" is there twice`},
		{[]string{"a", "b"}, [][]string{{}, {"c"}}, `below "c"`},
		{[]string{"a", "b", "c"}, [][]string{{}, {"c"}, {"b"}}, `"b" stands above itself`},
		{[]string{"a"}, [][]string{{"a"}}, `"a" stands above itself`},
	} {
		_, err := New(c.names, c.above)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.names, err, c.want)
		}
	}
	if o, err := New(many[:Max], make([][]string, Max)); err != nil || o.Level(Max-1) != 0 {
		t.Error("a system may have all rings beside each other", err)
	}
}

// The matrix of Bell and LaPadula: (secret, {nato}) and its neighbours.
func TestLattice(t *testing.T) {
	labels := []Label{{0, nil}, {1, nil}, {1, []string{"nato"}}, {1, []string{"crypto"}}, {2, []string{"nato"}}, {2, []string{"crypto", "nato"}}}
	flows := []string{ // from a row to a column
		"111111",
		"011111",
		"001011",
		"000101",
		"000011",
		"000001",
	}
	for i, a := range labels {
		for j, b := range labels {
			if got, want := Flows(a, b), flows[i][j] == '1'; got != want {
				t.Errorf("from %v to %v: %v", a, b, got)
			}
			if j := a.Join(b); !j.Dominates(a) || !j.Dominates(b) {
				t.Errorf("%v is no bound of %v and %v", j, a, b)
			}
		}
	}
}

func TestIntegrity(t *testing.T) {
	for a := range 4 {
		for b := range 4 {
			if Taints(a, b) != (a < b) {
				t.Errorf("strict: %d to %d", a, b)
			}
		}
	}
	level := 3
	for i, step := range []struct{ read, want int }{{3, 3}, {2, 2}, {3, 2}, {0, 0}, {3, 0}} { // it never rises
		if level = LowWater(level, step.read); level != step.want {
			t.Errorf("step %d: %d, want %d", i, level, step.want)
		}
	}
}
