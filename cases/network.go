package cases

import (
	"strings"

	"ward/abi"
	"ward/image"
)

// Domains share the host's network: what one listens on another may connect to,
// if its addresses say so. Such a connection carries both ways.

// wired are the ways over the network: to all domains that one can have a
// connection with.
func (w *world) wired(from abi.DomainID) []hop {
	var res []hop
	a := &w.img.Domains[from]
	for i := range w.img.Domains {
		if b := &w.img.Domains[i]; abi.DomainID(i) != from {
			over := meets(a, b)
			if over == "" {
				over = meets(b, a)
			}
			if over != "" {
				res = append(res, hop{subject{domain: abi.DomainID(i)}, over})
			}
		}
	}
	return res
}

// meets names the address at which one domain may connect to another; "": there
// is none.
func meets(client, server *image.Domain) string {
	for _, l := range server.Listen {
		if path, ok := strings.CutPrefix(l.Address, image.UnixAddress); ok {
			// A socket is connected to through a mount that is read-only, too.
			if f := fileOf(client, path); f != nil && f.Verdict.Allow {
				return l.Address
			}
			continue
		}
		listens, err := image.ParseNetRule(l.Address)
		if err != nil {
			return l.Address // no image has one
		}
		for _, c := range client.Connect {
			if to, err := image.ParseNetRule(c); err != nil || overlaps(to, listens) {
				return l.Address
			}
		}
	}
	// Two that may send to any port find that from which the other does.
	for _, c := range client.Connect {
		for _, s := range server.Connect {
			x, err := image.ParseNetRule(c)
			y, err2 := image.ParseNetRule(s)
			if err == nil && err2 == nil && x.Port == 0 && y.Port == 0 && overlaps(x, y) {
				return c + " of both"
			}
		}
	}
	return ""
}

// overlaps reports whether two rules may be about one address of this machine.
// Of a rule for no single address nobody knows which of its addresses are here.
func overlaps(x, y image.NetRule) bool {
	if x.UDP != y.UDP || x.Port != 0 && y.Port != 0 && x.Port != y.Port {
		return false
	}
	any := func(r image.NetRule) bool {
		return !r.Prefix.IsValid() || r.Prefix.IsSingleIP() && r.Prefix.Addr().IsUnspecified()
	}
	return any(x) || any(y) || x.Prefix.Overlaps(y.Prefix)
}
