package graph

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxID is how long a policy's ID may be to stand on an edge, in characters;
// of a longer one its file and line do.
const maxID = 40

func (p Policy) label() string {
	if utf8.RuneCountInString(p.ID) > maxID && p.Source != "" {
		return p.Source
	}
	return p.ID
}

func labels(ps []Policy) string {
	var all []string
	for _, p := range ps {
		all = append(all, p.label())
	}
	return strings.Join(all, " or ")
}

// lines is the label of a gate: the interface, then methods that the same
// policies decide on, together.
func (g *Gate) lines() []string {
	lines := []string{g.Interface}
	names, order := map[string][]string{}, []string(nil)
	for _, m := range g.Methods {
		why := labels(m.Permits)
		if len(m.Unless) > 0 {
			why += ", unless " + labels(m.Unless)
		}
		if m.NoReply {
			why += " (no reply)"
		}
		if !slices.Contains(order, why) {
			order = append(order, why)
		}
		names[why] = append(names[why], m.Name)
	}
	for _, why := range order {
		lines = append(lines, strings.Join(names[why], ", ")+": "+why)
	}
	return lines
}

// lines is the label of an object.
func (o *Object) lines() []string {
	if o.Note == "" {
		return []string{o.Name}
	}
	return []string{o.Name, o.Note}
}

const usersLabel = "users outside Ward"

// nodes gives each domain and object an identifier of its own.
func (g *Graph) nodes() (domain func(string) string, object func(int) string) {
	ids := map[string]string{"": "users"}
	for _, r := range g.Rings {
		for _, d := range r.Domains {
			ids[d] = fmt.Sprintf("d%d", len(ids)-1)
		}
	}
	for i, o := range g.Objects {
		if o.Kind == "mailbox" { // gates lead to it; no domain has its name
			ids[o.Name] = fmt.Sprintf("o%d", i)
		}
	}
	return func(name string) string { return ids[name] }, func(i int) string { return fmt.Sprintf("o%d", i) }
}

func (r *Ring) label() string { return strings.TrimSpace(fmt.Sprintf("ring %d %s", r.Level, r.Name)) }

// DOT writes the graph for Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	domain, object := g.nodes()
	fmt.Fprintf(&b, "digraph ward {\n\tlabel=%s; labelloc=t; rankdir=LR; compound=true;\n", dotLabel(g.System))
	b.WriteString("\tnode [shape=box, fontname=\"sans-serif\"]; edge [fontname=\"sans-serif\", fontsize=10];\n")
	if g.Users {
		fmt.Fprintf(&b, "\tusers [label=%s, shape=ellipse];\n", dotLabel(usersLabel))
	}
	for i := range g.Rings {
		r := &g.Rings[i]
		fmt.Fprintf(&b, "\tsubgraph cluster_%d {\n\t\tlabel=%s; style=rounded;\n", i, dotLabel(r.label()))
		for _, d := range r.Domains {
			fmt.Fprintf(&b, "\t\t%s [label=%s];\n", domain(d), dotLabel(d))
		}
		b.WriteString("\t}\n")
	}
	for i, o := range g.Objects {
		shape := map[string]string{"file": "note", "address": "cds", "memory": "cylinder", "mailbox": "folder"}[o.Kind]
		fmt.Fprintf(&b, "\t%s [label=%s, shape=%s];\n", object(i), dotLabel(o.lines()...), shape)
	}
	for i := range g.Gates {
		e := &g.Gates[i]
		style := "solid"
		if e.Conditional {
			style = "dashed"
		}
		fmt.Fprintf(&b, "\t%s -> %s [label=%s, style=%s];\n", domain(e.From), domain(e.To), dotLabel(e.lines()...), style)
	}
	for i := range g.Loans {
		l := &g.Loans[i]
		fmt.Fprintf(&b, "\t%s -> %s [label=%s, style=bold, arrowhead=vee];\n", domain(l.From), domain(l.To), dotLabel(l.lines()...))
	}
	for _, u := range g.Uses {
		fmt.Fprintf(&b, "\t%s -> %s [label=%s, arrowhead=open];\n", domain(u.From), object(u.Object), dotLabel(u.Access))
	}
	b.WriteString("}\n")
	return b.String()
}

// Mermaid writes the graph as a Mermaid flowchart, which code hosts show in
// Markdown.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	domain, object := g.nodes()
	b.WriteString("flowchart LR\n")
	if g.Users {
		fmt.Fprintf(&b, "\tusers([%s])\n", mermaidLabel(usersLabel))
	}
	for i := range g.Rings {
		r := &g.Rings[i]
		fmt.Fprintf(&b, "\tsubgraph r%d[%s]\n", i, mermaidLabel(r.label()))
		for _, d := range r.Domains {
			fmt.Fprintf(&b, "\t\t%s[%s]\n", domain(d), mermaidLabel(d))
		}
		b.WriteString("\tend\n")
	}
	for i, o := range g.Objects {
		shape := map[string][2]string{"file": {"[/", "/]"}, "address": {">", "]"}, "memory": {"[(", ")]"}, "mailbox": {"[[", "]]"}}[o.Kind]
		fmt.Fprintf(&b, "\t%s%s%s%s\n", object(i), shape[0], mermaidLabel(o.lines()...), shape[1])
	}
	for i := range g.Gates {
		e := &g.Gates[i]
		arrow := "-->"
		if e.Conditional {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "\t%s %s|%s| %s\n", domain(e.From), arrow, mermaidLabel(e.lines()...), domain(e.To))
	}
	for i := range g.Loans {
		l := &g.Loans[i]
		fmt.Fprintf(&b, "\t%s ==>|%s| %s\n", domain(l.From), mermaidLabel(l.lines()...), domain(l.To))
	}
	for _, u := range g.Uses {
		fmt.Fprintf(&b, "\t%s --o|%s| %s\n", domain(u.From), mermaidLabel(u.Access), object(u.Object))
	}
	return b.String()
}
