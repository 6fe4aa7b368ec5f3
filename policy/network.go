package policy

import (
	"strings"

	"ward/diag"
	"ward/image"
	"ward/system"
)

var restarts = map[string]image.Restart{system.RestartOnFailure: image.RestartOnFailure, system.RestartAlways: image.RestartAlways}

// network decides on the addresses that system.yaml grants a domain. One that
// is forbidden is left out of the image, so that nobody can hand it over.
func (c *compiler) network(domain int, d *system.Domain, out *image.Domain) {
	for _, l := range d.Listen {
		if l.Bind.Value != "" {
			c.binds(domain, d, l)
		}
		if c.rule(l.Address) && c.address(domain, "open.listen", l.Address) {
			out.Listen = append(out.Listen, image.Listen{Name: l.Name.Value, Address: l.Address.Value, Self: l.Bind.Value != ""})
		}
	}
	for _, a := range d.Connect {
		if c.rule(a) && c.address(domain, "open.connect", a) {
			out.Connect = append(out.Connect, a.Value)
		}
	}
}

// rule checks what the pattern of an address cannot say.
func (c *compiler) rule(a system.String) bool {
	if strings.HasPrefix(a.Value, image.UnixAddress) {
		return true
	}
	if _, err := image.ParseNetRule(a.Value); err != nil {
		c.findings.Errorf(a.Pos, "", "%v", err)
		return false
	}
	return true
}

// binds refuses a domain that binds a socket itself and has gates: the system
// calls for it could be used on a gate, too.
func (c *compiler) binds(domain int, d *system.Domain, l system.Listen) {
	gates := len(d.Exports) > 0 || c.readsMailbox(domain)
	for k := range c.routes {
		gates = gates || k.client == domain
	}
	if gates {
		c.findings.Errorf(l.Bind.Pos, "leave `bind` out and let the program take the socket (LISTEN_FDS), or give it no calls and no exports",
			"domain %s has gates, so it may not bind %s itself", d.Name.Value, quote(l.Address.Value))
	}
}

// listens refuses an address that two domains may listen on: of TCP only the
// first would get it, and of UDP who came last would get what is for the other.
func (c *compiler) listens() {
	for _, x := range c.img.ListenConflicts() {
		d, other := c.domains[x.Domain], c.domains[x.Other]
		at := listensAt(d, x.Address)
		c.findings.Errorf(listensAt(other, x.OtherAddress), "let one of them have it, or give one another address or port; * is every address",
			"%s listens on %s, and %s does on %s (%s:%d)", other.Name.Value, quote(x.OtherAddress), d.Name.Value, quote(x.Address), at.File, at.Line)
	}
}

// listensAt is where a domain lists an address.
func listensAt(d *system.Domain, address string) diag.Pos {
	for _, l := range d.Listen {
		if l.Address.Value == address {
			return l.Address.Pos
		}
	}
	return d.Pos
}
