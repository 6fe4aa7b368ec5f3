package difftest

import (
	"fmt"
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/image"
)

// An oracle is cedar-go with the full policy set and all entities of a
// system, made from the text and from what LANGUAGE says of it.
type oracle struct {
	set      *cedar.PolicySet
	forbids  map[string]bool
	entities types.EntityMap
}

func newOracle(b *built) (*oracle, error) {
	o := &oracle{set: cedar.NewPolicySet(), forbids: map[string]bool{}, entities: types.EntityMap{}}
	for _, line := range b.src.policies {
		if line == "" {
			continue
		}
		var p cedar.Policy
		if err := p.UnmarshalCedar([]byte(line)); err != nil {
			return nil, fmt.Errorf("cedar-go does not read %s: %w", line, err)
		}
		id := line[len(`@id("`):strings.Index(line, `")`)]
		o.set.Add(cedar.PolicyID(id), &p)
		o.forbids[id] = strings.Contains(line, " forbid (")
	}
	levels := map[string]types.Long{"kernel": 0, "service": 1, "system": 2, "user": 3}
	add := func(typ, id string, attrs types.RecordMap, parents ...types.EntityUID) {
		o.entities[uid(typ, id)] = types.Entity{UID: uid(typ, id), Parents: types.NewEntityUIDSet(parents...), Attributes: types.NewRecord(attrs)}
	}
	for _, d := range b.res.System.Domains {
		ring := b.img.Domains[b.domain(d.Name.Value)].Ring.Name
		add("Domain", d.Name.Value, types.RecordMap{
			"name": types.String(d.Name.Value), "program": types.String(""), "owner": uid("User", "root"), "state": types.NewRecord(nil),
			"ring":  types.NewRecord(types.RecordMap{"level": levels[ring], "name": types.String(ring)}),
			"label": types.NewRecord(types.RecordMap{"level": types.Long(0), "categories": types.NewSet()}),
		})
	}
	add("System", b.img.Name, types.RecordMap{"name": types.String(b.img.Name), "state": types.NewRecord(nil)})
	for i, u := range users {
		var groups []types.EntityUID
		for _, g := range userGroups[u] {
			groups = append(groups, uid("Group", g))
			add("Group", g, types.RecordMap{"name": types.String(g)})
		}
		add("User", u, types.RecordMap{"name": types.String(u), "uid": types.Long(1000 + i)}, groups...)
	}
	for _, f := range b.img.Interfaces {
		dot := strings.LastIndex(f.Name, ".")
		typ, service := strings.ReplaceAll(f.Name[:dot], ".", "::")+"::Action", f.Name[dot+1:]
		for suffix, all := range map[string]string{"": "call", ".reply": "reply"} {
			add(typ, service+suffix, nil, uid("ward::Action", all))
			for _, m := range f.Methods {
				add(typ, service+"."+m.Name+suffix, nil, uid(typ, service+suffix))
			}
		}
	}
	return o, nil
}

func uid(typ, id string) types.EntityUID {
	return types.NewEntityUID(types.EntityType(typ), types.String(id))
}

// A ruling is what Cedar says.
type ruling struct {
	allow   bool
	reasons []string
	errs    []string
}

func (r ruling) String() string {
	word := "deny"
	if r.allow {
		word = "allow"
	}
	return fmt.Sprintf("%s, reasons %q, errors %q", word, r.reasons, r.errs)
}

// forbidden reports whether a forbid decided.
func (o *oracle) forbidden(r ruling) bool {
	return slices.ContainsFunc(r.reasons, func(id string) bool { return o.forbids[id] })
}

func (o *oracle) authorize(principal, action, resource types.EntityUID, context types.RecordMap) ruling {
	d, diag := cedar.Authorize(o.set, o.entities, cedar.Request{Principal: principal, Action: action, Resource: resource, Context: types.NewRecord(context)})
	r := ruling{allow: d == cedar.Allow}
	for _, x := range diag.Reasons {
		r.reasons = append(r.reasons, string(x.PolicyID))
	}
	for _, x := range diag.Errors {
		r.errs = append(r.errs, string(x.PolicyID)+": "+x.Message)
	}
	return r
}

// ask asks Cedar about a message of a route.
func (o *oracle) ask(l *lane, method int, reply bool, msg protoreflect.Message) ruling {
	f := l.iface()
	dot := strings.LastIndex(f.Name, ".")
	client, server := l.principal(), uid("Domain", l.b.img.Domains[l.route().Server].Name)
	action := f.Name[dot+1:] + "." + f.Methods[method].Name
	if reply {
		client, server = server, client
		action += ".reply"
	}
	context := contextOf(msg)
	context["ward"] = types.NewRecord(types.RecordMap{"gate": types.NewRecord(nil), "metadata": types.NewRecord(nil)})
	return o.authorize(client, uid(strings.ReplaceAll(f.Name[:dot], ".", "::")+"::Action", action), server, context)
}

// agrees says what differs between a verdict on a message that is within its
// bounds and what Cedar says.
func (o *oracle) agrees(l *lane, method int, reply bool, msg protoreflect.Message, got decided) (string, ruling) {
	if l.names() {
		return o.names(l, method, reply, msg, got)
	}
	r := o.ask(l, method, reply, msg)
	ok := r.allow == got.reason.Allowed()
	switch {
	case len(r.errs) > 0:
		return "an accepted policy failed", r
	case strings.HasPrefix(got.policy, "implied:"):
		// Cedar knows nothing of what is implied for replies. No forbid may match.
		ok = reply && !o.forbidden(r)
	case got.reason == abi.ReasonDefault:
		ok = ok && len(r.reasons) == 0
	default:
		ok = ok && slices.Contains(r.reasons, got.policy)
	}
	if !ok {
		return "Cedar decides otherwise", r
	}
	return "", r
}

// names compares a verdict on a message to the name server: publish and
// lookup are decided by name, and what system.yaml grants is permitted.
func (o *oracle) names(l *lane, method int, reply bool, msg protoreflect.Message, got decided) (string, ruling) {
	img, me := l.b.img, l.route().Client
	if reply {
		if got.reason == abi.ReasonPermit && strings.HasPrefix(got.policy, "implied:") {
			return "", ruling{allow: true}
		}
		return "the reply of the name server is not admitted", ruling{}
	}
	name := msg.Get(msg.Descriptor().Fields().ByNumber(1)).String()
	context := types.RecordMap{"interface": types.String(name)}
	principal := uid("Domain", img.Domains[me].Name)
	var all []ruling
	if l.iface().Methods[method].Name == "Lookup" {
		for i := range img.Routes {
			r := &img.Routes[i]
			if r.Client == me && img.Interfaces[r.Interface].Name == name && !img.Domains[r.Server].Names {
				all = append(all, o.authorize(principal, uid("ward::Action", "lookup"), uid("Domain", img.Domains[r.Server].Name), context))
			}
		}
	} else if slices.ContainsFunc(img.Domains[me].Exports, func(e image.Export) bool { return img.Interfaces[e.Interface].Name == name }) {
		all = append(all, o.authorize(principal, uid("ward::Action", "publish"), uid("System", img.Name), context))
	}
	want := ruling{}
	named := false
	for _, r := range all {
		if o.forbidden(r) {
			continue
		}
		want.allow = true
		want.reasons = append(want.reasons, r.reasons...)
		named = named || len(r.reasons) == 0
	}
	if !want.allow {
		for _, r := range all {
			want.reasons = append(want.reasons, r.reasons...)
		}
	}
	ok := want.allow == got.reason.Allowed()
	switch {
	case got.reason == abi.ReasonDefault:
		ok = ok && len(all) == 0
	case strings.HasPrefix(got.policy, "implied:") || strings.HasPrefix(got.policy, "system.yaml:"):
		ok = ok && named
	default:
		ok = ok && slices.Contains(want.reasons, got.policy)
	}
	if !ok {
		return "the name server's filter decides otherwise than publish and lookup", want
	}
	return "", want
}

// contextOf is the context that LANGUAGE gives a message.
func contextOf(m protoreflect.Message) types.RecordMap {
	c := types.RecordMap{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		name := types.String(fd.Name())
		switch {
		case fd.IsList():
			l := m.Get(fd).List()
			var values []types.Value
			for j := range l.Len() {
				if v := contextValue(fd, l.Get(j)); v != nil {
					values = append(values, v)
				}
			}
			c[name] = types.NewRecord(types.RecordMap{"count": types.Long(l.Len()), "values": types.NewSet(values...)})
		case fd.HasPresence() && !m.Has(fd):
		default:
			if v := contextValue(fd, m.Get(fd)); v != nil {
				c[name] = v
			}
		}
	}
	return c
}

func contextValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) types.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return types.Boolean(v.Bool())
	case protoreflect.EnumKind:
		return types.String(fd.Enum().Values().ByNumber(v.Enum()).Name())
	case protoreflect.StringKind:
		return types.String(v.String())
	case protoreflect.BytesKind:
		return types.NewRecord(types.RecordMap{"size": types.Long(len(v.Bytes()))})
	case protoreflect.MessageKind:
		return types.NewRecord(contextOf(v.Message()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return types.Long(int64(v.Uint()))
	}
	return types.Long(v.Int())
}
