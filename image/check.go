package image

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"ward/abi"
)

// Check reports the first thing about img that no reader is prepared for:
// an index out of range, a name that is not one, a path that is not absolute
// and clean, an expression that does not fit its message or is too large, a
// set that is not sorted, a grant without a policy. What passes needs no
// second look: the filter generator, the creator and the monitor index and
// recurse without checks of their own.
//
// Two things are left to who starts a system: a domain's Program may be empty
// (the name server's, and what has not been built), and files need not exist.
func (img *Image) Check() error {
	c := checker{img: img}
	for _, step := range []func() error{c.system, c.policies, c.messages, c.interfaces, c.domains, c.states, c.routes, c.children, c.objects} {
		if err := step(); err != nil {
			return fmt.Errorf("policy image: %w", err)
		}
	}
	return nil
}

type checker struct{ img *Image }

func (c *checker) system() error {
	img := c.img
	if !isName(img.Name) {
		return fmt.Errorf("name of the system %q is not a name", clip(img.Name))
	}
	for _, r := range img.Require {
		if !isText(r, 64) {
			return fmt.Errorf("required mechanism %q is not a name", clip(r))
		}
	}
	if n := len(img.Metadata); n > MaxMetadata {
		return fmt.Errorf("%d metadata keys: the limit is %d", n, MaxMetadata)
	}
	seen := map[string]bool{}
	for _, m := range img.Metadata {
		if !isKey(m.Key) || seen[m.Key] {
			return fmt.Errorf("metadata key %q is not a key in lower case, or is there twice", clip(m.Key))
		}
		seen[m.Key] = true
		if m.Max == 0 || m.Max > abi.MaxControl {
			return fmt.Errorf("metadata key %s may have %d bytes: from 1 to %d are possible", m.Key, m.Max, abi.MaxControl)
		}
	}
	for i, names := range [][]string{img.Users, img.Groups} {
		what := []string{"users", "groups"}[i]
		if len(names) > MaxAtoms {
			return fmt.Errorf("%d %s in the policy: the limit is %d", len(names), what, MaxAtoms)
		}
		if i := firstBad(names, func(s string) bool { return isText(s, 256) && !strings.ContainsAny(s, ":/") }); i >= 0 {
			return fmt.Errorf("%q among the %s is not a name, or is there twice", clip(names[i]), what)
		}
	}
	return nil
}

func (c *checker) policies() error {
	for i, p := range c.img.Policies {
		if !isText(p.ID, 1024) || len(p.Source) > 1024 || !utf8.ValidString(p.Source) {
			return fmt.Errorf("policy %d: ID or source is empty, too long or not text", i)
		}
	}
	return nil
}

// verdict checks that an allow names a permit, and a deny a forbid or nothing.
func (c *checker) verdict(v Verdict) error {
	if v.Policy == abi.NoPolicy {
		if v.Allow {
			return fmt.Errorf("grant without a policy")
		}
		return nil
	}
	if int(v.Policy) >= len(c.img.Policies) {
		return fmt.Errorf("policy %d: there are %d", v.Policy, len(c.img.Policies))
	}
	if c.img.Policies[v.Policy].Forbid == v.Allow {
		return fmt.Errorf("verdict that policy %q cannot give", c.img.Policies[v.Policy].ID)
	}
	return nil
}

func (c *checker) interfaces() error {
	seen := map[string]bool{}
	for _, i := range c.img.Interfaces {
		if !isProtoName(i.Name) || seen[i.Name] {
			return fmt.Errorf("interface %q is not a name, or is there twice", clip(i.Name))
		}
		seen[i.Name] = true
		if len(i.Methods) > MaxMethods {
			return fmt.Errorf("interface %s has %d methods: the limit is %d", i.Name, len(i.Methods), MaxMethods)
		}
		table := 0
		methods := map[string]bool{}
		for _, m := range i.Methods {
			if !isIdent(m.Name) || methods[m.Name] {
				return fmt.Errorf("method %q of %s is not a name, or is there twice", clip(m.Name), i.Name)
			}
			methods[m.Name] = true
			if table += methodEntry + len(m.Name); table > MaxNames {
				return fmt.Errorf("the names of the methods of interface %s are too long together: with %d bytes for each its %d methods may take %d bytes; split it", i.Name, methodEntry, len(i.Methods), MaxNames)
			}
			if int(m.Request) >= len(c.img.Messages) || int(m.Reply) >= len(c.img.Messages) {
				return fmt.Errorf("method %s/%s: message %d or %d: there are %d", i.Name, m.Name, m.Request, m.Reply, len(c.img.Messages))
			}
		}
	}
	return nil
}

func (c *checker) domains() error {
	if n := len(c.img.Domains); n > MaxDomains {
		return fmt.Errorf("%d domains: the limit is %d", n, MaxDomains)
	}
	seen, sockets, names := map[string]bool{}, map[string]bool{}, 0
	for i := range c.img.Domains {
		d := &c.img.Domains[i]
		if !isDomainName(d.Name) || seen[d.Name] {
			return fmt.Errorf("domain %q is not a name, or is there twice", clip(d.Name))
		}
		seen[d.Name] = true
		if d.Names {
			names++
		}
		if err := c.domain(d, sockets); err != nil {
			return fmt.Errorf("domain %s: %w", d.Name, err)
		}
	}
	if names > 1 {
		return fmt.Errorf("%d name servers: a system has one", names)
	}
	if err := c.listens(); err != nil {
		return err
	}
	return c.disks()
}

func (c *checker) domain(d *Domain, sockets map[string]bool) error {
	if d.Program != "" && !isPath(d.Program) {
		return fmt.Errorf("program %q is not an absolute, clean path", clip(d.Program))
	}
	if n := len(d.Digest); n != 0 && n != 32 {
		return fmt.Errorf("digest of %d bytes: a SHA-256 has 32", n)
	}
	if len(d.Pins) > MaxPins || len(d.Pins) > 0 && len(d.Digest) == 0 {
		return fmt.Errorf("%d pinned files: at most %d are possible, and none without a digest of the program", len(d.Pins), MaxPins)
	}
	for _, p := range d.Pins {
		if !isPath(p.Path) || len(p.Digest) != 32 {
			return fmt.Errorf("pinned file %q is not an absolute, clean path with a SHA-256", clip(p.Path))
		}
	}
	if strings.Contains(strings.Join(d.Args, ""), "\x00") {
		return fmt.Errorf("argument with a NUL")
	}
	for _, e := range d.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || !isIdent(name) || strings.Contains(e, "\x00") {
			return fmt.Errorf("environment entry %q is not NAME=value", clip(e))
		}
	}
	if d.Ring.Level < 0 || d.Ring.Level > 31 || !isText(d.Ring.Name, 64) {
		return fmt.Errorf("ring %d %q: levels are 0 to 31, and each has a name", d.Ring.Level, clip(d.Ring.Name))
	}
	if err := d.Quota.check(); err != nil {
		return err
	}
	paths := map[string]bool{}
	for _, f := range d.Files {
		if !isPath(f.Path) || paths[f.Path] || f.Access == 0 || f.Access > Read|Write|Execute {
			return fmt.Errorf("file %q is not an absolute, clean path, is there twice, or has no access", clip(f.Path))
		}
		paths[f.Path] = true
		if err := c.verdict(f.Verdict); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	if err := checkNetwork(d, sockets); err != nil {
		return err
	}
	exported := map[uint32]bool{}
	for _, e := range d.Exports {
		if int(e.Interface) >= len(c.img.Interfaces) || exported[e.Interface] {
			return fmt.Errorf("export of interface %d: there are %d, each once", e.Interface, len(c.img.Interfaces))
		}
		exported[e.Interface] = true
		if e.Socket != "" && (!isPath(e.Socket) || len(e.Socket) > maxSocket || sockets[e.Socket]) {
			return fmt.Errorf("socket %q is not an absolute, clean path of at most %d bytes, or is there twice", clip(e.Socket), maxSocket)
		}
		sockets[e.Socket] = true
		if err := c.verdict(e.Publish); err != nil {
			return fmt.Errorf("export of %s: %w", c.img.Interfaces[e.Interface].Name, err)
		}
	}
	return c.verdict(d.Start)
}

// methodEntry is what a method takes in a message of a control channel beside its name, in bytes.
const methodEntry = 12

// maxSocket is the longest path that fits struct sockaddr_un with its NUL (unix(7)).
const maxSocket = 107

// firstBad returns the index of the first string that is not ok or a
// repetition, or -1.
func firstBad(s []string, ok func(string) bool) int {
	seen := map[string]bool{}
	return slices.IndexFunc(s, func(v string) bool {
		again := seen[v]
		seen[v] = true
		return again || !ok(v)
	})
}

// isText: printable UTF-8 in one line, 1 to limit bytes.
func isText(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' || b == '_' }
func digit(b byte) bool  { return '0' <= b && b <= '9' }

// isName: letters, digits, "_", "-" and ".", at most 64, the first a letter or
// digit. It is safe as one element of a path.
func isName(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) && !digit(s[i]) && (i == 0 || s[i] != '-' && s[i] != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// isKey: as a gRPC metadata key, in lower case.
func isKey(s string) bool {
	return isName(s) && s == strings.ToLower(s)
}

func isIdent(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) && (i == 0 || !digit(s[i])) {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// isProtoName: identifiers with dots between.
func isProtoName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !isIdent(part) {
			return false
		}
	}
	return len(s) <= 255
}

func isPath(s string) bool {
	return len(s) <= 4095 && path.IsAbs(s) && path.Clean(s) == s && s != "/" && isText(s, 4095)
}

// clip shortens what an error shows of a hostile string.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
