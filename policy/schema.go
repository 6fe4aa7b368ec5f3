package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ward/diag"
	"ward/interfaces"
	"ward/policy/internal/cedar"
	"ward/system"
)

// Schema writes the schema of a system's policies in Cedar's own notation, for
// editors, for other validators, and for people who want to know what a policy
// can say. It has one namespace for each protobuf package, and ward for Ward's
// own actions.
func Schema(sys *system.System, set *interfaces.Set) string {
	var findings diag.List
	w := newWorld(sys, set, &findings)
	var b strings.Builder
	fmt.Fprintf(&b, "// Cedar schema of the system %s, made by ward schema.\n\n", sys.Name.Value)
	for _, t := range w.entityTypes() {
		parents := ""
		switch t {
		case typeDomain:
			parents = " in [Role]"
		case typeUser:
			parents = " in [Group, Role]"
		case typeRole:
			parents = " in [Role]"
		case typeObject:
			parents = " in [Object]"
		}
		fmt.Fprintf(&b, "entity %s%s = %s;\n", t, parents, w.attrs[t])
	}
	spaces := map[string][]string{}
	groups := map[cedar.UID][]cedar.UID{}
	for _, uid := range w.sortedActions() {
		for p := range w.entities[uid].Parents.All() {
			groups[uid] = append(groups[uid], p)
		}
		slices.SortFunc(groups[uid], func(a, b cedar.UID) int { return strings.Compare(a.String(), b.String()) })
		space := strings.TrimSuffix(strings.TrimSuffix(string(uid.Type), "Action"), "::")
		spaces[space] = append(spaces[space], w.declaration(uid, groups[uid]))
	}
	for _, space := range slices.Sorted(maps.Keys(spaces)) {
		indent, end := "\n", ""
		if space != "" {
			fmt.Fprintf(&b, "\nnamespace %s {", space)
			indent, end = "\n  ", "\n}\n"
		}
		for _, d := range spaces[space] {
			b.WriteString(indent + d)
		}
		b.WriteString(end)
	}
	return b.String()
}

func (w *world) sortedActions() []cedar.UID {
	var uids []cedar.UID
	for _, a := range w.actions {
		uids = append(uids, a.uid)
	}
	for g := range w.groups {
		uids = append(uids, g)
	}
	slices.SortFunc(uids, func(a, b cedar.UID) int { return strings.Compare(a.String(), b.String()) })
	return uids
}

// declaration declares one action or group. Only the nearest groups are named.
func (w *world) declaration(uid cedar.UID, parents []cedar.UID) string {
	var in []string
	for _, p := range parents {
		name := quote(string(p.ID))
		if p.Type != uid.Type {
			name = string(p.Type) + "::" + name
		}
		in = append(in, name)
	}
	s := "action " + quote(string(uid.ID))
	if len(in) > 0 {
		s += " in [" + strings.Join(in, ", ") + "]"
	}
	if w.groups[uid] {
		return s + ";"
	}
	a := w.leaves[uid][0]
	return s + fmt.Sprintf(" appliesTo { principal: [%s], resource: [%s], context: %s };",
		strings.Join(a.principal, ", "), strings.Join(a.resource, ", "), a.ctx)
}
