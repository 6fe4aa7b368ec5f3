package models

import (
	"fmt"
	"slices"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/system"
)

// check refuses what system.yaml says for models that is wrong, or that no
// model in use reads.
func (l *linker) check() {
	l.checkUse()
	l.checkExports()
	l.checkRoles()
}

// needs refuses a key unless one of the models that read it is in use.
func (l *linker) needs(at diag.Pos, key string, models ...string) {
	for _, m := range models {
		if _, ok := l.sys.Uses(m); ok {
			return
		}
	}
	l.findings.Errorf(at, "add "+strings.Join(models, " or ")+" to `use`, or leave it out", "`%s` has no effect: no model in use reads it", key)
}

func (l *linker) checkUse() {
	if u, ok := l.sys.Uses("ward/rings-multics"); ok && !l.sys.Order.Linear() {
		l.findings.Errorf(u.Model.Pos, "declare the rings as a list, or use ward/ring-order and ward/rings-x86",
			"ward/rings-multics counts rings, and those of this system stand beside each other")
	}
	labelled := func(has func(system.Label) bool) bool {
		return slices.ContainsFunc(l.sys.Domains, func(d *system.Domain) bool { return has(d.Label) })
	}
	if u, ok := l.sys.Uses("ward/mls"); ok && !labelled(func(b system.Label) bool { return b.Level > 0 || len(b.Categories) > 0 }) {
		l.findings.Warnf(u.Model.Pos, "give domains a `label: {level: …, categories: […]}`", "ward/mls forbids nothing: all domains have the lowest label")
	}
	for _, m := range []string{"ward/biba", "ward/low-water-mark"} {
		if u, ok := l.sys.Uses(m); ok && !labelled(func(b system.Label) bool { return b.Integrity > 0 }) {
			l.findings.Warnf(u.Model.Pos, "give domains a `label: {integrity: …}`", "%s forbids nothing: all domains have the lowest integrity", m)
		}
	}
	for _, d := range l.sys.Domains {
		if d.Label.Trusted {
			l.needs(d.Label.Pos, "label.trusted", "ward/mls")
		}
		if d.Bracket != nil {
			l.needs(d.Bracket.Pos, "bracket", "ward/rings-multics", "ward/rings-x86")
		}
		for _, f := range d.Files {
			if f.Ring.Value != "" {
				l.needs(f.Ring.Pos, "ring", "ward/rings-x86")
			}
		}
	}
}

func (l *linker) checkExports() {
	l.exports(func(e export) {
		known := names(e.iface)
		exists := func(s system.String, where string) {
			if !slices.Contains(known, s.Value) {
				fix := diag.Suggest(s.Value, known)
				if fix == "" {
					fix = "the methods are " + strings.Join(known, ", ")
				}
				l.findings.Errorf(s.Pos, fix, "%s: %s has no method %q", where, e.iface.Name, s.Value)
			}
		}
		if e.HasEntry {
			at := e.Pos
			for _, s := range e.Entry {
				exists(s, "entry")
				at = s.Pos
			}
			l.needs(at, "entry", "ward/rings-multics")
		}
		if e.Data.Value != "" {
			l.needs(e.Data.Pos, "data", "ward/rings-x86")
		}
		brackets := []*system.Bracket{e.Bracket}
		for _, m := range e.Methods {
			exists(m.Name, "methods")
			brackets = append(brackets, m.Bracket)
		}
		for _, b := range brackets {
			if b != nil {
				l.needs(b.Pos, "bracket", "ward/rings-multics", "ward/rings-x86")
			}
		}
		for i := range e.iface.Methods {
			l.checkFlow(e, &e.iface.Methods[i])
		}
	})
}

// checkFlow checks that the message which is said to carry nothing has no fields.
func (l *linker) checkFlow(e export, m *image.Method) {
	flow := e.flow(m.Name)
	if flow.Value == "" {
		return
	}
	l.needs(flow.Pos, "flow", "ward/mls", "ward/biba", "ward/low-water-mark")
	msg, what := m.Request, "request"
	if flow.Value == system.FlowCall {
		msg, what = m.Reply, "reply"
	}
	if f := l.set.Messages[msg].Fields; len(f) > 0 {
		l.findings.Errorf(flow.Pos, "make it a message without fields, or state the flow of single methods under `methods`",
			"flow: %s means that the %s of %s/%s carries nothing, but %s has the field %s", flow.Value, what, e.iface.Name, m.Name, l.set.Messages[msg].Name, f[0].Name)
	}
}

func (l *linker) checkRoles() {
	top := l.topRoles()
	var known []string
	for _, r := range l.sys.Roles {
		known = append(known, r.Name.Value)
	}
	exists := func(s system.String, where string) {
		if top[s.Value] == nil {
			fix := diag.Suggest(s.Value, known)
			if fix == "" {
				fix = "declare it under `roles` at the top"
			}
			l.findings.Errorf(s.Pos, fix, "%s: unknown role %q", where, s.Value)
		}
	}
	if len(top) > 0 { // else roles are what domains say
		for _, d := range l.sys.Domains {
			for _, r := range d.Roles {
				exists(r, "domain "+d.Name.Value)
			}
		}
	}
	for _, r := range l.sys.Roles {
		for _, list := range [][]system.String{r.Includes, r.Excludes, r.ExcludesActs} {
			for _, s := range list {
				exists(s, "role "+r.Name.Value)
			}
		}
		for _, s := range slices.Concat(r.Excludes, r.ExcludesActs) {
			l.needs(s.Pos, "excludes", "ward/separation-of-duty")
			if s.Value == r.Name.Value {
				l.findings.Errorf(s.Pos, "leave it out", "role %q excludes itself", s.Value)
			}
		}
		for _, s := range r.May {
			l.needs(s.Pos, "may", "ward/roles")
			if _, methods := l.right(s.Value); methods == nil {
				var all []string
				for i := range l.set.Interfaces {
					all = append(all, l.set.Interfaces[i].Name)
					for _, m := range l.set.Interfaces[i].Methods {
						all = append(all, l.set.Interfaces[i].Name+"/"+m.Name)
					}
				}
				l.findings.Errorf(s.Pos, diag.Suggest(s.Value, all), "role %s: there is no interface or method %q", r.Name.Value, s.Value)
			}
		}
	}
	if before := len(*l.findings); l.checkDuties(top) && before == len(*l.findings) {
		l.checkDynamic()
	}
}

// closure are the roles that r stands for: itself and what it includes, with
// how it comes by each. round is a role that includes itself.
func closure(top map[string]*system.Role, r string) (all map[string]string, round string) {
	all = map[string]string{r: ""}
	todo := []string{r}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if top[at] == nil {
			continue
		}
		for _, i := range top[at].Includes {
			if i.Value == r {
				return all, r
			}
			if _, seen := all[i.Value]; !seen {
				all[i.Value] = at
				todo = append(todo, i.Value)
			}
		}
	}
	return all, ""
}

// checkDuties is the static separation of duty: nobody has two roles of which
// one excludes the other (RBAC96 constraints; ANSI INCITS 359-2004, 5.3).
// It reports false if roles include each other in a circle.
func (l *linker) checkDuties(top map[string]*system.Role) bool {
	for _, r := range l.sys.Roles {
		if _, round := closure(top, r.Name.Value); round != "" {
			l.findings.Errorf(r.Name.Pos, "remove one of the `includes`", "role %q includes itself", round)
			return false
		}
	}
	type holder struct {
		what  string
		at    diag.Pos
		roles []system.String
	}
	var holders []holder
	for _, d := range l.sys.Domains {
		holders = append(holders, holder{"domain " + d.Name.Value, d.Pos, d.Roles})
	}
	users := map[string]int{}
	for _, r := range l.sys.Roles {
		for _, u := range r.Users {
			i, ok := users[u.Value]
			if !ok {
				i = len(holders)
				users[u.Value] = i
				holders = append(holders, holder{what: "user " + u.Value})
			}
			holders[i].at = u.Pos
			holders[i].roles = append(holders[i].roles, system.String{Value: r.Name.Value, Pos: u.Pos})
		}
		if len(r.Includes) > 0 {
			holders = append(holders, holder{"role " + r.Name.Value, r.Name.Pos, []system.String{r.Name}})
		}
	}
	for _, h := range holders {
		has := map[string]string{} // each role, and how it came
		at := map[string]diag.Pos{}
		for _, r := range h.roles {
			all, _ := closure(top, r.Value)
			for name, by := range all {
				if _, twice := has[name]; !twice || by == "" {
					has[name], at[name] = by, r.Pos
				}
			}
		}
		for _, r := range l.sys.Roles {
			for _, x := range r.Excludes {
				_, a := has[r.Name.Value]
				_, b := has[x.Value]
				if a && b {
					l.findings.Errorf(at[x.Value], "take one of the two away: "+r.Name.Value+" excludes "+x.Value,
						"separation of duty: %s has the roles %s and %s", h.what, how(r.Name.Value, has), how(x.Value, has))
				}
			}
		}
	}
	return true
}

// how names a role, and the role that brought it.
func how(role string, has map[string]string) string {
	if by := has[role]; by != "" {
		return fmt.Sprintf("%s (included in %s)", role, by)
	}
	return role
}
