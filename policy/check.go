package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ward/diag"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// A checkEnv is what a condition is type-checked for.
type checkEnv struct {
	principal, resource string // entity types
	action              *action
	ctx                 *typ
	dynamic             bool // the context is a message, not known when compiling
}

// A checker checks the conditions of one policy, for each environment that
// its scope covers.
type checker struct {
	*compiler
	s        *source
	env      checkEnv
	reported map[*syntax.Expr]bool
	missing  map[*syntax.Expr][]string // an attribute, and the messages that lack it
	found    map[*syntax.Expr]bool     // some message has it
	optional map[*syntax.Expr]string   // a `has`, and a message in which the attribute may be absent
	known    map[*syntax.Expr][]string // names that an unknown attribute could have been
}

// guards are the attributes that are known to be there.
type guards struct {
	path  string
	outer *guards
	n     int // guards from here on
}

func (g *guards) has(path string) bool {
	for ; g != nil; g = g.outer {
		if g.path == path {
			return true
		}
	}
	return false
}

func (g *guards) with(path string) *guards {
	n := 1
	if g != nil {
		n += g.n
	}
	return &guards{path, g, n}
}

// and is the union: the shorter list is put before the longer.
func (g *guards) and(h *guards) *guards {
	if g == nil {
		return h
	}
	if h != nil && h.n > g.n {
		g, h = h, g
	}
	for ; h != nil; h = h.outer {
		if !g.has(h.path) {
			g = g.with(h.path)
		}
	}
	return g
}

func (g *guards) or(h *guards) *guards {
	var res *guards
	for ; g != nil; g = g.outer {
		if h.has(g.path) {
			res = res.with(g.path)
		}
	}
	return res
}

// check type-checks the conditions of s.
func (c *compiler) check(s *source) {
	k := &checker{compiler: c, s: s, reported: map[*syntax.Expr]bool{}, missing: map[*syntax.Expr][]string{},
		found: map[*syntax.Expr]bool{}, optional: map[*syntax.Expr]string{}, known: map[*syntax.Expr][]string{}}
	if len(s.Conditions) == 0 {
		return
	}
	before := len(*c.findings)
	k.literals()
	seen := map[checkEnv]bool{}
	for _, a := range s.scope.actions {
		for _, p := range a.principal {
			for _, r := range a.resource {
				if !s.scope.principal.hasType(p) || !s.scope.resource.hasType(r) {
					continue
				}
				env := checkEnv{p, r, a, a.ctx, a.kind != wardOwn}
				if s.uses&syntax.Action == 0 {
					env.action = nil
				}
				if s.uses&syntax.Context == 0 {
					env.ctx = nil
					env.dynamic = env.dynamic && s.uses&syntax.State != 0
				}
				if s.uses&syntax.Principal == 0 {
					env.principal = ""
				}
				if s.uses&syntax.Resource == 0 {
					env.resource = ""
				}
				if !seen[env] {
					seen[env] = true
					k.env = env
					k.conditions()
				}
			}
		}
	}
	k.reportMissing()
	if s.Forbid {
		k.warnSilent()
	}
	s.broken = s.broken || slices.ContainsFunc((*c.findings)[before:], func(f diag.Finding) bool { return f.Severity == diag.Error })
}

// conditions checks all conditions in one environment. As in Cedar, what one
// `when` guards is not known to the next.
func (k *checker) conditions() {
	for _, c := range k.s.Conditions {
		t, _ := k.expr(c.Body, nil)
		k.want(c.Body, t, boolean)
	}
}

// literals checks the entities that the conditions name.
func (k *checker) literals() {
	for _, c := range k.s.Conditions {
		c.Body.Walk(func(e *syntax.Expr) bool {
			switch e.Op {
			case syntax.Entity:
				u := syntax.UID{Type: e.Name, ID: e.Str, Pos: e.Pos, IDPos: e.IDPos}
				if isActionType(e.Name) {
					k.knownAction(u, false)
				} else {
					k.knownEntity(u)
				}
			case syntax.Is, syntax.IsIn:
				if !isActionType(e.Name) {
					k.knownType(e.Name, e.Pos)
				}
			}
			return true
		})
	}
}

// errorf reports e once.
func (k *checker) errorf(e *syntax.Expr, at diag.Pos, fix, format string, args ...any) {
	if !k.reported[e] {
		k.reported[e] = true
		k.findings.Errorf(at, fix, format, args...)
	}
}

// outside reports an expression that the kernel's filter cannot decide.
func (k *checker) outside(e *syntax.Expr, fix, what string) *typ {
	k.errorf(e, e.Pos, fix, "condition outside what a filter can decide: %s", what)
	return anyType
}

// want checks that e is of a kind.
func (k *checker) want(e *syntax.Expr, t *typ, want kind) bool {
	if t.is(want) {
		return t.kind != anyKind
	}
	wanted := &typ{kind: want}
	name := wanted.String()
	switch want {
	case entity:
		name = "entity"
	case set:
		name = "Set"
	case record:
		name = "record"
	}
	k.errorf(e, e.Start(), instead(t.kind, want), "%s, where a %s is expected", k.describe(e, t), name)
	return false
}

// instead says what to write where a value of one kind stands for another.
func instead(have, want kind) string {
	switch {
	case want == boolean && have == long:
		return "compare it with a number: ==, <, <=, >, >="
	case want == boolean && have == text:
		return `compare it: == "…", like "…*", or ["…", "…"].contains(…)`
	case want == boolean && have == set:
		return "ask it something: .contains(…), .containsAny([…]), .isEmpty()"
	case want == boolean && have == entity:
		return "compare it: == , in , is"
	case want == boolean && have == record:
		return "ask one of its attributes"
	case want == long && have == text:
		return `only numbers have an order: compare texts by ==, like "…*", or ["…", "…"].contains(…)`
	case want == long && have == record:
		return "write one of its attributes, as .size or .count"
	case want == set && have == record:
		return "write its elements: .values"
	case want == set:
		return "write a set: […]"
	case want == entity && have == text:
		return `write the entity, as Domain::"…", or compare its name: principal.name == "…"`
	}
	return "write a value of that type"
}

// describe names an expression and its type.
func (k *checker) describe(e *syntax.Expr, t *typ) string {
	s := "this"
	switch e.Op {
	case syntax.Long:
		s = strconv.FormatInt(e.Long, 10)
	case syntax.String:
		s = quote(e.Str)
	case syntax.Bool:
		s = strconv.FormatBool(e.Bool)
	case syntax.Entity:
		s = syntax.UID{Type: e.Name, ID: e.Str}.String()
	case syntax.Access, syntax.Var:
		if p := e.Path(); p != "" {
			s = p
		}
	}
	s += " is a " + t.String()
	switch {
	case t.names != nil && t.names.what != "interface":
		s += " (the name of a value of " + t.names.what + ")"
	case t.field != "":
		s += " (" + t.field + ")"
	}
	return s
}

// symbolic reports whether the value of e is not known before a message comes.
func (k *checker) symbolic(e *syntax.Expr) bool {
	return k.env.dynamic && e.Uses&(syntax.Context|syntax.State) != 0
}

// user reports whether e looks at a user outside, who is not known before it connects.
func (k *checker) user(e *syntax.Expr) bool {
	return k.env.principal == typeUser && e.Uses&syntax.Principal != 0 || k.env.resource == typeUser && e.Uses&syntax.Resource != 0
}

// isUser reports whether e is the variable that stands for a user outside.
func (k *checker) isUser(e *syntax.Expr) bool { return e.Op == syntax.Var && k.user(e) }

// userName reports whether e is the name of a user outside.
func (k *checker) userName(e *syntax.Expr) bool {
	return e.Op == syntax.Access && e.Name == "name" && k.isUser(e.Args[0])
}

// constant reports whether the value of e follows from client, action and server.
func (k *checker) constant(e *syntax.Expr) bool { return !k.symbolic(e) && !k.user(e) }

// attribute resolves e.Name on a record or entity type; nil if there is none.
// It notes for reportMissing what messages lack.
func (k *checker) attribute(e *syntax.Expr, on *typ) *attr {
	r := on
	if on.kind == entity {
		if r = k.attrs[on.name]; r == nil {
			r = recordType(on.name) // an action
		}
	}
	a, ok := r.rec.attrs[e.Name]
	switch {
	case !ok:
		if name := r.name; !slices.Contains(k.missing[e], name) {
			k.missing[e] = append(k.missing[e], name)
		}
		k.known[e] = append(k.known[e], r.rec.names()...)
		return nil
	case a.left != "":
		k.errorf(e, e.Pos, cmp.Or(a.instead, "decide on another parameter"), "%s: %s", e.Name, a.left)
	case a.name == "state" && on.kind == entity && !k.env.dynamic && e.Op == syntax.Access:
		k.errorf(e, e.Pos, `name calls or replies in the scope, as action in ward::Action::"call"`,
			"state is known when a message comes, not when the policy is compiled, as for ward::Action::…")
	}
	k.found[e] = true
	return a
}

// reportMissing reports attributes that some or all messages lack.
func (k *checker) reportMissing() {
	for e, lacking := range k.missing {
		slices.Sort(lacking)
		names := slices.Compact(slices.Sorted(slices.Values(k.known[e])))
		on := e.Args[0].Path()
		switch {
		case !k.found[e]:
			what := "attribute"
			if strings.HasPrefix(on, "context") {
				what = "parameter"
			}
			fix := didYouMean(e.Name, names, what)
			if on == keysName {
				what, fix = "metadata key", otherKey(e.Name, names)
			}
			if s, ok := k.otherState(e, lacking[0]); ok {
				what, fix = "state", s
			}
			if (on == "principal" || on == "resource") && !slices.Contains(lacking, typeDomain) {
				fix += "; write " + on + " is Domain && …, if only domains are meant"
			}
			k.errorf(e, e.Pos, fix, "unknown %s %s of %s", what, quote(e.Name), strings.Join(lacking[:min(3, len(lacking))], ", "))
		case e.Op == syntax.Access:
			fix := fmt.Sprintf("write %s has %s && …, or action in [those that have it] && …, or name fewer actions in the scope", on, attrName(e.Name))
			if on == "principal" || on == "resource" {
				fix = "write " + on + " is Domain && …"
			}
			k.errorf(e, e.Pos, fix,
				"only some in the scope of this policy have %s: %s does not", quote(e.Name), lacking[0])
		}
	}
}

// warnSilent warns of a `has` in a forbid: where the parameter is absent, the
// forbid does not match, and what it was to stop passes.
func (k *checker) warnSilent() {
	for _, c := range k.s.Conditions {
		k.silent(c.Body, !c.Unless)
	}
}

func (k *checker) silent(e *syntax.Expr, positive bool) {
	switch e.Op {
	case syntax.Not:
		k.silent(e.Args[0], !positive)
	case syntax.Or:
		k.silent(e.Args[0], positive)
		k.silent(e.Args[1], positive)
	case syntax.And:
		k.silent(e.Args[0], positive)
		k.silent(e.Args[1], positive)
		if !positive {
			return
		}
		e.Args[0].Walk(func(h *syntax.Expr) bool {
			msg, optional := k.optional[h]
			if h.Op != syntax.Has || !optional {
				return h.Op == syntax.And
			}
			path := access(h).Path()
			guarded := false
			e.Args[1].Walk(func(a *syntax.Expr) bool {
				guarded = guarded || a.Op == syntax.Access && a.Path() == path
				return true
			})
			if guarded && !k.reported[h] {
				k.reported[h] = true
				k.findings.Warnf(h.Pos, fmt.Sprintf("to forbid it also then: if %s has %s then … else true; if it is meant so: if … then … else false",
					h.Args[0].Path(), attrName(h.Name)),
					"this forbid does not match when %s is absent (it is optional in %s)", path, msg)
			}
			return true
		})
	}
}

// closedWorld checks the literals in e, which is compared with a String that has only some values.
func (k *checker) closedWorld(e *syntax.Expr, names *closed) {
	switch e.Op {
	case syntax.String:
		if first, ok := names.aliases[e.Str]; ok {
			k.errorf(e, e.Pos, "write "+quote(first), "%s is another name of value %s of %s", quote(e.Str), quote(first), names.what)
		} else if !names.has(e.Str) {
			k.errorf(e, e.Pos, didYouMean(e.Str, names.names, names.what), "%s is no %s", quote(e.Str), names.value())
		}
	case syntax.If:
		k.closedWorld(e.Args[1], names)
		k.closedWorld(e.Args[2], names)
	case syntax.Set:
		for _, a := range e.Args {
			k.closedWorld(a, names)
		}
	}
}

// actionIn evaluates `action in e`, which the environment decides. Cedar does
// not know the outcome of `action == e` while it checks types.
func (k *checker) actionIn(e *syntax.Expr) *typ {
	uids := []*syntax.Expr{e}
	if e.Op == syntax.Set {
		uids = e.Args
	}
	for _, u := range uids {
		if u.Op != syntax.Entity {
			return boolType
		}
		if slices.Contains(k.leaves[cedar.NewUID(u.Name, u.Str)], k.env.action) {
			return knownBool(true)
		}
	}
	return knownBool(false)
}
