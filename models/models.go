package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/ring"
	"ward/system"
)

// linker makes the policies of the models that a system uses.
type linker struct {
	sys      *system.System
	set      *interfaces.Set
	findings *diag.List
	out      []Source
	outside  string // the ring that users outside Ward count as: the last
}

// Policies are the policies of the models that a system uses, and what is
// wrong with what its system.yaml says for models.
//
// Preconditions: sys and set come from a Load without errors.
func Policies(sys *system.System, set *interfaces.Set) ([]Source, diag.List) {
	var findings diag.List
	l := &linker{sys: sys, set: set, findings: &findings, outside: sys.Rings[len(sys.Rings)-1].Name.Value}
	l.check()
	if findings.Failed() {
		findings.Sort()
		return nil, findings
	}
	for _, u := range sys.Use {
		p := load(u.Model.Value)
		switch u.Model.Value {
		case "ward/rings-multics":
			l.multics(p)
		case "ward/rings-x86":
			l.x86(p)
		case "ward/ring-distance":
			l.add(p.link("too many rings at once", "", binding{"limit": strconv.Itoa(max(int(u.Limit), 1)), "outside": sys.Level(l.outside)}))
		case "ward/mls":
			l.flows(p, "no write down", "no read up")
		case "ward/biba":
			l.flows(p, "no write up", "no read down")
		case "ward/roles":
			l.roles(p)
		case "ward/low-water-mark":
			l.lowWater(p, u.Model)
		case "ward/separation-of-duty":
			l.duties(p, u.Model)
		default:
			l.whole(p)
		}
	}
	findings.Sort()
	return l.out, findings
}

func (l *linker) add(s Source) { l.out = append(l.out, s) }

// whole adds a page without templates that depend on the system.
func (l *linker) whole(p *page) {
	for _, t := range p.templates {
		if len(t.slots) == 0 {
			l.add(p.link(t.title, "", nil))
		}
	}
}

// An export with its interface.
type export struct {
	domain *system.Domain
	*system.Export
	iface *image.Interface
}

// exports calls visit for what the domains export, the name server's own interface aside.
func (l *linker) exports(visit func(export)) {
	for _, d := range l.sys.Domains {
		for i := range d.Exports {
			e := &d.Exports[i]
			at := slices.IndexFunc(l.set.Interfaces, func(f image.Interface) bool { return f.Name == e.Interface.Value })
			if at >= 0 && e.Interface.Value != system.NamesInterface {
				visit(export{d, e, &l.set.Interfaces[at]})
			}
		}
	}
}

// method is what an export says of one method, or nil.
func (e export) method(name string) *system.ExportMethod {
	i := slices.IndexFunc(e.Methods, func(m system.ExportMethod) bool { return m.Name.Value == name })
	if i < 0 {
		return nil
	}
	return &e.Methods[i]
}

// server is the export's domain in Cedar.
func (e export) server() string { return "Domain::" + strconv.Quote(e.domain.Name.Value) }

// actions are methods in Cedar: a list of actions, of the whole interface if it is all of them.
func (e export) actions(methods []string, reply bool) string {
	if len(methods) == len(e.iface.Methods) {
		return "[" + e.action("", reply) + "]"
	}
	var list []string
	for _, m := range methods {
		list = append(list, e.action(m, reply))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// action is a method in Cedar, or with "" the group of all.
func (e export) action(method string, reply bool) string {
	i := strings.LastIndexByte(e.iface.Name, '.')
	id := e.iface.Name[i+1:]
	if method != "" {
		id += "." + method
	}
	if reply {
		id += ".reply"
	}
	return strings.ReplaceAll(e.iface.Name[:max(i, 0)], ".", "::") + "::Action::" + strconv.Quote(id)
}

func (e export) who() string { return e.domain.Name.Value + " " + e.iface.Name }

// bracket is the bracket of a method: its own, the export's, the domain's, or
// its domain's ring alone.
func (l *linker) bracket(e export, method string) (b ring.Bracket, declared bool) {
	if m := e.method(method); m != nil && m.Bracket != nil {
		return m.Bracket.Bracket, true
	}
	for _, b := range []*system.Bracket{e.Bracket, e.domain.Bracket} {
		if b != nil {
			return b.Bracket, true
		}
	}
	r, _ := l.sys.Ring(e.domain.Ring.Value)
	n := int(r.Level)
	return ring.Bracket{N1: n, N2: n, N3: n}, false
}

// brackets calls visit for the methods of each export that share a bracket.
func (l *linker) brackets(visit func(e export, b ring.Bracket, declared bool, methods []string)) {
	type key struct {
		ring.Bracket
		declared bool
	}
	l.exports(func(e export) {
		methods := map[key][]string{}
		var order []key
		for _, m := range e.iface.Methods {
			var k key
			k.Bracket, k.declared = l.bracket(e, m.Name)
			if methods[k] == nil {
				order = append(order, k)
			}
			methods[k] = append(methods[k], m.Name)
		}
		for _, k := range order {
			visit(e, k.Bracket, k.declared, methods[k])
		}
	})
}

func (l *linker) multics(p *page) {
	lowest := len(l.sys.Rings) - 1
	l.brackets(func(e export, b ring.Bracket, declared bool, methods []string) {
		who := fmt.Sprintf("%s [%d, %d, %d]", e.who(), b.N1, b.N2, b.N3)
		if !declared {
			who = e.who() + " without a bracket"
		}
		slots := binding{"server": e.server(), "methods": e.actions(methods, false), "n2": strconv.Itoa(b.N2), "n3": strconv.Itoa(b.N3),
			"outside": l.sys.Level(l.outside)}
		if b.N3 < lowest {
			l.add(p.link("beyond the bracket", who, slots))
		}
		var inner []string
		for _, m := range methods {
			if e.HasEntry && !slices.ContainsFunc(e.Entry, func(s system.String) bool { return s.Value == m }) {
				inner = append(inner, m)
			}
		}
		if len(inner) > 0 && b.N2 < b.N3 {
			slots["methods"] = e.actions(inner, false)
			l.add(p.link("not an entry point", who, slots))
		}
	})
}

func (l *linker) x86(p *page) {
	above := func(r string) string { return quoted(l.sys.Order.Above(l.sys.Order.Find(r))) }
	l.add(p.link("a call goes toward more privilege", "", binding{"above": above(l.outside)}))
	l.brackets(func(e export, b ring.Bracket, declared bool, methods []string) {
		if declared && b.N3 < len(l.sys.Rings)-1 {
			l.add(p.link("less privilege than the gate asks for", fmt.Sprintf("%s %d", e.who(), b.N3), binding{"server": e.server(),
				"methods": e.actions(methods, false), "n3": strconv.Itoa(b.N3), "outside": l.sys.Level(l.outside)}))
		}
	})
	l.exports(func(e export) {
		if e.Data.Value != "" {
			l.add(p.link("replies with data of a more privileged ring", e.who(), binding{"server": e.server(),
				"replies": e.actions(names(e.iface), true), "rings": above(e.Data.Value), "outside": strconv.Quote(l.outside)}))
		}
	})
	seen := map[string]bool{}
	for _, d := range l.sys.Domains {
		for _, f := range d.Files {
			if who := f.Path.Value + " " + f.Ring.Value; f.Ring.Value != "" && !seen[who] {
				seen[who] = true
				l.add(p.link("data of a more privileged ring", who, binding{"object": "Object::" + cedarString(f.Path.Value), "rings": above(f.Ring.Value)}))
			}
		}
	}
}

func names(f *image.Interface) []string {
	var res []string
	for _, m := range f.Methods {
		res = append(res, m.Name)
	}
	return res
}

// quoted is a set of strings in Cedar.
func quoted(s []string) string {
	var q []string
	for _, x := range s {
		q = append(q, strconv.Quote(x))
	}
	return "[" + strings.Join(q, ", ") + "]"
}

// cedarString quotes any text for Cedar.
func cedarString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// flow is which message of a method carries information; "": both.
func (e export) flow(method string) system.String {
	if m := e.method(method); m != nil && m.Flow.Value != "" {
		return m.Flow
	}
	return e.Flow
}

// flows links the two policies of a model of information flow. Messages that
// are declared to carry nothing are exempt.
func (l *linker) flows(p *page, call, reply string) {
	l.add(p.link(call, "", binding{"silent": l.exempt("resource", system.FlowReply, false)}))
	l.add(p.link(reply, "", binding{"silent": l.exempt("principal", system.FlowCall, true)}))
}

// exempt is the condition that a message is of a method with a declared flow;
// who is the server in it.
func (l *linker) exempt(who, flow string, reply bool) string {
	var terms []string
	l.exports(func(e export) {
		var methods []string
		for _, m := range e.iface.Methods {
			if e.flow(m.Name).Value == flow {
				methods = append(methods, m.Name)
			}
		}
		if len(methods) > 0 {
			terms = append(terms, fmt.Sprintf("%s == %s && action in %s", who, e.server(), e.actions(methods, reply)))
		}
	})
	if len(terms) == 0 {
		return "false"
	}
	return strings.Join(terms, " ||\n  ")
}

func (l *linker) roles(p *page) {
	for _, r := range l.sys.Roles {
		for _, may := range r.May {
			e, methods := l.right(may.Value)
			l.add(p.link("a right of the role", r.Name.Value+" "+may.Value, binding{"role": "Role::" + strconv.Quote(r.Name.Value),
				"methods": e.actions(methods, false)}))
		}
	}
}

// right is the interface, and the methods, that "pkg.Service/Method" or "pkg.Service" names.
func (l *linker) right(s string) (export, []string) {
	iface, method, single := strings.Cut(s, "/")
	at := slices.IndexFunc(l.set.Interfaces, func(f image.Interface) bool { return f.Name == iface })
	if at < 0 {
		return export{}, nil
	}
	e := export{iface: &l.set.Interfaces[at]}
	switch {
	case !single:
		return e, names(e.iface)
	case slices.Contains(names(e.iface), method):
		return e, []string{method}
	}
	return e, nil
}
