package monitor

import (
	"encoding/binary"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// operated is an image whose user 0 may reload, whose group 0 may set the state
// to 1, and in which setting it to 2 is forbidden to all.
func operated() *image.Image {
	is := func(op image.Op) []image.Rule { return []image.Rule{{Policy: 0, When: image.Expr{Op: op}}} }
	return &image.Image{
		Policies: []image.Policy{{ID: "may"}, {ID: "never", Forbid: true}},
		Reload:   image.Decision{Permit: is(image.User)},
		States: []image.State{{Name: "door", Per: image.PerSystem, Values: []string{"open", "locked", "gone"},
			Set: []image.Decision{{}, {Permit: is(image.Group)}, {Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}},
		Cells: []image.Cell{{Domain: abi.NoDomain}},
	}
}

// Who may what: the control of each denial is somebody who may.
func TestOperatorRights(t *testing.T) {
	set := func(cell, value uint32, force byte) []byte {
		b := append(make([]byte, 0, admin.SetStateSize), byte(admin.OpSetState), force)
		for _, v := range []uint32{cell, 0, value} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return append(b, make([]byte, 32)...)
	}
	change := func(k admin.Kind) []byte {
		return append([]byte{byte(admin.OpChange), byte(k), 0}, make([]byte, 32)...)
	}
	look := func(op admin.Op) []byte { return []byte{byte(op)} }
	reloader, setter, nobody := Atoms{User: 0}, Atoms{User: -1, Groups: []int{0}}, NoAtoms
	for _, c := range []struct {
		what    string
		request []byte
		may     map[string]bool
	}{
		{"reload", change(admin.Reload), map[string]bool{"reloader": true}},
		{"grant", change(admin.Grant), nil},
		{"revoke", change(admin.Revoke), nil},
		{"a change of no kind", change(9), nil},
		{"set", set(0, 1, 0), map[string]bool{"setter": true}},
		{"set by force", set(0, 1, 1), nil},
		{"set what nobody may", set(0, 0, 0), nil},
		{"set what is forbidden", set(0, 2, 0), nil},
		{"set what is not there", set(7, 1, 0), nil},
		{"set to what is not there", set(0, 7, 0), nil},
		{"look at domains", look(admin.OpPS), map[string]bool{"reloader": true, "setter": true}},
		{"look at state", look(admin.OpStates), map[string]bool{"reloader": true, "setter": true}},
		{"look at the image", look(admin.OpImage), map[string]bool{"reloader": true, "setter": true}},
		{"stop", look(admin.OpDown), nil},
		{"unknown", look(99), nil},
		{"a short change", change(admin.Reload)[:20], nil},
		{"a short setting", set(0, 1, 0)[:20], nil},
	} {
		for name, who := range map[string]Atoms{"reloader": reloader, "setter": setter, "nobody": nobody} {
			if _, v := judgeOperator(operated(), who, c.request); v.Allow != c.may[name] {
				t.Errorf("%s may %s: %v", name, c.what, v.Allow)
			}
		}
	}
	if what, v := judgeOperator(operated(), setter, set(0, 2, 0)); v.Policy != 1 || what != "set state door to gone" {
		t.Errorf("%s: %+v", what, v)
	}
}

// A flood of connections is bounded for a user and for all, and does not keep
// another user out.
func TestOperatorFlood(t *testing.T) {
	l := newLobby(maxOperators, maxPerOperator)
	entered := 0
	for range 10 * operatorBurst {
		if l.enter(1) {
			entered++
		}
	}
	if entered != maxPerOperator {
		t.Errorf("%d questions of one user are answered at a time, want %d", entered, maxPerOperator)
	}
	if !l.enter(2) {
		t.Error("another user is kept out")
	}
	for range entered {
		l.leave(1)
	}
	l.arrivals[1].tokens, l.arrivals[1].rate = 0, 0 // what it came too fast for
	if l.enter(1) {
		t.Error("a user who came too often may come again at once")
	}
	for uid := uint32(10); uid < 10+2*maxOperators; uid++ {
		l.enter(uid)
	}
	if l.all != maxOperators {
		t.Errorf("%d questions at a time, want %d", l.all, maxOperators)
	}
	for uid := uint32(100); uid < 100+2*maxOperatorIDs; uid++ {
		l.enter(uid)
	}
	if len(l.arrivals) > maxOperatorIDs {
		t.Errorf("%d user IDs are remembered", len(l.arrivals))
	}
}
