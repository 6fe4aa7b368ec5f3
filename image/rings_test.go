package image

import (
	"errors"
	"strings"
	"testing"

	"ward/abi"
)

// ringImage: broker (0), in ring 1, may make workers in its rings 1, 2 and 3 (1, 2, 3),
// and those make workers in all of them.
func ringImage() *Image {
	yes, no := Verdict{Allow: true, Policy: 0}, Verdict{Policy: abi.NoPolicy}
	may := Children{Number: 4, Depth: 3, Tree: 9}
	img := &Image{Name: "rings", Policies: []Policy{{ID: "yes"}}, Domains: []Domain{
		{Name: "broker", Start: yes, Ring: Ring{1, "service"}, Children: may},
		{Name: "worker", Start: yes, Ring: Ring{1, "service"}, Children: may, Template: true},
		{Name: "worker@system", Start: yes, Ring: Ring{2, "system"}, Children: may, Template: true},
		{Name: "worker@user", Start: yes, Ring: Ring{3, "user"}, Children: may, Template: true},
	}}
	for parent := range abi.DomainID(4) {
		for template := abi.DomainID(1); template < 4; template++ {
			img.Spawns = append(img.Spawns, Spawn{parent, template, yes, no})
		}
	}
	return img
}

// A child, and its child, and so on, are never more trusted than what is above
// them, whatever policies permit; in less trusted rings they may be.
func TestRingsOfKin(t *testing.T) {
	img := ringImage()
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	f := NewFamily(img)
	next := FirstChild
	for first := abi.DomainID(1); first < 4; first++ {
		child, _, err := f.Add(next, 0, first, "child", ChildQuota{}, false)
		if err != nil || child.Def.Ring != img.Domains[first].Ring {
			t.Fatalf("%v, %v", child, err)
		}
		next++
		for second := abi.DomainID(1); second < 4; second++ {
			k, _, err := f.Add(next, child.ID, second, "grandchild", ChildQuota{}, false)
			switch {
			case second < first && (!errors.Is(err, ErrTrust) || !strings.Contains(err.Error(), "more trusted")):
				t.Errorf("%s makes %s: %v", child.Def.Ring.Name, img.Domains[second].Name, err)
			case second >= first && (err != nil || k.Def.Ring != img.Domains[second].Ring || k.Line[0].Template != second):
				t.Errorf("%s makes %s: %+v, %v", child.Def.Ring.Name, img.Domains[second].Name, k, err)
			case err == nil:
				again, err := f.Again(k.Line, 0, false) // of who takes over
				if err != nil || again.Def.Ring != k.Def.Ring {
					t.Errorf("described again: %+v, %v", again, err)
				}
				f.Remove(k.ID)
			}
		}
	}
	// A policy may permit one ring and not another.
	for i := range img.Spawns {
		if s := &img.Spawns[i]; s.Parent == 0 && s.Template != 3 {
			s.Spawn = Verdict{Policy: abi.NoPolicy}
		}
	}
	f = NewFamily(img)
	for template, ok := range map[abi.DomainID]bool{1: false, 2: false, 3: true} {
		if _, _, err := f.Add(FirstChild+template, 0, template, "child", ChildQuota{}, false); (err == nil) != ok || err != nil && !errors.Is(err, ErrChild) {
			t.Errorf("%s: %v", img.Domains[template].Name, err)
		}
	}
}

func TestRingsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Image){
		"of a ring that it is not in":   func(i *Image) { i.Domains[2].Ring.Name = "user" },
		"of nothing":                    func(i *Image) { i.Domains[2].Name = "other@system" },
		"as trusted":                    func(i *Image) { i.Domains[2].Ring.Level = 1 },
		"more trusted":                  func(i *Image) { i.Domains[2].Ring.Level = 0 },
		"started":                       func(i *Image) { i.Domains[2].Template = false },
		"without a ring":                func(i *Image) { i.Domains[2].Name = "worker@" },
		"of two":                        func(i *Image) { i.Domains[2].Name, i.Domains[2].Ring.Name = "worker@a@system", "a@system" },
		"of a ring that is a directory": func(i *Image) { i.Domains[2].Name, i.Domains[2].Ring.Name = "worker@../x", "../x" },
		"of another in another ring":    func(i *Image) { i.Domains[2].Name = "worker@user@system" },
		"serves": func(i *Image) {
			i.Interfaces = []Interface{{Name: "a.A"}}
			i.Domains[2].Exports = []Export{{Publish: Verdict{Policy: abi.NoPolicy}}}
		},
	} {
		img := ringImage()
		if change(img); img.Check() == nil {
			t.Errorf("%s: Check accepts it", name)
		}
	}
}

// A reload keeps the number of what children in a ring are made of; of what is
// gone a name is left, of which none are made.
func TestRingsAreAligned(t *testing.T) {
	running := ringImage()
	fresh := ringImage()
	fresh.Domains = fresh.Domains[:3]
	fresh.Domains[1], fresh.Domains[2] = fresh.Domains[2], fresh.Domains[1]
	fresh.Spawns = []Spawn{{0, 1, Verdict{Allow: true}, Verdict{Policy: abi.NoPolicy}}}
	got, err := Align(running, fresh)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range got.Domains {
		if d.Name != running.Domains[i].Name || d.Ring != running.Domains[i].Ring {
			t.Errorf("domain %d is %s in ring %v", i, d.Name, d.Ring)
		}
	}
	f := NewFamily(got)
	for template, ok := range map[abi.DomainID]bool{1: false, 2: true, 3: false} {
		if _, _, err := f.Add(FirstChild+template, 0, template, "child", ChildQuota{}, false); (err == nil) != ok {
			t.Errorf("%s: %v", got.Domains[template].Name, err)
		}
	}
}
