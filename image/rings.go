package image

import (
	"fmt"
	"strings"
)

// Children may be asked for in less trusted rings than that of the domain that
// they are made of. What such a child is made of is a domain of the image of its
// own, named after the two: all that policies decide of it was decided for its
// ring when the system was compiled, as of a template that states it. It is
// always a template, and differs from the domain that it is named after in its
// ring, and in that it serves nothing.

// ringMark is between the names of a domain and of a ring. Neither has it.
const ringMark = "@"

// InRing names what children of a domain are made of in another ring than its own.
func InRing(domain, ring string) string { return domain + ringMark + ring }

// Ringed takes apart what InRing made; of the name of any other domain ring is "".
func Ringed(name string) (domain, ring string) {
	domain, ring, _ = strings.Cut(name, ringMark)
	return domain, ring
}

// isDomainName reports whether s names a domain, or one in another ring.
func isDomainName(s string) bool {
	domain, ring, ok := strings.Cut(s, ringMark)
	return isName(domain) && (!ok || isName(ring)) && len(s) <= 64
}

// rings checks the domains that are named after another: who asks for children
// in a ring gets them in that one, and none that is more trusted than what they
// are made of. Of what is gone only the name is left.
func (c *checker) rings() error {
	levels := map[string]int32{}
	for i := range c.img.Domains {
		levels[c.img.Domains[i].Name] = c.img.Domains[i].Ring.Level
	}
	for i := range c.img.Domains {
		d := &c.img.Domains[i]
		of, ring := Ringed(d.Name)
		if ring == "" {
			continue
		}
		if ring != d.Ring.Name {
			return fmt.Errorf("domain %s: it is in the ring %s", d.Name, d.Ring.Name)
		}
		if !d.Template {
			if d.Start.Allow {
				return fmt.Errorf("domain %s: it is started, and may be a template only", d.Name)
			}
			continue
		}
		if level, ok := levels[of]; !ok || level >= d.Ring.Level {
			return fmt.Errorf("domain %s: there is no %s that is more trusted", d.Name, of)
		}
	}
	return nil
}
