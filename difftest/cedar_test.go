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
	"ward/system"
)

// An oracle is cedar-go with the full policy set and all entities of a
// system, made from the text and from what LANGUAGE says of it.
type oracle struct {
	set         *cedar.PolicySet
	transitions *cedar.PolicySet // of models: they admit nothing, and have their effects if something else does
	forbids     map[string]bool
	text        map[string]string // of each policy, by its ID
	entities    types.EntityMap
	told        int // changes of the plain model that the entities know
}

func newOracle(b *built) (*oracle, error) {
	o := &oracle{set: cedar.NewPolicySet(), transitions: cedar.NewPolicySet(), forbids: map[string]bool{}, text: map[string]string{}, entities: types.EntityMap{}, told: -1}
	texts := slices.Clone(b.src.policies)
	for _, m := range b.res.Library {
		texts = append(texts, m.Text)
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		var p cedar.Policy
		if err := p.UnmarshalCedar([]byte(text)); err != nil {
			return nil, fmt.Errorf("cedar-go does not read %s: %w", text, err)
		}
		id := string(p.Annotations()["id"])
		o.text[id] = text
		if o.forbids[id] = p.Effect() == types.Forbid; strings.HasPrefix(id, "ward/") && annotation(text, "enter") != "" {
			o.transitions.Add(cedar.PolicyID(id), &p)
		} else {
			o.set.Add(cedar.PolicyID(id), &p)
		}
	}
	add := func(typ, id string, attrs types.RecordMap, parents ...types.EntityUID) {
		o.entities[uid(typ, id)] = types.Entity{UID: uid(typ, id), Parents: types.NewEntityUIDSet(parents...), Attributes: types.NewRecord(attrs)}
	}
	sys := b.res.System
	for _, d := range sys.Domains {
		ring := d.Ring.Value
		level := slices.Index(ringNames, ring)
		if level < 0 { // the name server's, which the system does not state
			r := b.img.Domains[b.domain(d.Name.Value)].Ring
			ring, level = r.Name, int(r.Level)
		}
		var above, categories []types.Value
		for _, r := range ringNames[:level+1] {
			above = append(above, types.String(r))
		}
		for _, c := range d.Label.Categories {
			categories = append(categories, types.String(c.Value))
		}
		who := "root"
		if d.Owner.Value != "" {
			who = d.Owner.Value
		}
		var roles []types.EntityUID
		for _, r := range d.Roles {
			roles = append(roles, uid("Role", r.Value))
		}
		add("Domain", d.Name.Value, types.RecordMap{
			"name": types.String(d.Name.Value), "program": types.String(""), "owner": uid("User", who), "state": types.NewRecord(nil),
			"ring": types.NewRecord(types.RecordMap{"level": types.Long(level), "name": types.String(ring), "above": types.NewSet(above...)}),
			"label": types.NewRecord(types.RecordMap{"level": types.Long(d.Label.Level), "categories": types.NewSet(categories...),
				"integrity": types.Long(d.Label.Integrity), "trusted": types.Boolean(d.Label.Trusted)}),
		}, roles...)
	}
	add("System", b.img.Name, types.RecordMap{"name": types.String(b.img.Name), "state": types.NewRecord(nil)})
	for _, r := range sys.Roles {
		var includes []types.EntityUID
		for _, x := range r.Includes {
			includes = append(includes, uid("Role", x.Value))
		}
		add("Role", r.Name.Value, types.RecordMap{"name": types.String(r.Name.Value)}, includes...)
	}
	for i, u := range users {
		var in []types.EntityUID
		for _, g := range userGroups[u] {
			in = append(in, uid("Group", g))
			add("Group", g, types.RecordMap{"name": types.String(g)})
		}
		for _, r := range sys.Roles {
			if slices.ContainsFunc(r.Users, func(x system.String) bool { return x.Value == u }) {
				in = append(in, uid("Role", r.Name.Value))
			}
		}
		add("User", u, types.RecordMap{"name": types.String(u), "uid": types.Long(1000 + i)}, in...)
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

// tell puts the state of domains and of the system into the entities.
func (o *oracle) tell(m *plain) {
	if o.told == m.changes {
		return
	}
	o.told = m.changes
	for id, e := range o.entities {
		per := map[types.EntityType]string{"Domain": "domain", "System": "system"}[id.Type]
		if per == "" {
			continue
		}
		attrs := types.RecordMap{}
		for k, v := range e.Attributes.All() {
			attrs[k] = v
		}
		attrs["state"] = m.record(string(id.ID), per)
		e.Attributes = types.NewRecord(attrs)
		o.entities[id] = e
	}
}

// A ruling is what Cedar says.
type ruling struct {
	allow   bool
	reasons []string
	errs    []string
	moves   []string   // transitions of models whose conditions hold
	then    abi.Reason // what state and rates make of it
	effect  effect
}

func (r ruling) String() string {
	word := "deny"
	if r.allow {
		word = "allow"
	}
	return fmt.Sprintf("%s, reasons %q, errors %q, transitions %q, then %v", word, r.reasons, r.errs, r.moves, r.then)
}

// forbidden reports whether a forbid decided.
func (o *oracle) forbidden(r ruling) bool {
	return slices.ContainsFunc(r.reasons, func(id string) bool { return o.forbids[id] })
}

func (o *oracle) authorize(principal, action, resource types.EntityUID, context types.RecordMap) ruling {
	q := cedar.Request{Principal: principal, Action: action, Resource: resource, Context: types.NewRecord(context)}
	d, diag := cedar.Authorize(o.set, o.entities, q)
	r := ruling{allow: d == cedar.Allow}
	for _, x := range diag.Reasons {
		r.reasons = append(r.reasons, string(x.PolicyID))
	}
	_, more := cedar.Authorize(o.transitions, o.entities, q)
	for _, x := range more.Reasons {
		r.moves = append(r.moves, string(x.PolicyID))
	}
	for _, x := range append(diag.Errors, more.Errors...) {
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
	o.tell(l.plain)
	context["ward"] = types.NewRecord(types.RecordMap{"gate": l.plain.record(l.name(), "gate"), "metadata": besideRecord(l.beside)})
	r := o.authorize(client, uid(strings.ReplaceAll(f.Name[:dot], ".", "::")+"::Action", action), server, context)
	satisfied := r.moves
	if r.allow {
		satisfied = slices.Concat(r.reasons, r.moves)
	}
	r.then, r.effect = l.plain.outcome(o.text, satisfied, event{string(client.ID), string(server.ID), l.name(), string(client.Type) + string(client.ID), action})
	return r
}

// agrees says what differs between a verdict on a message that is within its
// bounds and what Cedar, and the plain model of state and rates, say.
func (o *oracle) agrees(l *lane, method int, reply bool, msg protoreflect.Message, got decided) (string, ruling) {
	if l.names() {
		return o.names(l, method, reply, msg, got)
	}
	r := o.ask(l, method, reply, msg)
	passed := got.reason.Allowed() || got.reason == abi.ReasonState || got.reason == abi.ReasonRate // but for what is remembered
	ok := r.allow == passed
	switch {
	case len(r.errs) > 0:
		return "an accepted policy failed", r
	case strings.HasPrefix(got.policy, "implied:"):
		// Cedar knows nothing of what is implied for replies. No forbid may match.
		ok = reply && !o.forbidden(r)
	case strings.HasPrefix(got.policy, "ward/trust: "):
		// Nor of what trust spares: the conditions of a permit that is there, without effects.
		text := o.text[strings.TrimPrefix(got.policy, "ward/trust: ")]
		ok = !reply && !o.forbidden(r) && l.trusted(method) && strings.Contains(text, "permit (") && annotation(text, "enter")+annotation(text, "rate") == ""
	case got.reason == abi.ReasonDefault:
		ok = ok && len(r.reasons) == 0
	case got.reason == abi.ReasonState || got.reason == abi.ReasonRate:
		// Whose move or bucket it is need not be a reason of Cedar's, if what is implied or spared admits the message.
		ok = (ok || !o.forbidden(r) && (reply || l.trusted(method))) && (slices.Contains(r.reasons, got.policy) || slices.Contains(r.moves, got.policy))
	default:
		ok = ok && slices.Contains(r.reasons, got.policy)
	}
	if !ok {
		return "Cedar decides otherwise", r
	}
	if passed && r.then != got.reason {
		return "the plain model of state and rates says otherwise", r
	}
	if passed && got.reason == abi.ReasonPermit {
		l.plain.apply(r.effect)
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
		if m.Descriptor().FullName() == image.HandleName && fd.Number() == image.HandleID {
			continue // no condition sees it
		}
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
