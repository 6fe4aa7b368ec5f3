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
