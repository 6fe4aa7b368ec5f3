package image

import (
	"slices"
	"strings"
	"testing"

	"ward/abi"
)

// TestProjectOf: numbers stay what they are, or the files of all that runs
// would be another project's.
func TestProjectOf(t *testing.T) {
	seen := map[uint32]bool{}
	for _, c := range []struct {
		system, domain string
		want           uint32
	}{{"certd", "keystore", 1670901764}, {"certd", "certd", 1628524446}, {"shop", "certd", 1983920833}} {
		p := ProjectOf(c.system, c.domain)
		if p != c.want || p < FirstProject || p >= 2*FirstProject || seen[p] {
			t.Errorf("%s/%s: %d, want %d", c.system, c.domain, p, c.want)
		}
		seen[p] = true
	}
}

// TestDisks: what counts for one domain's quota no other one may write.
func TestDisks(t *testing.T) {
	yes := Verdict{Allow: true, Policy: 0}
	file := func(path string, a Access) File { return File{Path: path, Access: a, Verdict: yes} }
	domain := func(name string, disk uint64, files ...File) Domain {
		return Domain{Name: name, Start: yes, Ring: Ring{Level: 3, Name: "user"}, Files: files, Quota: Quota{Disk: disk}}
	}
	stopped := domain("b", 0, file("/srv", Read|Write))
	stopped.Start = Verdict{Policy: abi.NoPolicy}
	denied := domain("b", 0, File{Path: "/srv", Access: Write, Verdict: Verdict{Policy: abi.NoPolicy}})
	template := domain("b", 0, file("/srv/a", Read|Write))
	template.Template = true
	bounded := domain("b", 1<<20, file("/srv/a", Read|Write))
	bounded.Template = true
	a := domain("a", 1<<20, file("/srv/a", Read|Write))
	for _, c := range []struct {
		name    string
		domains []Domain
		want    string // in the refusal; "": it is none
	}{
		{"alone", []Domain{a}, ""},
		{"side by side", []Domain{a, domain("b", 1<<20, file("/srv/b", Write)), domain("c", 0, file("/srv/ab", Write))}, ""},
		{"another reads", []Domain{a, domain("b", 0, file("/srv", Read))}, ""},
		{"another does not start", []Domain{a, stopped}, ""},
		{"another may not", []Domain{a, denied}, ""},
		{"its children", []Domain{a, template}, ""},
		{"no quota", []Domain{domain("a", 0, file("/srv", Write)), domain("b", 0, file("/srv", Write))}, ""},
		{"its own, one below the other", []Domain{domain("a", 1<<20, file("/srv", Write), file("/srv/a", Write))}, ""},
		{"the same", []Domain{a, domain("b", 0, file("/srv/a", Write))}, "domain a: /srv/a counts for its quota of disk, and b may write /srv/a"},
		{"below", []Domain{domain("b", 0, file("/srv/a/b/c", Write)), a}, "domain a: /srv/a counts for its quota of disk, and b may write /srv/a/b/c"},
		{"above", []Domain{domain("b", 0, file("/srv", Write)), a}, "domain a: /srv/a counts for its quota of disk, and b may write /srv"},
		{"both have one", []Domain{a, domain("b", 1<<20, file("/srv/a/b", Write))}, "domain a: /srv/a counts for its quota of disk, and b may write /srv/a/b"},
		{"with others between", []Domain{a, domain("b", 0, file("/srv/a/z", Write)), domain("c", 0, file("/srv/a-b", Write)), domain("d", 0, file("/srv/a.b", Write))}, "b may write /srv/a/z"},
		{"a template", []Domain{bounded}, "a template has no quota of disk"},
		{"too small", []Domain{domain("a", minDisk-1, file("/srv", Write))}, "at least 65536 are possible"},
	} {
		img := &Image{Name: "test", Domains: slices.Clone(c.domains), Policies: []Policy{{ID: "granted"}}}
		err := img.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; wants %q", c.name, err, c.want)
		}
	}
}

// TestDiskOfChild: a child has no quota of disk of its own: what it writes is its parent's.
func TestDiskOfChild(t *testing.T) {
	img := familyImage()
	img.Domains[0].Quota.Disk = 1 << 20
	f := NewFamily(img)
	for i, template := range []abi.DomainID{1, 0} { // 0: of the parent itself
		k, _, err := f.Add(FirstChild+abi.DomainID(i), 0, template, "child", ChildQuota{Processes: 10, Memory: 1 << 20}, false)
		if err != nil || k.Def.Quota.Disk != 0 {
			t.Errorf("%+v, %v", k, err)
		}
	}
}
