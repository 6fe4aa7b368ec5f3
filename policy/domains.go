package policy

import (
	"encoding/hex"
	"strings"

	"ward/abi"
	"ward/image"
	"ward/system"
)

// buildDomains makes the domains of the image, with the verdicts on what
// system.yaml grants them.
func (c *compiler) buildDomains() {
	for i, d := range c.domains {
		if c.isBox(i) {
			c.img.Domains = append(c.img.Domains, c.mailboxEntry(i))
			continue
		}
		out := image.Domain{
			Name: d.Name.Value, Program: d.Program.Value, Host: d.Root.Value == "host", Ring: c.ring(d),
			Tmp: d.Tmp, Once: d.Once, Restart: restarts[d.Restart.Value], Grace: d.Grace * 1e9, Notify: d.Notify,
			Names: i == c.nameServer, Start: c.verdict("start", tuple{principal: theSystem, resource: i}, c.impliedPolicy(impliedStart)),
			Quota:  image.Quota(d.Quota),
			Digest: c.digest(d.Digest), Args: values(d.Args), Env: values(d.Env), Needs: values(d.Needs),
		}
		for _, f := range d.Files {
			out.Files = append(out.Files, c.file(i, f))
		}
		c.network(i, d, &out)
		for _, e := range d.Exports {
			out.Exports = append(out.Exports, c.export(i, e))
		}
		c.img.Domains = append(c.img.Domains, out)
	}
}

// export decides on the publishing of an interface.
func (c *compiler) export(domain int, e system.Export) image.Export {
	out := image.Export{Interface: uint32(c.iface(e.Interface.Value)), Socket: e.Socket.Value}
	if int(out.Interface) == c.names {
		out.Publish = image.Verdict{Allow: true, Policy: c.impliedPolicy(impliedNames)}
		return out
	}
	out.Publish = c.verdict("publish", tuple{principal: domain, resource: theSystem, iface: e.Interface.Value}, c.granted(e.Interface.Pos))
	if !out.Publish.Allow {
		c.deniedGrant(e.Interface.Pos, "export of "+e.Interface.Value, out.Publish)
	}
	return out
}

func values(s []system.String) []string {
	var res []string
	for _, v := range s {
		res = append(res, v.Value)
	}
	return res
}

// digest reads the pinned digest of a program: "sha256:" and 64 hexadecimal digits.
func (c *compiler) digest(s system.String) []byte {
	if s.Value == "" {
		return nil
	}
	b, err := hex.DecodeString(strings.TrimPrefix(s.Value, "sha256:"))
	if err != nil || len(b) != 32 {
		c.findings.Errorf(s.Pos, "write sha256: and the output of sha256sum", "digest %q is not a SHA-256", s.Value)
	}
	return b
}

// modes are what the access of an entry of files stands for.
var modes = []struct {
	letter string
	access image.Access
	action string
}{{"r", image.Read, "open.read"}, {"w", image.Write, "open.write"}, {"x", image.Execute, "open.execute"}}

// file decides on a file that is granted to a domain: each way of access that
// the grant names has to be permitted.
func (c *compiler) file(domain int, f system.File) image.File {
	out := image.File{Path: f.Path.Value, AsRoot: f.As.Value == "root", Verdict: denied}
	for _, m := range modes {
		if !strings.Contains(f.Mode.Value, m.letter) {
			continue
		}
		out.Access |= m.access
		v := c.verdict(m.action, tuple{principal: domain, resource: anObject, object: f.Path.Value}, c.granted(f.Path.Pos))
		if out.Verdict.Policy == abi.NoPolicy || out.Verdict.Allow {
			out.Verdict = v
		}
	}
	if !out.Verdict.Allow && out.Verdict.Policy != abi.NoPolicy && !c.isLowered(domain) {
		c.deniedGrant(f.Path.Pos, f.Path.Value, out.Verdict)
	}
	return out
}

// address decides on a network address that is granted to a domain. One that
// is forbidden is left out of the image, so that nobody can hand it over.
func (c *compiler) address(domain int, action string, a system.String) bool {
	v := c.verdict(action, tuple{principal: domain, resource: anObject, object: a.Value}, c.granted(a.Pos))
	if !v.Allow && !c.isLowered(domain) { // what is for more trusted rings is often meant so
		c.deniedGrant(a.Pos, a.Value, v)
	}
	return v.Allow
}
