package monitor

import (
	"testing"

	"ward/abi"
	"ward/image"
)

// What a child writes on the host counts as that of the domain that it
// descends from, and so it is shown.
func TestDiskOfChild(t *testing.T) {
	img := &image.Image{Name: "test", Domains: []image.Domain{{Name: "broker", Quota: image.Quota{Disk: 1 << 20}, Ring: image.Ring{Level: 1, Name: "a"}}, {Name: "free"}}}
	family := image.NewFamily(img)
	child := &domain{id: image.FirstChild, def: &image.Domain{Name: "child"}}
	if err := family.Take(&image.Kin{ID: image.FirstChild, Parent: 0, Lineage: []abi.DomainID{0}, Def: child.def}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d    *domain
		want uint64
	}{{&domain{id: 0, def: &img.Domains[0]}, 1 << 20}, {child, 1 << 20}, {&domain{id: 1, def: &img.Domains[1]}, 0}} {
		bytes, project := diskOf(img, family, c.d)
		if bytes != c.want || bytes > 0 && project != image.ProjectOf("test", "broker") || bytes == 0 && project != 0 {
			t.Errorf("%s: %d bytes, project %d", c.d.def.Name, bytes, project)
		}
	}
}
