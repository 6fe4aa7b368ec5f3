package audit

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/filter"
	"ward/image"
)

// Two strings have 32 bytes each of a record's text: what is left out of the
// first is not made up from the second's.
func TestTextsOfARecord(t *testing.T) {
	params := []filter.Param{{Name: "a", Text: true, Type: image.String}, {Name: "n", Type: image.Uint32}, {Name: "b", Text: true, Type: image.String}}
	k := &abi.Record{Present: 7, Params: []uint64{40, 7, 32<<32 | 3}, Text: []byte(strings.Repeat("x", 32) + "foo")}
	for i, want := range map[int]string{0: strings.Repeat("x", 32) + "…", 2: "foo"} {
		if got := text(params, k, i); got != want {
			t.Errorf("string %d: %q, want %q", i, got, want)
		}
	}
}

// One of a thing is no things.
func TestCounted(t *testing.T) {
	a := run(t)
	a.send(event.New(event.Compiled))
	e := event.New(event.Reloaded)
	e.Status, e.Count = 1, 1
	a.send(e)
	all := a.finish()
	for _, c := range []struct{ event, want string }{{EventCompiled, "2 domains, 1 method, 1 policy"}, {EventReload, "1 gate swapped, 1 closed"}} {
		if found := find(all, c.event); len(found) != 1 || found[0].Detail != c.want {
			t.Errorf("%s: %+v, want %s", c.event, found, c.want)
		}
	}
}

// Of a message inside a message the filter remembers that it is there, and where:
// the record says the former.
func TestNestedParameter(t *testing.T) {
	if v := value(&filter.Param{Name: "sub", Type: image.Nested}, 12<<32|3); v != true {
		t.Errorf("%v", v)
	}
	if v, ok := value(&filter.Param{Name: "subs", Type: image.Nested, Count: true}, 2).(map[string]uint64); !ok || v["count"] != 2 {
		t.Errorf("%v", v)
	}
}
