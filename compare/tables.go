package compare

import (
	"bytes"
	"fmt"
	"path"
	"slices"

	"ward/image"
)

// settings compares what holds for the whole system.
func (c *comparer) settings() {
	for _, r := range c.old.Require {
		if !slices.Contains(c.new.Require, r) {
			c.add(Change{Event: "setting", Change: Changed, NewAccess: true, Object: "require", Detail: r + " is no longer required: the system starts without it"})
		}
	}
	limits := map[string]uint32{}
	for _, m := range c.old.Metadata {
		limits[m.Key] = m.Max
	}
	for _, m := range c.new.Metadata {
		if before := limits[m.Key]; before != m.Max {
			c.add(Change{Event: "bounds", Change: Changed, NewAccess: m.Max > before, Object: "metadata " + m.Key, Detail: fmt.Sprintf("at most %d → %d bytes", before, m.Max)})
		}
		delete(limits, m.Key)
	}
	for _, m := range c.old.Metadata {
		if before, gone := limits[m.Key]; gone {
			c.add(Change{Event: "bounds", Change: Changed, Object: "metadata " + m.Key, Detail: fmt.Sprintf("at most %d → 0 bytes", before)})
		}
	}
}

// domain compares what a domain may do alone.
func (c *comparer) domain(name string) {
	none := &image.Domain{Start: denied}
	o, n := c.old.domains[name], c.new.domains[name]
	if o != nil && n != nil {
		c.confinement(name, o, n)
		c.inheritance(name, o, n)
	}
	if o == nil {
		o = none
	}
	if n == nil {
		n = none
	}
	c.verdict(o.Start, n.Start, Change{Event: "start", To: name})
	if n.Host != o.Host {
		detail := map[bool]string{true: "sees the system's libraries and programs", false: "no longer sees the system's libraries and programs"}
		c.add(Change{Event: "setting", Change: Changed, NewAccess: n.Host, From: name, Object: "root: host", Detail: detail[n.Host]})
	}
	oe, ne := c.old.exports(o), c.new.exports(n)
	for _, iface := range union(oe, ne) {
		before, after := exported(oe, iface), exported(ne, iface)
		c.verdict(before.Publish, after.Publish, Change{Event: "publish", From: name, Interface: iface})
		if before.Socket != after.Socket {
			c.add(Change{Event: "setting", Change: Changed, NewAccess: after.Socket != "", From: name, Interface: iface, Object: "socket",
				Detail: fmt.Sprintf("%q → %q", before.Socket, after.Socket)})
		}
	}
	c.files(name, o, n)
	c.addresses(name, "listen", listens(o), listens(n))
	c.addresses(name, "connect", o.Connect, n.Connect)
}

// confinement compares what else the rights of a domain rest on.
func (c *comparer) confinement(name string, o, n *image.Domain) {
	if o.Ring != n.Ring {
		c.add(Change{Event: "setting", Change: Changed, NewAccess: n.Ring.Level < o.Ring.Level, From: name, Object: "ring",
			Detail: fmt.Sprintf("%d %s → %d %s", o.Ring.Level, o.Ring.Name, n.Ring.Level, n.Ring.Name)})
	}
	if len(o.Digest) > 0 && !bytes.Equal(o.Digest, n.Digest) {
		c.add(Change{Event: "setting", Change: Changed, NewAccess: true, From: name, Object: "digest", Detail: "another program than the pinned one has these rights"})
	}
	for _, p := range o.Pins {
		same := func(q image.Pin) bool { return q.Path == p.Path && bytes.Equal(q.Digest, p.Digest) }
		if n.Start.Allow && !slices.ContainsFunc(n.Pins, same) {
			c.add(Change{Event: "setting", Change: Changed, NewAccess: true, From: name, Object: "pinned " + p.Path, Detail: "another library than the pinned one may have these rights"})
		}
	}
	if o.Names != n.Names {
		c.add(Change{Event: "setting", Change: Changed, NewAccess: true, From: name, Object: "name server", Detail: fmt.Sprintf("%v → %v", o.Names, n.Names)})
	}
}

func (x *index) exports(d *image.Domain) map[string]image.Export {
	all := map[string]image.Export{}
	for _, e := range d.Exports {
		all[x.Interfaces[e.Interface].Name] = e
	}
	return all
}

// exported is one of them; one that is not there is denied by default.
func exported(all map[string]image.Export, iface string) image.Export {
	if e, there := all[iface]; there {
		return e
	}
	return image.Export{Publish: denied}
}

func listens(d *image.Domain) []string {
	var all []string
	for _, l := range d.Listen {
		all = append(all, l.Address)
	}
	return all
}

// addresses compares grants of addresses word by word: patterns that mean the
// same and are written differently count as new.
func (c *comparer) addresses(domain, what string, before, after []string) {
	for _, a := range after {
		if !slices.Contains(before, a) {
			c.add(Change{Event: "address", Change: Allowed, From: domain, Object: a, Detail: what})
		}
	}
	for _, a := range before {
		if !slices.Contains(after, a) {
			c.add(Change{Event: "address", Change: Denied, From: domain, Object: a, Detail: what})
		}
	}
}

// files compares the effective access to every path that either image names:
// that of its grant, or of the nearest directory above that is granted.
func (c *comparer) files(domain string, o, n *image.Domain) {
	paths := map[string]bool{}
	for _, f := range slices.Concat(o.Files, n.Files) {
		paths[f.Path] = true
	}
	for _, p := range union(paths, nil) {
		before, after := effective(o, p), effective(n, p)
		x := Change{Event: "file", From: domain, Object: p, Old: c.old.side(before.Verdict), New: c.new.side(after.Verdict)}
		if more := after.Access &^ before.Access; more != 0 || after.AsRoot && !before.AsRoot {
			x.Change, x.Detail = Allowed, access(before)+" → "+access(after)
			c.add(x)
		} else if before.Access != after.Access || before.AsRoot != after.AsRoot {
			x.Change, x.Detail = Denied, access(before)+" → "+access(after)
			c.add(x)
		}
	}
}

// effective is the access that a domain has to a path. Denied grants give and
// hide nothing.
func effective(d *image.Domain, p string) image.File {
	for at := p; ; at = path.Dir(at) {
		for _, f := range d.Files {
			if f.Path == at && f.Verdict.Allow {
				return f
			}
		}
		if at == "/" || at == "." {
			return image.File{Verdict: denied}
		}
	}
}

func access(f image.File) string {
	s := ""
	for i, letter := range "rwx" {
		if f.Access&(1<<i) != 0 {
			s += string(letter)
		}
	}
	if s == "" {
		return "none"
	}
	if f.AsRoot {
		s += " as root"
	}
	return s
}
