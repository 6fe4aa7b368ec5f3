package difftest

import (
	"fmt"
	"slices"
	"strings"
)

// What a system has beside its domains and interfaces: models, roles, states.

// A declared is a state of a random system, as its policies name it.
type declaredState struct {
	name, per string
	values    []string
}

var statesOf = []declaredState{
	{"session", "gate", []string{"anonymous", "pending", "known"}},
	{"door", "gate", []string{"shut", "open"}},
	{"level", "domain", []string{"low", "middle", "high"}},
	{"mood", "domain", []string{"calm", "cross"}},
	{"mode", "system", []string{"normal", "locked", "maintenance", "a.b-c"}},
	{"turn", "system", []string{"t0", "t1", "t2", "t3", "t4"}},
}

// round are the values of a state that always moves on to the next, and from
// the last to the first; none if it need not.
func (s *declaredState) round() []string {
	if s.name == "turn" || s.name == "session" || s.name == "level" {
		return s.values
	}
	return nil
}

// methodNames are those that every service has.
var methodNames = []string{"X", "Y"}

// head writes the models, roles and states of a system.
func (g *generator) head() []string {
	g.uses = nil
	var use []string
	for _, m := range []string{"ward/rings-multics", "ward/rings-x86", "ward/mls", "ward/biba", "ward/low-water-mark", "ward/ownership", "ward/ring-order"} {
		if g.chance(8) {
			g.uses, use = append(g.uses, m), append(use, m)
		}
	}
	if g.chance(10) {
		g.uses, use = append(g.uses, "ward/ring-distance"), append(use, fmt.Sprintf("{model: ward/ring-distance, limit: %d}", 1+g.r.IntN(3)))
	}
	var roles []string
	if g.chance(4) {
		g.uses, use = append(g.uses, "ward/roles"), append(use, "ward/roles")
		may := func(of string) string { return fmt.Sprintf("may: [z.v1.%s/%s]", of, pick(g.r, methodNames...)) }
		acts := ""
		if g.chance(2) {
			g.uses, use = append(g.uses, "ward/separation-of-duty"), append(use, "ward/separation-of-duty")
			acts = ", excludes_acts: [writer]"
		}
		roles = []string{"roles:", "  reader: {" + may("A") + ", users: [alice]}", "  boss: {includes: [reader], users: [bob], may: [z.v1.B/X]" + acts + "}", "  writer: {may: [z.v1.B/Y], users: [carol]}"}
	}
	var lines []string
	if len(use) > 0 {
		lines = append(lines, "use: ["+strings.Join(use, ", ")+"]")
	}
	lines = append(lines, roles...)
	if g.chance(3) {
		g.states = nil
		return lines
	}
	g.states = statesOf
	lines = append(lines, "state:")
	for _, s := range g.states {
		var moves []string
		for i, from := range s.values {
			var to []string
			for k, v := range s.values {
				if i != k && (g.chance(2) || len(s.round()) > 0 && k == (i+1)%len(s.values)) {
					to = append(to, v)
				}
			}
			moves = append(moves, from+": ["+strings.Join(to, ", ")+"]")
		}
		lines = append(lines, fmt.Sprintf("  %s: {per: %s, values: [%s], initial: %s, moves: {%s}}", s.name, s.per, strings.Join(s.values, ", "), pick(g.r, s.values...), strings.Join(moves, ", ")))
	}
	return lines
}

func (g *generator) using(model string) bool { return slices.Contains(g.uses, model) }

// keys are what a domain has for models.
func (g *generator) keys() []string {
	var keys []string
	if g.using("ward/mls") || g.using("ward/biba") || g.using("ward/low-water-mark") || g.chance(6) {
		label := fmt.Sprintf("level: %d, categories: [%s], integrity: %d", g.r.IntN(3), pick(g.r, "", "x", "y", "x, y"), g.r.IntN(3))
		if g.using("ward/mls") && g.chance(8) {
			label += ", trusted: true"
		}
		keys = append(keys, "label: {"+label+"}")
	}
	if g.using("ward/roles") && !g.chance(3) {
		keys = append(keys, "roles: ["+pick(g.r, "reader", "boss", "writer", "reader, writer", "boss, writer")+"]")
	}
	if g.using("ward/ownership") && g.chance(2) {
		keys = append(keys, "owner: "+pick(g.r, users...))
	}
	if g.using("ward/rings-multics") && g.chance(2) {
		keys = append(keys, "bracket: "+g.bracket())
	}
	return keys
}

func (g *generator) bracket() string {
	n := []int{g.r.IntN(4), g.r.IntN(4), g.r.IntN(4)}
	slices.Sort(n)
	return fmt.Sprintf("[%d, %d, %d]", n[0], n[1], n[2])
}

// export writes an entry of exports.
func (g *generator) export(name, socket string) string {
	keys := []string{"interface: " + name}
	if socket != "" {
		keys = append(keys, "socket: "+socket)
	}
	var methods []string
	if g.using("ward/rings-multics") && g.chance(2) {
		keys = append(keys, "bracket: "+g.bracket())
		if g.chance(2) {
			keys = append(keys, "entry: ["+pick(g.r, methodNames...)+"]")
		}
		if g.chance(3) {
			methods = append(methods, "Y: {bracket: "+g.bracket()+"}")
		}
	}
	if g.chance(4) {
		keys = append(keys, "trust: within-ring")
	} else if g.chance(4) {
		methods = append(methods, "X: {trust: within-ring}")
	}
	if g.using("ward/rings-x86") && g.chance(3) {
		keys = append(keys, "data: "+pick(g.r, ringNames...))
	}
	if len(methods) > 0 {
		keys = append(keys, "methods: {"+strings.Join(methods, ", ")+"}")
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

var ringNames = []string{"kernel", "service", "system", "user"}

// aboutState writes a test of state; user: the client is one, who has none.
func (a *author) aboutState(t act, user bool) string {
	d := pick(a.r, a.states...)
	var path, guard string
	switch d.per {
	case "gate":
		path = "context.ward.gate." + d.name
	case "system":
		path = `System::"zoo".state.` + d.name
	default:
		client, server := "principal", "resource"
		if t.reply {
			client, server = server, client
		}
		path = pick(a.r, server+".state.", a.domain()+".state.")
		if !user {
			path = pick(a.r, path, client+".state.")
		}
		if strings.HasPrefix(path, client) {
			guard = client + " is Domain && "
		}
		path += d.name
	}
	v := func() string { return `"` + pick(a.r, d.values...) + `"` }
	return "(" + guard + pick(a.r, path+" == "+v(), path+" == "+v(), path+" != "+v(), v()+" == "+path, "["+v()+", "+v()+"].contains("+path+")",
		path+` like "*o*"`, "["+path+"].containsAny(["+v()+"])", path+" == "+path) + ")"
}

// effects writes annotations for a permit: mostly none.
func (a *author) effects(often bool) string {
	s := ""
	if a.chance(5) {
		s = fmt.Sprintf(`@rate("%s") `, pick(a.r, "1/h burst 3", "1/h burst 12", "2/h burst 30", "1/d burst 40", "2/d burst 1"))
	}
	if len(a.states) == 0 || !often && !a.chance(4) {
		return s
	}
	var parts []string
	gate := a.chance(3)
	for range pick(a.r, 1, 1, 1, 2, 3) {
		d := pick(a.r, a.states...)
		if (d.per == "gate") != gate {
			continue
		}
		target := d.per
		if target == "domain" {
			target = pick(a.r, "principal", "resource")
		}
		if part := target + "." + d.name + "="; !slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, part) }) {
			parts = append(parts, part+pick(a.r, d.values...))
		}
	}
	if len(parts) == 0 {
		return s
	}
	return s + `@enter("` + strings.Join(parts, "; ") + `") `
}

// stateful writes a permit that changes state and is easily satisfied: a step
// round the values of one, so that something always moves.
func (a *author) stateful(n int) string {
	t := pick(a.r, a.acts...)
	when := ""
	switch a.r.IntN(6) {
	case 0:
		when = " when { " + a.aboutState(t, false) + " }"
	case 1:
		when = " when { " + a.aboutField(t.message, "context") + " }"
	}
	return fmt.Sprintf(`@id("s%d") %spermit (principal is Domain, action == %s, resource is Domain)%s;`, n, a.effects(true), t.action, when)
}

// carousel writes permits of one action by which every message moves a state on.
func (a *author) carousel(n int) []string {
	t := pick(a.r, a.acts...)
	d := pick(a.r, statesOf[0], statesOf[2], statesOf[5])
	target, path, scope := d.per, `System::"zoo".state.`, "resource"
	switch d.per {
	case "gate":
		path = "context.ward.gate."
	case "domain":
		target, path, scope = "resource", "resource.state.", "resource is Domain"
	}
	rate := ""
	if a.chance(4) {
		rate = `@rate("1/h burst 9") `
	}
	var all []string
	for i, v := range d.values {
		all = append(all, fmt.Sprintf(`@id("c%d-%d") %s@enter("%s.%s=%s") permit (principal, action == %s, %s) when { %s%s == "%s" };`,
			n, i, rate, target, d.name, d.values[(i+1)%len(d.values)], t.action, scope, path, d.name, v))
	}
	return all
}

// busy writes permits by which every call of the system moves a state of it on.
func (a *author) busy() []string {
	var all []string
	d := statesOf[5]
	for i, v := range d.values {
		all = append(all, fmt.Sprintf(`@id("b%d") @enter("system.%s=%s") permit (principal, action in ward::Action::"call", resource) when { System::"zoo".state.%s == "%s" };`,
			i, d.name, d.values[(i+1)%len(d.values)], d.name, v))
	}
	return all
}
