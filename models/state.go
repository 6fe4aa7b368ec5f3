package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ward/system"
)

// Models with state declare it themselves. Their names begin with a capital
// letter, which names in system.yaml do not.

// state declares a state of each domain.
func (l *linker) state(name string, at system.String, values []string, moves []system.Move) {
	s := system.State{Name: system.String{Value: name, Pos: at.Pos}, Per: system.String{Value: "domain", Pos: at.Pos}, Model: true}
	for _, v := range values {
		s.Values = append(s.Values, system.String{Value: v, Pos: at.Pos})
	}
	for _, m := range moves {
		m.Pos = at.Pos
		s.Moves = append(s.Moves, m)
	}
	l.sys.States = append(slices.Clip(l.sys.States), s)
}

// lowWater links ward/low-water-mark: for each level of integrity but the
// highest, what may not be written up from it, and who sinks to it.
func (l *linker) lowWater(p *page, at system.String) {
	levels := []int{0}
	for _, d := range l.sys.Domains {
		if i := int(d.Label.Integrity); !slices.Contains(levels, i) {
			levels = append(levels, i)
		}
	}
	slices.Sort(levels)
	levels = levels[:len(levels)-1] // nobody sinks to the highest
	if len(levels) == 0 {
		return
	}
	values := []string{"declared"}
	var moves []system.Move
	for i, level := range levels {
		values = append(values, fmt.Sprintf("i%d", level))
		for from := range len(levels) + 1 {
			if from != i+1 && (from == 0 || from > i+1) {
				moves = append(moves, system.Move{From: from, To: i + 1})
			}
		}
	}
	l.state("Integrity", at, values, moves)
	lower := "false"
	for i, level := range levels {
		b := binding{"level": strconv.Itoa(level), "low": quoted(values[1 : i+2]), "lower": lower, "value": values[i+1],
			"silent": l.exempt("resource", system.FlowReply, false), "quiet": l.exempt("principal", system.FlowCall, true)}
		who := fmt.Sprintf("integrity %d", level)
		l.add(p.link("no write up", who, b))
		l.add(p.link("sinks", who, b))
		lower = fmt.Sprintf("principal.label.integrity <= %d || %s.contains(principal.state.Integrity)", level, b["low"])
	}
}

// duties links the dynamic part of ward/separation-of-duty.
func (l *linker) duties(p *page, at system.String) {
	for i, d := range l.dynamic() {
		name := fmt.Sprintf("Duty%d", i+1)
		l.state(name, at, []string{"neither", d[0], d[1]}, []system.Move{{From: 0, To: 1}, {From: 0, To: 2}})
		for j, role := range d {
			other := d[1-j]
			b := binding{"state": name, "role": role, "other": other, "methods": "[" + strings.Join(l.rights(role), ", ") + "]"}
			l.add(p.link("acts in a role", role+" not "+other, b))
			l.add(p.link("acted in another role", role+" after "+other, b))
		}
	}
}

// dynamic are the pairs of roles in which nobody may act both.
func (l *linker) dynamic() [][2]string {
	var pairs [][2]string
	for _, r := range l.sys.Roles {
		for _, x := range r.ExcludesActs {
			a, b := r.Name.Value, x.Value
			if !slices.Contains(pairs, [2]string{a, b}) && !slices.Contains(pairs, [2]string{b, a}) {
				pairs = append(pairs, [2]string{a, b})
			}
		}
	}
	return pairs
}

// rights are the methods that a role may call, itself or by a role that it
// includes: actions in Cedar, sorted.
func (l *linker) rights(role string) []string {
	top := l.topRoles()
	all, _ := closure(top, role)
	var res []string
	for name := range all {
		if top[name] == nil {
			continue
		}
		for _, may := range top[name].May {
			e, methods := l.right(may.Value)
			for _, m := range methods {
				res = append(res, e.action(m, false))
			}
		}
	}
	slices.Sort(res)
	return slices.Compact(res)
}

// topRoles are the roles with an entry at the top, by name.
func (l *linker) topRoles() map[string]*system.Role {
	top := map[string]*system.Role{}
	for i := range l.sys.Roles {
		top[l.sys.Roles[i].Name.Value] = &l.sys.Roles[i]
	}
	return top
}

// maxDynamic bounds the pairs of roles with dynamic separation: each is a
// state of every domain.
const maxDynamic = 16

// checkDynamic checks the dynamic separation of duty: what counts as acting in
// a role has to be known, and of one role only.
func (l *linker) checkDynamic() {
	n := 0
	for _, r := range l.sys.Roles {
		for _, x := range r.ExcludesActs {
			if n++; n > maxDynamic {
				l.findings.Errorf(x.Pos, "let fewer roles exclude each other's acts", "more than %d pairs of roles under `excludes_acts`", maxDynamic)
				return
			}
			mine, theirs := l.rights(r.Name.Value), l.rights(x.Value)
			for _, role := range []struct {
				name   string
				rights []string
			}{{r.Name.Value, mine}, {x.Value, theirs}} {
				if len(role.rights) == 0 {
					l.findings.Errorf(x.Pos, "list what it may call under `may`", "nobody can be seen to act in role %s, which has no rights", role.name)
				}
			}
			for _, m := range mine {
				if slices.Contains(theirs, m) {
					l.findings.Errorf(x.Pos, "make it a right of one of them", "%s is a right of %s and of %s: one act would be in both", m, r.Name.Value, x.Value)
				}
			}
			a, b := l.usersOf(r.Name.Value), l.usersOf(x.Value)
			for _, u := range a {
				if slices.Contains(b, u) {
					l.findings.Errorf(x.Pos, "use `excludes`, or take one of the roles away", "user %s has %s and %s, but what users outside did is not remembered", u, r.Name.Value, x.Value)
				}
			}
		}
	}
}

// usersOf are the users who have a role, itself or by a role that includes it.
func (l *linker) usersOf(role string) []string {
	top := l.topRoles()
	var users []string
	for name, r := range top {
		if all, _ := closure(top, name); slices.Contains(keys(all), role) {
			for _, u := range r.Users {
				users = append(users, u.Value)
			}
		}
	}
	slices.Sort(users)
	return slices.Compact(users)
}

func keys(m map[string]string) []string {
	var res []string
	for k := range m {
		res = append(res, k)
	}
	return res
}
