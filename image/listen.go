package image

import (
	"fmt"

	"ward/abi"
)

// A ListenConflict is an address that two domains may listen on: of TCP the
// kernel gives it to the first, and of UDP to both, if both ask for that, and
// then datagrams go to who came last.
type ListenConflict struct {
	Domain, Other         abi.DomainID // Domain comes first
	Address, OtherAddress string       // as each has it: the same, or one is * and means the other as well
}

// ListenConflicts returns those of the image, in the order of its domains,
// between domains that may start. Children listen nowhere.
func (img *Image) ListenConflicts() (all []ListenConflict) {
	type place struct {
		NetRule
		domain  abi.DomainID
		address string
	}
	type port struct {
		udp  bool
		port uint16
	}
	at := map[port][]place{}
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Template || !d.Start.Allow {
			continue
		}
		for _, l := range d.Listen {
			r, err := ParseNetRule(l.Address)
			if err != nil { // a path; what is neither is refused elsewhere
				continue
			}
			key := port{r.UDP, r.Port}
			p := place{r, abi.DomainID(i), l.Address}
			for _, o := range at[key] {
				if o.domain != p.domain && o.meets(&r) {
					all = append(all, ListenConflict{o.domain, p.domain, o.address, p.address})
				}
			}
			at[key] = append(at[key], p)
		}
	}
	return all
}

// meets reports whether two addresses to listen on, of one protocol and port, are
// one for some packet. * is all addresses, and 0.0.0.0 and [::] all of their kind.
func (r *NetRule) meets(o *NetRule) bool {
	if !r.Prefix.IsValid() || !o.Prefix.IsValid() {
		return true
	}
	a, b := r.Prefix.Addr(), o.Prefix.Addr()
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// listens checks that each address is one domain's.
func (c *checker) listens() error {
	for _, x := range c.img.ListenConflicts() {
		return fmt.Errorf("domain %s: it may listen on %s, and %s on %s", c.img.Domains[x.Other].Name, x.OtherAddress, c.img.Domains[x.Domain].Name, x.Address)
	}
	return nil
}
