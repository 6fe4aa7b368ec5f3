package image

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A NetRule is a set of network addresses and ports of one protocol, as
// `connect` and `listen` of system.yaml write it.
type NetRule struct {
	UDP    bool         // else TCP
	Prefix netip.Prefix // not valid: every address of IPv4 and IPv6
	Port   uint16       // 0: every port
}

// ParseNetRule reads "tcp:HOST:PORT" or "udp:HOST:PORT". HOST is *, an IPv4
// address or prefix, or an IPv6 address or prefix in brackets; PORT a number
// or *. It takes no names: an address that is looked up once is not what the
// name stands for later, and one that is looked up by the domain itself is
// whatever the domain says.
func ParseNetRule(s string) (NetRule, error) {
	fail := func(why string) (NetRule, error) {
		return NetRule{}, fmt.Errorf("address %q: %s", s, why)
	}
	var r NetRule
	proto, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && proto == "tcp":
	case ok && proto == "udp":
		r.UDP = true
	default:
		return fail(`it begins with neither "tcp:" nor "udp:"`)
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return fail("it has no port")
	}
	host, port := rest[:i], rest[i+1:]
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("its port is not 1 to 65535 or *")
		}
		r.Port = uint16(n)
	}
	if host == "*" {
		return r, nil
	}
	six := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if six {
		host = host[1 : len(host)-1]
	}
	p, err := netip.ParsePrefix(host)
	if err != nil {
		a, aerr := netip.ParseAddr(host)
		if aerr != nil {
			return fail("its host is not *, an IPv4 address or prefix, or an IPv6 one in brackets; names are not taken")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case six != p.Addr().Is6():
		return fail("IPv6 addresses, and no others, are in brackets")
	case p.Addr().Is4In6():
		return fail("write an IPv4 address without ::ffff:")
	case p.Addr().Zone() != "":
		return fail("it has a zone")
	case p.Masked() != p:
		return fail("bits beyond its prefix are set; write " + p.Masked().String())
	}
	r.Prefix = p
	return r, nil
}

// String returns the rule as it is written.
func (r NetRule) String() string {
	s, host, port := "tcp", "*", "*"
	if r.UDP {
		s = "udp"
	}
	if r.Prefix.IsValid() {
		if host = r.Prefix.String(); r.Prefix.IsSingleIP() {
			host = r.Prefix.Addr().String()
		}
		if r.Prefix.Addr().Is6() {
			host = "[" + host + "]"
		}
	}
	if r.Port != 0 {
		port = strconv.Itoa(int(r.Port))
	}
	return s + ":" + host + ":" + port
}
