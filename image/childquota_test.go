package image

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"ward/abi"
)

// plainFamily has a parent (0) of which no quota is stated, and whose children (1)
// may have some, too, with none stated either.
func plainFamily(number uint32) *Image {
	yes := Verdict{Allow: true}
	return &Image{Name: "plain", Policies: []Policy{{ID: "all may"}},
		Domains: []Domain{
			{Name: "parent", Start: yes, Children: Children{Number: number, Depth: 6, Tree: 1000}},
			{Name: "child", Start: yes, Template: true, Children: Children{Number: number, Depth: 6, Tree: 1000}},
			{Name: "stating", Start: yes, Template: true, Quota: Quota{Processes: 100, Memory: 300 << 20, Gates: 20, Files: 4096, FileSize: 2 << 30, CPUWeight: 300}, Tmp: 64 << 20},
		},
		Spawns: []Spawn{{0, 1, yes, yes}, {1, 1, yes, yes}, {0, 2, yes, yes}, {1, 2, yes, yes}}}
}

// sums are what a family has, the parent's own included: of each of its members
// what its children leave it.
func sums(f *Family, root abi.DomainID) (sum Quota) {
	add := func(id abi.DomainID) {
		given := f.Given(id)
		left := f.img.LimitsOf(f.Def(id)).Without(&given)
		sum.Take(&left)
	}
	add(root)
	for _, k := range f.All() {
		add(k.ID)
	}
	return sum
}

// TestAttackDefaultsInFamilies: a domain of which no quota is stated makes children
// of which none is stated either, and they make more, as many as they can. What
// all have together is what the first would have alone. The control: as many
// domains that are nobody's children have as much each.
func TestAttackDefaultsInFamilies(t *testing.T) {
	for _, number := range []uint32{1, 2, 4, 9, 40, 300} {
		f := NewFamily(plainFamily(number))
		alone := f.img.Limits(0)
		made, refused := []abi.DomainID{0}, 0
		for at := 0; at < len(made) && len(made) < 500; at++ {
			for {
				id := FirstChild + abi.DomainID(len(made)) - 1
				_, _, err := f.Add(id, made[at], abi.DomainID(1+len(made)%2), "child", ChildQuota{}, true)
				if err != nil {
					refused++
					break
				}
				made = append(made, id)
			}
		}
		if len(made) == 1 || refused == 0 {
			t.Fatalf("number %d: %d were made, %d refused", number, len(made), refused)
		}
		got := sums(f, 0)
		if got.Processes != alone.Processes || got.Memory != alone.Memory || got.Gates != alone.Gates {
			t.Errorf("number %d: %d children and their parent have %d processes, %d bytes, %d gates, and it alone %d, %d, %d", number, len(made)-1, got.Processes, got.Memory, got.Gates, alone.Processes, alone.Memory, alone.Gates)
		}
		for _, k := range f.All() {
			q := f.img.LimitsOf(k.Def)
			above := f.img.LimitsOf(f.Def(k.Parent))
			if q.Processes == 0 || q.Memory == 0 || q.Gates == 0 || q.Files > above.Files || q.FileSize > above.FileSize || q.CPUWeight > above.CPUWeight || k.Def.Tmp > DefaultTmp {
				t.Errorf("number %d: %+v, /tmp of %d, of a parent with %+v", number, q, k.Def.Tmp, above)
			}
		}
		control := NewFamily(f.img)
		var all Quota
		for range made {
			x := control.img.LimitsOf(&f.img.Domains[0])
			all.Take(&x)
		}
		if all.Processes <= alone.Processes {
			t.Errorf("control: %d domains have %d processes", len(made), all.Processes)
		}
	}
}

// Of what is not stated each child gets as much as the others, and as its parent
// keeps; of what is asked for, no more than is left; and what has ended is there again.
func TestDefaultParts(t *testing.T) {
	f := NewFamily(plainFamily(3))
	var kin []*Kin
	for i := range abi.DomainID(3) {
		k, _, err := f.Add(FirstChild+i, 0, 1, "child", ChildQuota{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if q := k.Def.Quota; q.Processes != 64 || q.Memory != 256<<20 || q.Gates != 16 || q.Files != 0 {
			t.Errorf("child %d has %+v", i, q)
		}
		kin = append(kin, k)
	}
	below, _, err := f.Add(FirstChild+3, kin[0].ID, 1, "child", ChildQuota{Processes: 40}, true)
	if err != nil || below.Def.Quota.Processes != 40 || below.Def.Quota.Gates != 4 {
		t.Fatalf("%+v, %v", below, err)
	}
	// The next one is described by what was given, whoever else there is.
	next := NewFamily(f.img)
	for _, k := range f.All() {
		again, err := next.Again(k.Line, 0, k.Adopted)
		if err != nil || !reflect.DeepEqual(again, k) {
			t.Errorf("%v: described again it is\n%+v\nand was\n%+v", err, again, k)
		}
		if err := next.Take(again); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := sums(next, 0), sums(f, 0); got != want {
		t.Errorf("they have %+v, and had %+v", got, want)
	}
	// Another family that is told what to give gives the same.
	other := NewFamily(f.img)
	for _, k := range f.All() {
		same, _, err := other.Add(k.ID, k.Parent, k.Template, "child", k.Line[0].Ask, k.Adopted)
		if err != nil || !reflect.DeepEqual(same, k) {
			t.Errorf("%v: told what to give it gives %+v, not %+v", err, same, k)
		}
	}
	f.Remove(kin[2].ID)
	for want, ask := range map[string]ChildQuota{
		"129 processes are asked for, and the parent has 128 left of 256, which is the default: state more in its `quota` (processes)": {Processes: 129},
		"gates are asked for, and the parent has 32 left of 64":                                                                        {Gates: 33},
		"bytes of memory are asked for":  {Memory: 1 << 30},
		"1025 descriptors are asked for": {Files: 1025},
	} {
		if _, _, err := f.Add(FirstChild+9, 0, 1, "child", ask, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", ask, err, want)
		}
	}
	if k, _, err := f.Add(FirstChild+9, 0, 2, "child", ChildQuota{}, false); err != nil {
		t.Error(err)
	} else if q := k.Def.Quota; q.Processes != 100 || q.Files != DefaultFiles || q.FileSize != 1<<30 || q.CPUWeight != 100 || k.Def.Tmp != DefaultTmp {
		t.Errorf("of a template that states more than the parent has in each process: %+v, /tmp of %d", q, k.Def.Tmp)
	}
}

// With many children to come, each gets what a program needs at least, until
// nothing is left.
func TestDefaultLeast(t *testing.T) {
	f := NewFamily(plainFamily(1000))
	for i := range abi.DomainID(1000) {
		k, _, err := f.Add(FirstChild+i, 0, 1, "child", ChildQuota{}, false)
		if err == nil {
			if q := k.Def.Quota; q.Processes != leastProcesses || q.Memory != leastMemory || q.Gates != leastGates {
				t.Fatalf("%+v", q)
			}
			continue
		}
		if i != DefaultProcesses/leastProcesses-1 || err.Error() != fmt.Sprintf("a child whose quota is not stated gets %d processes at least, and leaves its parent as many, which has %d left of %d, which is the default: state more in its `quota` (processes)", leastProcesses, leastProcesses, DefaultProcesses) {
			t.Errorf("after %d: %v", i, err)
		}
		return
	}
	t.Error("there are a thousand")
}

// A parent that a later image gives less by default keeps its children.
func TestDefaultsShrink(t *testing.T) {
	img := plainFamily(1)
	img.Domains[0].Exports = []Export{{}} // a server: it has more by default
	f := NewFamily(img)
	k, _, err := f.Add(FirstChild, 0, 1, "child", ChildQuota{}, false)
	if err != nil || k.Def.Quota.Processes <= DefaultProcesses {
		t.Fatalf("%+v, %v", k, err)
	}
	less := plainFamily(1)
	again, err := NewFamily(less).Again(k.Line, 0, false)
	if err != nil || again.Def.Quota.Processes != k.Def.Quota.Processes {
		t.Errorf("%+v, %v", again, err)
	}
	next := NewFamily(less)
	if err := next.Take(again); err != nil {
		t.Fatal(err)
	}
	given := next.Given(0)
	if left := less.Limits(0); left.Without(&given).Processes != 0 {
		t.Errorf("the parent has %d left", left.Without(&given).Processes)
	}
}
