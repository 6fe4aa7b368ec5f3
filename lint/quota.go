package lint

import (
	"fmt"

	"ward/image"
)

// ChildrenQuota is of a domain that may have more children of a template than its
// quota has room for: what a child has comes out of its parent's.
const ChildrenQuota = "children-quota"

// quotas finds them. Of a copy of the domain itself nothing is said: it has to ask
// for less than the domain has.
func (f *finder) quotas() {
	img := f.Image
	for i := range img.Spawns {
		s := &img.Spawns[i]
		p, t := &img.Domains[s.Parent], &img.Domains[s.Template]
		if _, ring := image.Ringed(t.Name); ring != "" || !s.Spawn.Allow || p.Template || s.Parent == s.Template {
			continue
		}
		n, key, of, each := img.Fit(s.Parent, s.Template)
		if n >= p.Children.Number {
			continue
		}
		stated, least := " (the default)", " at least"
		if quotaIs(&p.Quota, key) {
			stated = ""
		}
		if quotaIs(&t.Quota, key) {
			least = ""
		}
		what := key
		if key == "memory" {
			what = "bytes of memory"
		}
		f.out.Notef(f.posOf(-1, p.Name), fmt.Sprintf("state more in `quota` (%s) of %s, or less in that of %s, or let it ask for less", key, p.Name, t.Name),
			"%s may have %d children, and its quota has room for %d of %s: it has %d %s%s, and each takes %d%s", p.Name, p.Children.Number, n, t.Name, of, what, stated, each, least)
		f.out.Tag(ChildrenQuota, p.Name)
	}
}

// quotaIs reports whether a quota is stated.
func quotaIs(q *image.Quota, key string) bool {
	return key == "processes" && q.Processes != 0 || key == "memory" && q.Memory != 0 || key == "gates" && q.Gates != 0
}
