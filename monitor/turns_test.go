package monitor

import (
	"fmt"
	"slices"
	"testing"
)

// Who asks on has one turn when all others who ask have had one, and one at a time.
func TestTurns(t *testing.T) {
	ask := func(id uint32) asker { return asker{id: id} }
	names := func(id uint32) asker { return asker{id: id, names: true} }
	for what, c := range map[string]struct {
		asked []asker
		want  []asker
	}{
		"in their order":     {[]asker{ask(1), ask(2), ask(3)}, []asker{ask(1), ask(2), ask(3)}},
		"who asks on":        {[]asker{ask(1), ask(1), ask(1), ask(2), ask(3), ask(2)}, []asker{ask(1), ask(2), ask(3), ask(1), ask(2), ask(1)}},
		"the name server":    {[]asker{ask(1), ask(2), ask(3), names(4)}, []asker{names(4), ask(1), ask(2), ask(3)}},
		"who asks it on":     {[]asker{names(9), names(9), names(9), ask(1), ask(2), names(3)}, []asker{names(9), ask(1), names(3), ask(2), names(9), names(9)}},
		"one that asks both": {[]asker{names(1), ask(1), ask(1)}, []asker{names(1), ask(1), ask(1)}},
		"user and domain":    {[]asker{ask(1), ask(1), {id: 1, user: true}}, []asker{ask(1), {id: 1, user: true}, ask(1)}},
	} {
		tt := turns[*opening]{last: 1}
		for _, a := range c.asked {
			tt.push(a, &opening{})
		}
		var got []asker
		for a, _, ok := tt.next(); ok; a, _, ok = tt.next() {
			got = append(got, a)
			tt.done(a)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
		if len(tt.asked)+len(tt.has)+len(tt.lines[0])+len(tt.lines[1]) != 0 {
			t.Errorf("%s: left %+v", what, tt)
		}
	}
}

// Of one who asks, the requests have their turns in their order, one after the other.
func TestTurnsOfOne(t *testing.T) {
	var tt turns[*opening]
	a := asker{id: 1}
	var list []*opening
	for i := range uint32(3) {
		list = append(list, &opening{seq: i})
		tt.push(a, list[i])
	}
	for i := range list {
		if _, o, _ := tt.next(); o != list[i] {
			t.Fatalf("turn %d is that of %+v", i, o)
		}
		if _, _, ok := tt.next(); ok {
			t.Fatal("it has two turns")
		}
		if i == 1 {
			list = append(list, &opening{seq: 3})
			tt.push(a, list[3])
		}
		tt.done(a)
	}
	if _, o, _ := tt.next(); o != list[3] {
		t.Error("what it asked in its turn has none")
	}
}

// The children of a domain have its turns.
func TestTurnsOfChildren(t *testing.T) {
	s := startSystem(t, nil)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	d := s.m.domains[client]
	if a := s.m.askerOf(&opening{client: d}); a != (asker{id: uint32(client)}) {
		t.Error(fmt.Sprint(a))
	}
	if a := s.m.askerOf(&opening{user: &user{credentials: Credentials{UID: 7}}}); a != (asker{id: 7, user: true}) {
		t.Error(fmt.Sprint(a))
	}
}
