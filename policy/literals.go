package policy

import (
	"maps"
	"slices"
	"strings"

	"ward/diag"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// The closed world: Cedar's validators do not check the IDs of entities, so
// that a mistyped name in a forbid would fail open.

// entityTypes are the types that a policy may name, actions aside.
func (w *world) entityTypes() []string { return slices.Sorted(maps.Keys(w.attrs)) }

func isActionType(t string) bool { return t == "Action" || strings.HasSuffix(t, "::Action") }

func (c *compiler) knownType(t string, at diag.Pos) bool {
	if _, ok := c.attrs[t]; ok {
		return true
	}
	c.findings.Errorf(at, didYouMean(t, c.entityTypes(), "entity type"), "unknown entity type %s", t)
	return false
}

// knownEntity checks the name of an entity that is not an action.
func (c *compiler) knownEntity(u syntax.UID) bool {
	if isActionType(u.Type) {
		c.findings.Errorf(u.Pos, "actions stand in the second place of the scope", "action %s where an entity was expected", u)
		return false
	}
	if !c.knownType(u.Type, u.Pos) {
		return false
	}
	ids, checked := c.ids[u.Type]
	at := u.IDPos
	if at.Line == 0 {
		at = u.Pos
	}
	if !checked {
		if u.ID == "" || len(u.ID) > 256 || strings.ContainsAny(u.ID, ":/") || strings.ContainsFunc(u.ID, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.findings.Errorf(at, "", "%s is no name of a %s", quote(u.ID), strings.ToLower(u.Type))
			return false
		}
		return true // users and groups of the host, which the compiler does not know
	}
	if slices.Contains(ids, u.ID) {
		return true
	}
	what := strings.ToLower(u.Type)
	fix := didYouMean(u.ID, ids, what+" in "+system.FileName)
	switch {
	case u.Type == typeObject && c.sys.Domain(u.ID) != nil:
		fix = "it is a domain: write Domain::" + quote(u.ID)
	case u.Type == typeDomain && c.sys.Object(u.ID) != nil:
		fix = "it is an object: write Object::" + quote(u.ID)
	case u.Type == typeObject && fix == "there is no object in "+system.FileName:
		fix = "objects are what is declared under objects, and the paths and addresses under files, listen and connect"
	}
	c.findings.Errorf(at, fix, "unknown %s %s", what, quote(u.ID))
	return false
}

// knownAction checks the name of an action or, unless exact, of a group of actions.
func (c *compiler) knownAction(u syntax.UID, exact bool) bool {
	uid := cedar.NewUID(u.Type, u.ID)
	at := u.IDPos
	if at.Line == 0 {
		at = u.Pos
	}
	if c.groups[uid] {
		if exact {
			c.findings.Errorf(at, "write: action in "+u.String(), "%s is a group of actions, which == never matches", u)
		}
		return !exact
	}
	if _, ok := c.leaves[uid]; ok {
		return true
	}
	if iface, ok := c.silentReply(u); ok {
		c.findings.Errorf(at, "remove it", "nobody answers what is written to a mailbox, and no domain exports %s", iface)
		return false
	}
	if u.Type == actionType("ward.v1") && strings.HasPrefix(u.ID, "Names") {
		c.findings.Errorf(at, `write ward::Action::"publish" or ward::Action::"lookup"`, "what a domain may ask the name server is not decided as a call")
		return false
	}
	var types, ids []string
	for known := range c.leaves {
		types = append(types, string(known.Type))
		if string(known.Type) == u.Type {
			ids = append(ids, string(known.ID))
		}
	}
	for known := range c.groups {
		types = append(types, string(known.Type))
		if string(known.Type) == u.Type {
			ids = append(ids, string(known.ID))
		}
	}
	slices.Sort(types)
	slices.Sort(ids)
	types, ids = slices.Compact(types), slices.Compact(ids)
	if len(ids) == 0 {
		fix := didYouMean(u.Type, types, "action type")
		if !isActionType(u.Type) {
			fix = `actions are written pkg::Action::"Service.Method"; ` + fix
		}
		c.findings.Errorf(u.Pos, fix, "unknown action type %s", u.Type)
		return false
	}
	c.findings.Errorf(at, didYouMean(u.ID, ids, "action"), "unknown action %s", u)
	return false
}
