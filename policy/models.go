package policy

import (
	"slices"
	"strings"

	"ward/image"
	"ward/policy/internal/cedar"
	"ward/system"
)

// What models (models/) and policies about rings, labels, roles and owners
// look at.

// isModel reports whether a policy comes from the standard library.
func (s *source) isModel() bool { return strings.HasPrefix(s.Pos.File, ModelPrefix) }

// ModelPrefix begins the names of files, and the IDs of policies, of the
// standard library. Users' files and policies cannot have such names.
const ModelPrefix = "ward/"

// ringValue is the ring of a domain, as policies see it.
func (w *world) ringValue(d *system.Domain) cedar.Value {
	r := w.ring(d)
	var above []cedar.Value
	for _, n := range w.sys.Order.Above(w.sys.Order.Find(r.Name)) {
		above = append(above, cedar.String(n))
	}
	return cedar.NewRecord(map[cedar.String]cedar.Value{"level": cedar.Long(r.Level), "name": cedar.String(r.Name), "above": cedar.NewSet(above...)})
}

// labelValue is the label of a domain, as policies see it.
func labelValue(l system.Label) cedar.Value {
	var categories []cedar.Value
	for _, c := range l.Categories {
		categories = append(categories, cedar.String(c.Value))
	}
	return cedar.NewRecord(map[cedar.String]cedar.Value{"level": cedar.Long(l.Level), "categories": cedar.NewSet(categories...),
		"integrity": cedar.Long(l.Integrity), "trusted": cedar.Boolean(l.Trusted)})
}

// ownerOf is the user whom a domain belongs to.
func ownerOf(d *system.Domain) cedar.Value {
	if d.Owner.Value != "" {
		return cedar.NewUID(typeUser, d.Owner.Value)
	}
	return cedar.NewUID(typeUser, owner)
}

// ringType and labelType are the types of these attributes. Names of rings and
// categories are closed: a mistyped one is an error.
func (w *world) ringType() *typ {
	rings := &closed{what: "ring", names: w.sys.Order.Names()}
	name := &typ{kind: text, names: rings}
	return recordType("ring", &attr{name: "level", typ: longType}, &attr{name: "name", typ: name}, &attr{name: "above", typ: &typ{kind: set, elem: name}})
}

func (w *world) labelType() *typ {
	known := &closed{what: "category"}
	for _, d := range w.domains {
		for _, c := range d.Label.Categories {
			if !known.has(c.Value) {
				known.names = append(known.names, c.Value)
			}
		}
	}
	slices.Sort(known.names)
	return recordType("label", &attr{name: "level", typ: longType}, &attr{name: "categories", typ: &typ{kind: set, elem: &typ{kind: text, names: known}}},
		&attr{name: "integrity", typ: longType}, &attr{name: "trusted", typ: boolType})
}

// addRoles adds the roles and what is in them: domains, users, and the roles
// that include them.
func (w *world) addRoles(add func(typ, id string, parents []cedar.UID, attrs map[cedar.String]cedar.Value)) {
	role := func(name string) cedar.UID { return cedar.NewUID(typeRole, name) }
	parents := map[string][]cedar.UID{}
	users := map[string][]cedar.UID{}
	var names []string
	note := func(s system.String) {
		if !slices.Contains(names, s.Value) {
			names = append(names, s.Value)
		}
	}
	for _, r := range w.sys.Roles {
		note(r.Name)
		for _, i := range r.Includes {
			note(i)
			parents[r.Name.Value] = append(parents[r.Name.Value], role(i.Value))
		}
		for _, u := range r.Users {
			users[u.Value] = append(users[u.Value], role(r.Name.Value))
		}
	}
	for _, d := range w.domains {
		for _, r := range d.Roles {
			note(r)
		}
	}
	for _, n := range names {
		add(typeRole, n, parents[n], map[cedar.String]cedar.Value{"name": cedar.String(n)})
	}
	for u, in := range users { // users of the host are not a closed set: no w.ids
		uid := cedar.NewUID(typeUser, u)
		w.entities[uid] = cedar.NewEntity(uid, in, nil)
	}
}

// roleAtom is the condition on a user outside Ward that it has a role.
func (c *compiler) roleAtom(role cedar.UID) image.Expr {
	var names []string
	for uid := range c.members[role] {
		if string(uid.Type) == typeUser {
			names = append(names, string(uid.ID))
		}
	}
	slices.Sort(names)
	var each []image.Expr
	for _, n := range names {
		each = append(each, image.Expr{Op: image.User, Atom: intern(&c.img.Users, n)})
	}
	return some(each...)
}
