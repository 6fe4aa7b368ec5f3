package image

import (
	"errors"
	"strings"
	"testing"

	"ward/abi"
)

// familyImage: broker (0) may make workers (1), which may make helpers (2) and workers.
func familyImage() *Image {
	allow, adopt := Verdict{Allow: true, Policy: 0}, Verdict{Policy: abi.NoPolicy}
	yes := Verdict{Allow: true, Policy: 1}
	return &Image{Name: "family",
		Domains: []Domain{
			{Name: "broker", Start: allow, Ring: Ring{Level: 2, Name: "system"}, Quota: Quota{Processes: 100, Memory: 64 << 20}, Host: true,
				Files: []File{{"/srv/a", Read | Write, false, yes}, {"/srv/b", Read, false, yes}}, Connect: []string{"tcp:*:443"},
				Children: Children{Number: 3, Depth: 2, Tree: 4}},
			{Name: "worker", Start: allow, Ring: Ring{Level: 3, Name: "user"}, Quota: Quota{Processes: 40, Memory: 16 << 20}, Template: true,
				Files: []File{{"/srv/a/one", Read, false, yes}, {"/srv/b", Read | Write, false, yes}, {"/etc/shadow", Read, false, yes}}, Connect: []string{"tcp:*:443", "tcp:*:25"},
				Children: Children{Number: 2, Depth: 5, Tree: 9}},
			{Name: "root", Start: allow, Ring: Ring{Level: 1, Name: "service"}, Template: true},
			{Name: "bare", Start: allow, Ring: Ring{Level: 3, Name: "user"}, Template: true},
			{Name: "stopped", Start: Verdict{Policy: abi.NoPolicy}, Ring: Ring{Level: 3, Name: "user"}, Template: true},
			{Name: "other", Start: allow, Ring: Ring{Level: 3, Name: "user"}},
		},
		Policies: []Policy{{ID: "start"}, {ID: "spawn"}},
		Spawns: []Spawn{{0, 1, yes, yes}, {1, 1, yes, yes}, {0, 2, yes, adopt}, {0, 3, yes, adopt}, {0, 4, yes, adopt}, {0, 5, yes, adopt}, {0, 0, yes, adopt},
			{5, 1, Verdict{Policy: 1}, adopt}},
	}
}

func TestFamily(t *testing.T) {
	f := NewFamily(familyImage())
	next := FirstChild
	add := func(parent, template abi.DomainID, ask ChildQuota, adopted bool) (*Kin, error) {
		k, _, err := f.Add(next, parent, template, "child", ask, adopted)
		if err == nil {
			next++
		}
		return k, err
	}
	small := ChildQuota{Processes: 10, Memory: 4 << 20}
	one, err := add(0, 1, small, false)
	if err != nil {
		t.Fatal(err)
	}
	d := one.Def
	if len(d.Files) != 1 || d.Files[0].Path != "/srv/a/one" || len(d.Connect) != 1 || d.Connect[0] != "tcp:*:443" {
		t.Errorf("the child has files %v and addresses %v: it gets only what its parent has too", d.Files, d.Connect)
	}
	if d.Quota.Processes != 10 || d.Children.Depth != 1 || d.Children.Tree != 4 || d.Host {
		t.Errorf("%+v", d)
	}
	for _, c := range []struct {
		what             string
		parent, template abi.DomainID
		ask              ChildQuota
		adopted          bool
		want             string
	}{
		{"more trusted", 0, 2, small, false, "more trusted"},
		{"not permitted", 1, 3, small, false, ErrChild.Error()},
		{"forbidden", 5, 1, small, false, ErrChild.Error()},
		{"to be adopted", 0, 3, small, true, "outlive"},
		{"its start is not permitted", 0, 4, small, false, ErrChild.Error()},
		{"no template", 0, 5, small, false, "not a template"},
		{"more than the template", 0, 1, ChildQuota{Processes: 41, Memory: 1 << 20}, false, "the template has 40"},
		{"more than is left", 0, 3, ChildQuota{Processes: 91, Memory: 1 << 20}, false, "90 left of 100"},
		{"more memory than is left", 0, 3, ChildQuota{Processes: 1, Memory: 61 << 20}, false, "left of"},
	} {
		if _, err := add(c.parent, c.template, c.ask, c.adopted); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	_, v, err := f.Add(next, 5, 1, "child", small, false)
	if !errors.Is(err, ErrChild) || v.Policy != 1 {
		t.Errorf("forbidden: %v by %d, want the policy", err, v.Policy)
	}
	// The second generation is the last one: its parent has depth 2, whatever the template says.
	two, err := add(one.ID, 1, ChildQuota{Processes: 2, Memory: 1 << 20}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := add(two.ID, 1, ChildQuota{Processes: 1, Memory: 1 << 20}, false); err == nil || !strings.Contains(err.Error(), "last generation") {
		t.Errorf("a third generation: %v", err)
	}
	if _, err := add(one.ID, 1, ChildQuota{Processes: 9, Memory: 1 << 20}, false); err == nil || !strings.Contains(err.Error(), "8 left of 10") {
		t.Errorf("more than the parent's parent gave: %v", err)
	}
	// Numbers: 3 children of the broker, 4 in the tree.
	if _, err = add(one.ID, 1, ChildQuota{Processes: 2, Memory: 1 << 20}, false); err != nil {
		t.Fatal(err)
	}
	if _, err = add(one.ID, 1, ChildQuota{Processes: 1, Memory: 1 << 20}, false); err == nil || !strings.Contains(err.Error(), "number") {
		t.Errorf("a third child of a worker: %v", err)
	}
	if _, err = add(0, 3, small, false); err != nil {
		t.Fatal(err)
	}
	if _, err = add(0, 3, small, false); err == nil || !strings.Contains(err.Error(), "tree") {
		t.Errorf("a fifth descendant: %v", err)
	}
	if n := len(f.Descendants(0)); n != 4 {
		t.Errorf("%d descendants", n)
	}
	// Who is adopted does not end with its parent, and keeps its numbers from being given out.
	if doomed := f.Doomed(one.ID); len(doomed) != 1 || doomed[0] == two {
		t.Errorf("doomed %v", doomed)
	}
	f.Remove(one.ID)
	for last := FirstChild; last < FirstChild+20; last++ {
		if id, err := f.Free(last); err != nil || id == one.ID || f.Kin(id) != nil {
			t.Errorf("number %d is free, %v", id, err)
		}
	}
	if id, err := f.Free(FirstChild + abi.DomainID(MaxChildren) - 1); err != nil || id < FirstChild {
		t.Errorf("after the last number comes %d, %v", id, err)
	}
	if id, err := f.Free(0); err != nil || id < FirstChild {
		t.Errorf("the first number is %d, %v", id, err)
	}
}

func TestChildrenChecked(t *testing.T) {
	for name, change := range map[string]func(*Image){
		"entry point of nobody":    func(i *Image) { i.Domains[1].Children.Passes[0].Method = 9 },
		"list without its kind":    func(i *Image) { i.Domains[1].Children.Inherit = InheritAll },
		"unknown inheritance":      func(i *Image) { i.Domains[1].Children.Inherit = 7; i.Domains[1].Children.Passes = nil },
		"too deep":                 func(i *Image) { i.Domains[1].Children.Depth = 99 },
		"template that serves":     func(i *Image) { i.Domains[1].Template = true },
		"children of nobody":       func(i *Image) { i.Spawns[0].Parent = 77 },
		"decided twice":            func(i *Image) { i.Spawns = append(i.Spawns, i.Spawns[0]) },
		"delegation to nobody":     func(i *Image) { i.Grants[0].To = 77 },
		"delegation of nothing":    func(i *Image) { i.Grants[0].Entry.Method = 77 },
		"permit without a policy":  func(i *Image) { i.Grants[0].Verdict = Verdict{Allow: true, Policy: abi.NoPolicy} },
		"children without a bound": func(i *Image) { i.Domains[1].Children.Number = 1 << 30 },
	} {
		img := sample()
		change(img)
		if img.Check() == nil {
			t.Errorf("%s: Check accepts it", name)
		}
	}
}
