package image

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
)

// withSecret is a system whose camera makes keys.
func withSecret() *Image {
	img := shared()
	none := slices.Repeat([]Verdict{{Policy: abi.NoPolicy}}, len(img.Domains))
	create := slices.Clone(none)
	create[0] = Verdict{Allow: true, Policy: 0}
	img.Objects = append(img.Objects, Object{Name: "keys", Kind: ObjectSecret, Size: 8192, Count: 4, Domain: abi.NoDomain, Create: create, Read: none, Write: slices.Clone(none)})
	return img
}

// TestSecret: what an image says of secret memory stays what it is; nobody opens it.
func TestSecret(t *testing.T) {
	img := withSecret()
	got, err := Decode(Encode(img))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(withSecret(), got); d != "" {
		t.Error(d)
	}
	for d, want := range []int{1, 0, 0, 0} {
		if list := img.Secrets(abi.DomainID(d)); len(list) != want {
			t.Errorf("domain %d may make %v", d, list)
		}
	}
	if list := img.Secrets(77); list != nil {
		t.Errorf("a child may make %v", list)
	}
	if name := img.HasSecrets(); name != "keys" {
		t.Errorf("it has %q", name)
	}
	if name := shared().HasSecrets(); name != "" {
		t.Errorf("a system without any has %q", name)
	}
	img.Objects[3].Create[0] = Verdict{Policy: 1}
	if name := img.HasSecrets(); name != "" {
		t.Errorf("nobody may make %q", name)
	}

	yes := Verdict{Allow: true, Policy: 0}
	for name, change := range map[string]func(*Object){
		"a right to open":    func(o *Object) { o.Read[1] = yes },
		"right to open":      func(o *Object) { o.Write[0] = yes },
		"shared":             func(o *Object) { o.Shared, o.Count = true, 1 },
		"entry among":        func(o *Object) { o.Domain = 3 },
		"0 instances":        func(o *Object) { o.Count = 0 },
		"65 instances":       func(o *Object) { o.Count = MaxSecretCount + 1 },
		"of 16777217 bytes":  func(o *Object) { o.Size = MaxSecretSize + 1 },
		"4 instances of 0 b": func(o *Object) { o.Size = 0 },
	} {
		img := withSecret()
		change(&img.Objects[3])
		if err := img.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reload makes nothing secret that others may have, nor the other way round.
func TestSecretAligned(t *testing.T) {
	for name, kind := range map[string]ObjectKind{"keys": ObjectMemory, "frames": ObjectSecret} {
		next := withSecret()
		i, _ := next.ObjectNamed(name)
		o := &next.Objects[i]
		o.Kind, o.Size, o.Count = kind, 4096, 4
		o.Read = slices.Repeat([]Verdict{{Policy: abi.NoPolicy}}, len(next.Domains))
		if err := next.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := Align(withSecret(), next); err == nil || !strings.Contains(err.Error(), "object "+name+" is of another kind") {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := withSecret()
	next.Objects[3].Size, next.Objects[3].Count = 4096, 8
	if _, err := Align(withSecret(), next); err != nil {
		t.Errorf("of another size: %v", err)
	}
}
