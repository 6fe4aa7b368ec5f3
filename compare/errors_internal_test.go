package compare

import (
	"strings"
	"testing"

	"ward/image"
)

// A route that a reload leaves as a remnant lets nothing pass: that no condition
// looks at metadata there any more is no new access.
func TestRemnantHasNoSection(t *testing.T) {
	when := `context.item == "a" && context.ward.metadata has x && context.ward.metadata.x == "lab"`
	running := wide(t, strings.Replace(widePolicy, "CONDITION", when, 1), "use: [ward/biba]", "metadata: {x: 8}")
	fresh := wide(t, `@id("other") permit (principal == Domain::"shop", action == ward::Action::"lookup", resource);`, "use: [ward/biba]", "metadata: {x: 8}")
	next, err := image.Align(running, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if r := Images(running, next); r.NewAccess() != 0 || len(r.Changes) == 0 {
		t.Errorf("%+v", r.Changes)
	}
}

// TestAttackPinsUnnoticed: the program stays pinned, and a library that it loads
// does not, or is another. The control: the same pins in another order, and more.
func TestAttackPinsUnnoticed(t *testing.T) {
	pinned := func(pins ...image.Pin) *image.Image {
		img := conditioned(t, "true")
		img.Domains[0].Digest = make([]byte, 32)
		img.Domains[0].Pins = pins
		return img
	}
	a, b := image.Pin{Path: "/lib/a.so", Digest: make([]byte, 32)}, image.Pin{Path: "/lib/b.so", Digest: make([]byte, 32)}
	other := image.Pin{Path: "/lib/b.so", Digest: []byte(strings.Repeat("x", 32))}
	for name, c := range map[string]struct {
		after []image.Pin
		want  int
	}{"control": {[]image.Pin{b, a}, 0}, "control: more": {[]image.Pin{a, b, {Path: "/lib/c.so", Digest: a.Digest}}, 0}, "one less": {[]image.Pin{a}, 1}, "another": {[]image.Pin{a, other}, 1}} {
		if r := Images(pinned(a, b), pinned(c.after...)); r.NewAccess() != c.want || len(r.Changes) != c.want {
			t.Errorf("%s: %+v", name, r.Changes)
		}
	}
}
