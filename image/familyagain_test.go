package image

import (
	"errors"
	"reflect"
	"testing"

	"ward/abi"
)

// What is described again is what was made, its parent being there or not; it
// counts as before, and a line that cannot be is none.
func TestFamilyAgain(t *testing.T) {
	f := NewFamily(familyImage())
	one, _, err := f.Add(FirstChild, 0, 1, "one", ChildQuota{Processes: 30, Memory: 4 << 20}, false)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := f.Add(FirstChild+1, one.ID, 1, "two", ChildQuota{Processes: 20, Memory: 1 << 20}, true)
	if err != nil {
		t.Fatal(err)
	}
	f.Remove(one.ID)
	next := NewFamily(familyImage())
	again, err := next.Again(two.Line, 0, true)
	if err != nil || !reflect.DeepEqual(again, two) {
		t.Fatalf("%v: described again it is\n%+v\nand was\n%+v", err, again, two)
	}
	if err := next.Take(again); err != nil {
		t.Fatal(err)
	}
	if next.Take(again) == nil {
		t.Error("it is taken twice")
	}
	for _, x := range []*Family{f, next} {
		if _, _, err := x.Add(FirstChild+5, 0, 3, "more", ChildQuota{Processes: 81, Memory: 1 << 20}, false); err == nil {
			t.Error("what the child has of the quota is given again")
		}
	}
	if id, err := next.Free(0); err != nil || id == one.ID || id == two.ID {
		t.Errorf("number %d is free, %v: it is in somebody's line", id, err)
	}

	forbidding := familyImage()
	forbidding.Spawns[1].Adopt = Verdict{Policy: abi.NoPolicy}
	if k, err := NewFamily(forbidding).Again(two.Line, 0, true); !errors.Is(err, ErrChild) || k == nil || k.Def.Name != "two" {
		t.Errorf("of an image that does not allow it: %+v, %v", k, err)
	}
	for name, c := range map[string]func(s *Spawn){"makes none": func(s *Spawn) { s.Spawn = Verdict{Policy: abi.NoPolicy} },
		"lets none outlive it": func(s *Spawn) { s.Adopt = Verdict{Policy: abi.NoPolicy} }} {
		above := familyImage()
		c(&above.Spawns[0])
		if k, err := NewFamily(above).Again(two.Line, 0, true); !errors.Is(err, ErrChild) || k == nil {
			t.Errorf("of an image in which its parent's parent %s: %+v, %v", name, k, err)
		}
	}
	smaller := familyImage()
	smaller.Domains[1].Quota.Processes = 25
	if k, err := NewFamily(smaller).Again(two.Line, 0, true); err == nil || k == nil {
		t.Errorf("of an image in which its parent could not be: %+v, %v", k, err)
	}
	for name, line := range map[string][]Birth{"no line": nil, "too long": make([]Birth, MaxDepthOf+1),
		"no child's number": {{ID: 3, Template: 1}}, "no template": {{ID: FirstChild, Template: 77}}} {
		if k, err := next.Again(line, 0, false); err == nil || k != nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if k, err := next.Again(two.Line, 77, false); err == nil || k != nil {
		t.Errorf("of no domain: %+v", k)
	}
}
