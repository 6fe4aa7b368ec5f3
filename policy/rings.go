package policy

import (
	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// Children in less trusted rings than that of what they are made of
// (`lower_rings`). For each such ring there is one domain more, as if
// system.yaml had another template with the same name and that ring: policies
// know it by the name of the domain, and what they ask of its ring and its state
// is that of the child. Systems that list none have none, and are compiled as ever.

// addLowered puts the domains in other rings after all others.
func (w *world) addLowered() {
	w.plain = make([]int, len(w.domains))
	for i := range w.domains {
		w.plain[i] = i
	}
	for i, of := range w.sys.Domains {
		for _, ring := range of.Lower {
			d := *of
			d.Name = system.String{Value: image.InRing(of.Name.Value, ring.Value), Pos: ring.Pos}
			d.Pos, d.Ring, d.Template, d.Lower = ring.Pos, ring, true, nil
			// A template serves nothing, is not started, and writes where its children's parent may.
			d.Exports, d.Listen, d.Needs, d.Restart, d.Once, d.Notify = nil, nil, nil, system.String{}, false, false
			d.Quota.Disk = 0
			w.domains, w.boxes, w.plain = append(w.domains, &d), append(w.boxes, nil), append(w.plain, i)
		}
	}
}

// isLowered reports whether an entry of world.domains is one in another ring.
func (w *world) isLowered(domain int) bool { return domain >= 0 && w.plain[domain] != domain }

// processes are the entries of world.domains that are no mailboxes.
func (w *world) processes() []int {
	var all []int
	for i := range w.domains {
		if !w.isBox(i) {
			all = append(all, i)
		}
	}
	return all
}

// addLoweredEntities adds what conditions look at of a domain in another ring.
// No literal names it, and it is in no role: for that it is the domain itself.
func (w *world) addLoweredEntities(attributes func(*system.Domain) map[cedar.String]cedar.Value) {
	for i, d := range w.domains {
		if w.isLowered(i) {
			uid, all := cedar.NewUID(typeDomain, d.Name.Value), attributes(d)
			all["name"] = cedar.String(w.domains[w.plain[i]].Name.Value)
			w.entities[uid] = cedar.NewEntity(uid, nil, all)
		}
	}
}

// inRing is a condition as it is to be evaluated for a tuple: attributes of a
// principal or resource in another ring are asked of its own entity, and what it
// is compared with, and is in, of the domain.
func (f *folder) inRing(e *syntax.Expr) *syntax.Expr {
	if !f.isLowered(f.t.principal) && !f.isLowered(f.t.resource) {
		return e
	}
	ringed := map[string]string{}
	for name, at := range map[string]int{"principal": f.t.principal, "resource": f.t.resource} {
		if f.isLowered(at) {
			ringed[name] = f.domains[at].Name.Value
		}
	}
	return rewritten(e, ringed)
}

// rewritten is e with what it asks of the attributes of variables asked of entities.
func rewritten(e *syntax.Expr, ringed map[string]string) *syntax.Expr {
	if e.Uses&(syntax.Principal|syntax.Resource) == 0 || e.Op == syntax.Var {
		return e
	}
	n := *e
	n.Args = make([]*syntax.Expr, len(e.Args))
	for i, a := range e.Args {
		n.Args[i] = rewritten(a, ringed)
	}
	if e.Op == syntax.Access || e.Op == syntax.Has {
		return attributeOf(&n, n.Args[0], ringed)
	}
	return &n
}

// attributeOf is n, which asks for an attribute, asked of what on turns out to
// be: of each branch of an if, of the value in a record.
func attributeOf(n, on *syntax.Expr, ringed map[string]string) *syntax.Expr {
	switch on.Op {
	case syntax.Var:
		if id := ringed[on.Name]; id != "" {
			on = &syntax.Expr{Op: syntax.Entity, Pos: on.Pos, IDPos: on.Pos, Name: typeDomain, Str: id}
		}
	case syntax.If:
		branches := *on
		branches.Args = []*syntax.Expr{on.Args[0], attributeOf(n, on.Args[1], ringed), attributeOf(n, on.Args[2], ringed)}
		branches.Uses |= n.Uses
		return &branches
	case syntax.Record:
		at := -1
		for i, k := range on.Keys {
			if k == n.Name {
				at = i
			}
		}
		if n.Op == syntax.Has {
			return &syntax.Expr{Op: syntax.Bool, Pos: n.Pos, Bool: at >= 0}
		}
		if at >= 0 {
			return on.Args[at]
		}
	}
	m := *n
	m.Args = []*syntax.Expr{on}
	return &m
}
