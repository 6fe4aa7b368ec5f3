package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/compile"
	"ward/image"
	"ward/system"
)

// notes adds what `ward check` tells of a good system.
func notes(c *compiled, r *compile.Result) {
	for i, m := range r.Image.Messages {
		for _, f := range m.Fields {
			if !f.Default || strings.HasPrefix(m.Name, "ward.v1.") {
				continue // Ward's own interfaces are nobody's to bound
			}
			name := m.Name + "." + f.Name
			note := boundNote{Field: name, Bound: defaultBound(&r.Image.Messages[i], &f)}
			note.Pos = r.Set.Pos[protoreflect.FullName(name)]
			c.Bounds = append(c.Bounds, note)
		}
	}
	for _, u := range r.Set.Unenforced {
		c.Unenforced = append(c.Unenforced, ruleNote{string(u.Field), u.Rule, u.Pos})
	}
	objectNotes(c, r)
	granted := grants(r.Image)
	addresses(granted, r)
	for i, p := range r.Image.Policies {
		if strings.HasPrefix(p.ID, "system.yaml:") || strings.HasPrefix(p.ID, impliedPolicy) || strings.HasPrefix(p.ID, "ward/") {
			effect := "permit"
			if p.Forbid {
				effect = "forbid"
			}
			c.Generated = append(c.Generated, policyNote{ID: p.ID, Effect: effect, Source: p.Source, Grants: granted[uint32(i)]})
		}
	}
}

// defaultBound says a default bound in words.
func defaultBound(m *image.Message, f *image.Field) string {
	var parts []string
	if f.Card == image.Repeated {
		parts = append(parts, fmt.Sprintf("at most %d items", f.MaxItems))
	}
	switch f.Type {
	case image.String, image.Bytes:
		parts = append(parts, fmt.Sprintf("at most %d bytes", f.MaxLen))
	case image.Uint64, image.Fixed64:
		parts = append(parts, "0 to 2^63-1")
	case image.Uint32, image.Fixed32:
		parts = append(parts, "0 to 2^32-1")
	case image.Int32, image.Sint32, image.Sfixed32:
		parts = append(parts, "-2^31 to 2^31-1")
	case image.Int64, image.Sint64, image.Sfixed64:
		parts = append(parts, "-2^63 to 2^63-1")
	}
	return strings.Join(parts, ", each ")
}

// grants says in words what each policy made from system.yaml grants.
func grants(img *image.Image) map[uint32][]string {
	granted := map[uint32][]string{}
	for _, d := range img.Domains {
		for _, e := range d.Exports {
			what := fmt.Sprintf("%s may publish %s", d.Name, img.Interfaces[e.Interface].Name)
			if e.Socket != "" {
				what += " and serve users at " + e.Socket
			}
			granted[e.Publish.Policy] = append(granted[e.Publish.Policy], what)
		}
		for _, f := range d.Files {
			granted[f.Verdict.Policy] = append(granted[f.Verdict.Policy], fmt.Sprintf("%s may use %s (%s)", d.Name, f.Path, accessWord(f)))
		}
	}
	return granted
}

// addresses adds the addresses that are granted. The image has those that no
// policy forbids; which line grants one the system knows.
func addresses(granted map[uint32][]string, r *compile.Result) {
	for _, d := range r.System.Domains {
		at := slices.IndexFunc(r.Image.Domains, func(x image.Domain) bool { return x.Name == d.Name.Value })
		if at < 0 {
			continue
		}
		out := &r.Image.Domains[at]
		add := func(line int, word, address string) {
			id := fmt.Sprintf("%s:%d", system.FileName, line)
			if p := slices.IndexFunc(r.Image.Policies, func(p image.Policy) bool { return p.ID == id }); p >= 0 {
				granted[uint32(p)] = append(granted[uint32(p)], fmt.Sprintf("%s may %s %s", out.Name, word, address))
			}
		}
		for _, l := range d.Listen {
			if slices.ContainsFunc(out.Listen, func(x image.Listen) bool { return x.Address == l.Address.Value }) {
				add(l.Address.Pos.Line, "listen on", l.Address.Value)
			}
		}
		for _, a := range d.Connect {
			if slices.Contains(out.Connect, a.Value) {
				add(a.Pos.Line, "connect to", a.Value)
			}
		}
	}
}

// accessWord spells access as system.yaml does.
func accessWord(f image.File) string {
	var s string
	for _, a := range []struct {
		bit    image.Access
		letter string
	}{{image.Read, "r"}, {image.Write, "w"}, {image.Execute, "x"}} {
		if f.Access&a.bit != 0 {
			s += a.letter
		}
	}
	if f.AsRoot {
		s += ", as root"
	}
	return s
}
