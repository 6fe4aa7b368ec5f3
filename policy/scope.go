package policy

import (
	"slices"
	"strings"

	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// A subject is what a scope says about the principal or the resource.
type subject struct {
	all     bool
	types   map[string]bool    // entity types that can match; nil: all
	uids    map[cedar.UID]bool // of those types, the entities that match; nil: all
	user    image.Expr         // for a user outside: what must hold of it
	hasUser bool               // a user can match
}

// matches reports whether an entity of the system is covered.
func (s *subject) matches(u cedar.UID) bool {
	if s.all {
		return true
	}
	return (s.types == nil || s.types[string(u.Type)]) && (s.uids == nil || s.uids[u])
}

// hasType reports whether entities of a type can be covered.
func (s *subject) hasType(t string) bool { return s.all || s.types == nil || s.types[t] }

// A scope is the resolved scope of a policy.
type scope struct {
	principal, resource subject
	actions             []*action // covered
	all                 bool      // the scope does not constrain the action
	replies             bool      // the scope names replies
}

// resolve checks the literals of a scope and finds out what it covers.
func (c *compiler) resolve(s *source) {
	sc := &scope{}
	sc.principal = c.subject(s, s.Principal)
	sc.resource = c.subject(s, s.Resource)
	seen := map[*action]bool{}
	for _, u := range s.Action.UIDs {
		uid := cedar.NewUID(u.Type, u.ID)
		if !c.knownAction(u, s.Action.Kind == syntax.Equal) {
			s.broken = true
			continue
		}
		if strings.HasSuffix(u.ID, ".reply") || u.Type == wardAction && u.ID == "reply" {
			sc.replies = true
		}
		for _, a := range c.leaves[uid] {
			if a.later {
				c.findings.Errorf(u.Pos, "remove it", "action %s is not supported by this version yet", u)
				s.broken = true
			}
			if !seen[a] {
				seen[a] = true
				sc.actions = append(sc.actions, a)
			}
		}
	}
	if s.Action.Kind == syntax.All {
		sc.all = true
		sc.actions = c.actions
	}
	s.scope = sc
	if !s.broken {
		c.objectScope(s)
	}
	if !s.broken {
		c.applicable(s)
	}
}

// applicable refuses a scope that no request can have.
func (c *compiler) applicable(s *source) {
	fits := func(a *action) bool {
		return slices.ContainsFunc(a.principal, s.scope.principal.hasType) && slices.ContainsFunc(a.resource, s.scope.resource.hasType)
	}
	if slices.ContainsFunc(s.scope.actions, fits) {
		return
	}
	if s.isModel() { // it says something of systems that are not this one
		s.scope.actions = nil
		return
	}
	s.broken = true
	if len(s.scope.actions) == 0 {
		c.findings.Errorf(s.Action.Pos, "name another action, or declare methods", "no action is in this group")
		return
	}
	a := s.scope.actions[0]
	fix := "for " + string(a.uid.Type) + "::" + quote(string(a.uid.ID)) + " the principal is a " + strings.Join(a.principal, " or a ") +
		", the resource a " + strings.Join(a.resource, " or a ")
	if slices.Equal(a.principal, []string{typeDomain}) && s.scope.principal.types[typeUser] && a.kind == callAction {
		if _, answers := c.takers(a.iface); answers {
			fix += "; for calls of users, export the interface with a socket"
		}
	}
	c.findings.Errorf(s.Pos, fix, "policy can never match: no action in its scope has such a principal and resource")
}

func (c *compiler) subject(s *source, sc syntax.Scope) subject {
	if sc.Kind == syntax.All {
		return subject{all: true, hasUser: true, user: image.Expr{Op: image.True}}
	}
	res := subject{}
	if sc.Kind == syntax.OfType || sc.Kind == syntax.TypeIn {
		if !c.knownType(sc.Type, sc.TypePos) {
			s.broken = true
			return res
		}
		res.types = map[string]bool{sc.Type: true}
		if sc.Kind == syntax.OfType {
			res.hasUser = sc.Type == typeUser
			res.user = image.Expr{Op: image.True}
			return res
		}
	}
	u := sc.UIDs[0]
	if !c.knownEntity(u) {
		s.broken = true
		return res
	}
	uid := cedar.NewUID(u.Type, u.ID)
	res.uids = c.below(uid, sc.Kind == syntax.Equal)
	if res.types == nil {
		res.types = map[string]bool{}
		for x := range res.uids {
			res.types[string(x.Type)] = true
		}
		if u.Type == typeGroup && sc.Kind != syntax.Equal {
			res.types[typeUser] = true
		}
	}
	if res.types[typeUser] {
		res.user, res.hasUser = c.atom(uid, sc.Kind == syntax.Equal)
	}
	return res
}

// below lists an entity and, unless exact, what is in it.
func (c *compiler) below(uid cedar.UID, exact bool) map[cedar.UID]bool {
	if m, ok := c.members[uid]; ok && !exact {
		return m
	}
	return map[cedar.UID]bool{uid: true}
}

// findMembers fills c.members: for each entity what is in it, itself included.
func (c *compiler) findMembers() {
	c.members = map[cedar.UID]map[cedar.UID]bool{}
	for uid := range c.entities {
		todo, seen := []cedar.UID{uid}, map[cedar.UID]bool{}
		for len(todo) > 0 {
			at := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[at] {
				continue
			}
			seen[at] = true
			if c.members[at] == nil {
				c.members[at] = map[cedar.UID]bool{}
			}
			c.members[at][uid] = true
			for p := range c.entities[at].Parents.All() {
				todo = append(todo, p)
			}
		}
	}
}

// atom is the condition on a user outside Ward that it is, or is in, an entity.
func (c *compiler) atom(uid cedar.UID, exact bool) (image.Expr, bool) {
	switch {
	case string(uid.Type) == typeUser:
		return image.Expr{Op: image.User, Atom: intern(&c.img.Users, string(uid.ID))}, true
	case string(uid.Type) == typeGroup && !exact:
		return image.Expr{Op: image.Group, Atom: intern(&c.img.Groups, string(uid.ID))}, true
	case string(uid.Type) == typeRole && !exact:
		e := c.roleAtom(uid)
		return e, e.Op != image.False
	}
	return image.Expr{Op: image.False}, false
}

func intern(list *[]string, s string) uint32 {
	i := slices.Index(*list, s)
	if i < 0 {
		i = len(*list)
		*list = append(*list, s)
	}
	return uint32(i)
}
