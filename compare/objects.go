package compare

import (
	"fmt"

	"ward/image"
)

// Objects: who may make and open them, and how large they are. What may be
// written to a mailbox is compared with all other messages, since routes say it.

// objects compares the objects of both images, by name.
func (c *comparer) objects() {
	none := image.Object{}
	before, after := c.old.objects(), c.new.objects()
	for _, name := range union(before, after) {
		o, n := before[name], after[name]
		if o != nil && n != nil {
			c.object(name, o, n)
		}
		if o == nil {
			o = &none
		}
		if n == nil {
			n = &none
		}
		for _, domain := range union(c.old.domains, c.new.domains) {
			was, is := c.old.rights(o, domain), c.new.rights(n, domain)
			for i, action := range []string{"create", "open.read", "open.write"} {
				c.verdict(was[i], is[i], Change{Event: action, From: domain, Object: name})
			}
		}
	}
}

func (x *index) objects() map[string]*image.Object {
	all := map[string]*image.Object{}
	for i := range x.Objects {
		all[x.Objects[i].Name] = &x.Objects[i]
	}
	return all
}

// rights are the decisions on a domain that makes an object, reads it, and
// writes to it, for which it has to be allowed to read it, too.
func (x *index) rights(o *image.Object, domain string) [3]image.Verdict {
	all := [3]image.Verdict{denied, denied, denied}
	if d := x.domains[domain]; d != nil && len(o.Create) > 0 {
		i := x.number(d)
		all = [3]image.Verdict{o.Create[i], o.Read[i], o.Write[i]}
		if all[2].Allow && !all[1].Allow {
			all[2] = all[1]
		}
	}
	return all
}

// number is the index of a domain.
func (x *index) number(d *image.Domain) int {
	for i := range x.Domains {
		if &x.Domains[i] == d {
			return i
		}
	}
	return -1
}

// object compares what an object is.
func (c *comparer) object(name string, o, n *image.Object) {
	words := func(o *image.Object) string {
		switch {
		case o.Kind == image.ObjectMailbox:
			return "a mailbox"
		case o.Kind == image.ObjectSecret:
			return "secret memory, which only its maker has"
		case o.Shared:
			return "shared memory, which is opened by name"
		}
		return "memory, which comes in handles"
	}
	if was, is := words(o), words(n); was != is {
		c.add(Change{Event: "setting", Change: Changed, NewAccess: true, Object: "object " + name, Detail: was + " → " + is})
		return
	}
	if o.Size != n.Size {
		c.add(Change{Event: "bounds", Change: Changed, NewAccess: n.Size > o.Size, Object: "object " + name, Detail: fmt.Sprintf("an instance has at most %d → %d bytes", o.Size, n.Size)})
	}
	if o.Count != n.Count {
		c.add(Change{Event: "bounds", Change: Changed, NewAccess: n.Count > o.Count, Object: "object " + name, Detail: fmt.Sprintf("at most %d → %d instances", o.Count, n.Count)})
	}
}
