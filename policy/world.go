package policy

import (
	"path"
	"slices"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// Names of the entity types.
const (
	typeDomain = "Domain"
	typeUser   = "User"
	typeGroup  = "Group"
	typeRole   = "Role"
	typeObject = "Object"
	typeJob    = "Job"
	typeSystem = "System"
	wardAction = "ward::Action"
)

// Owner is the user that domains belong to: whoever runs `ward up`.
const owner = "root"

// actionKind is a family of actions.
type actionKind uint8

const (
	callAction  actionKind = iota // a request, or a client's stream item
	replyAction                   // a reply, or a server's stream item
	wardOwn                       // one of Ward's own
)

// An action is something that can be decided on.
type action struct {
	uid       cedar.UID
	kind      actionKind
	iface     int
	method    int
	ctx       *typ
	principal []string // entity types
	resource  []string
	later     bool // declared, but no version decides on it yet
}

// world is what the literals of a policy can name.
type world struct {
	sys        *system.System
	set        *interfaces.Set
	names      int                 // index of ward.v1.Names in set.Interfaces: decided as publish and lookup, not as calls
	nameServer int                 // index of the name server's domain, or -1
	domains    []*system.Domain    // of system.yaml, then mailboxes, then domains in other rings
	plain      []int               // by index in domains: the domain itself, or that which is in another ring here
	boxes      []*system.Object    // by index in domains: the mailbox whose entry it is, or nil
	ids        map[string][]string // known IDs by entity type; absent: not checked
	attrs      map[string]*typ     // record type of an entity type
	entities   cedar.Entities
	actions    []*action
	leaves     map[cedar.UID][]*action // what is in an action or a group
	groups     map[cedar.UID]bool
	ward       map[string]*action // Ward's own, by ID
	socket     []bool             // by interface: exported to users
	servers    [][]int            // by interface: domains that export it
	findings   *diag.List
}

func newWorld(sys *system.System, set *interfaces.Set, findings *diag.List) *world {
	w := &world{sys: sys, set: set, findings: findings, ids: map[string][]string{}, attrs: map[string]*typ{},
		entities: cedar.Entities{}, leaves: map[cedar.UID][]*action{}, groups: map[cedar.UID]bool{}, ward: map[string]*action{}}
	w.names = w.iface(system.NamesInterface)
	w.addServers()
	w.checkModels()
	w.addEntities()
	w.addActions()
	return w
}

// ring is the ring of a domain.
func (w *world) ring(d *system.Domain) image.Ring {
	r, _ := w.sys.Ring(d.Ring.Value)
	return image.Ring{Level: r.Level, Name: r.Name.Value}
}

// addServers finds out who exports what.
func (w *world) addServers() {
	w.addMailboxes()
	w.addLowered()
	w.nameServer = slices.Index(w.domains, w.sys.NameServer)
	w.socket = make([]bool, len(w.set.Interfaces))
	w.servers = make([][]int, len(w.set.Interfaces))
	var known []string
	for _, i := range w.set.Interfaces {
		known = append(known, i.Name)
	}
	for i, d := range w.domains {
		for _, e := range d.Exports {
			j := w.iface(e.Interface.Value)
			if j < 0 {
				verb := "domain %s exports %s"
				if w.isBox(i) {
					verb = "the mailbox %s takes %s"
				}
				w.findings.Errorf(e.Interface.Pos, didYouMean(e.Interface.Value, known, "interface: list the .proto files under interfaces"),
					verb+", which no .proto file of the system defines", d.Name.Value, e.Interface.Value)
				continue
			}
			if w.isBox(i) {
				w.checkMailbox(w.boxes[i], &w.set.Interfaces[j])
			}
			w.servers[j] = append(w.servers[j], i)
			w.socket[j] = w.socket[j] || e.Socket.Value != ""
		}
	}
}

// iface is the index of an interface, or -1.
func (w *world) iface(name string) int {
	return slices.IndexFunc(w.set.Interfaces, func(i image.Interface) bool { return i.Name == name })
}

func (w *world) addEntities() {
	str := func(s string) cedar.Value { return cedar.String(s) }
	add := func(typ, id string, parents []cedar.UID, attrs map[cedar.String]cedar.Value) {
		uid := cedar.NewUID(typ, id)
		if _, twice := w.entities[uid]; twice {
			return
		}
		w.ids[typ] = append(w.ids[typ], id)
		w.entities[uid] = cedar.NewEntity(uid, parents, attrs)
	}
	for _, t := range []string{typeDomain, typeRole, typeObject, typeJob, typeSystem} {
		w.ids[t] = []string{}
	}
	w.addRoles(add)
	empty := cedar.NewRecord(nil)
	for _, o := range w.sys.Objects {
		w.addObject(o.Name.Value, add)
	}
	attributes := func(d *system.Domain) map[cedar.String]cedar.Value {
		return map[cedar.String]cedar.Value{
			"name": str(d.Name.Value), "program": str(d.Digest.Value), "owner": ownerOf(d), "state": empty,
			"ring": w.ringValue(d), "label": labelValue(d.Label),
		}
	}
	w.addLoweredEntities(attributes)
	for _, d := range w.sys.Domains {
		var roles []cedar.UID
		for _, r := range d.Roles {
			roles = append(roles, cedar.NewUID(typeRole, r.Value))
		}
		add(typeDomain, d.Name.Value, roles, attributes(d))
		var objects []string
		for _, f := range d.Files {
			objects = append(objects, f.Path.Value)
		}
		for _, l := range d.Listen {
			objects = append(objects, l.Address.Value)
		}
		for _, c := range d.Connect {
			objects = append(objects, c.Value)
		}
		for _, o := range objects {
			w.addObject(o, add)
		}
	}
	add(typeSystem, w.sys.Name.Value, nil, map[cedar.String]cedar.Value{"name": str(w.sys.Name.Value), "state": empty})

	named := &attr{name: "name", typ: textType}
	state := &attr{name: "state", typ: w.stateType(image.PerDomain)}
	w.attrs[typeDomain] = recordType(typeDomain, named, &attr{name: "program", typ: textType}, &attr{name: "owner", typ: entityType(typeUser)}, state,
		&attr{name: "ring", typ: w.ringType()}, &attr{name: "label", typ: w.labelType()})
	w.attrs[typeUser] = recordType(typeUser, named, &attr{name: "uid", typ: longType})
	w.attrs[typeSystem] = recordType(typeSystem, named, &attr{name: "state", typ: w.stateType(image.PerSystem)})
	for _, t := range []string{typeGroup, typeRole, typeObject, typeJob} {
		w.attrs[t] = recordType(t, named)
	}
}

// addObject adds a file with the directories above it, or a network address.
func (w *world) addObject(name string, add func(string, string, []cedar.UID, map[cedar.String]cedar.Value)) {
	var parents []cedar.UID
	if dir := path.Dir(name); strings.HasPrefix(name, "/") && dir != name {
		parents = []cedar.UID{cedar.NewUID(typeObject, dir)}
		w.addObject(dir, add)
	}
	add(typeObject, name, parents, map[cedar.String]cedar.Value{"name": cedar.String(name)})
}

// actionType is the type of the actions of a package.
func actionType(pkg string) string {
	if pkg == "" {
		return "Action"
	}
	return strings.ReplaceAll(pkg, ".", "::") + "::Action"
}

// split cuts an interface's name into package and service.
func split(iface string) (pkg, service string) {
	i := strings.LastIndexByte(iface, '.')
	return iface[:max(i, 0)], iface[i+1:]
}

func (w *world) addActions() {
	call, reply := cedar.NewUID(wardAction, "call"), cedar.NewUID(wardAction, "reply")
	msgs := &messages{set: w.set, gate: w.stateType(image.PerGate), keys: w.keysType(), done: map[uint32]*typ{}}
	type message struct {
		index  uint32
		opened bool
	}
	contexts := map[message]*typ{}
	context := func(m uint32, opened bool) *typ {
		key := message{m, opened}
		if contexts[key] == nil {
			contexts[key] = msgs.context(m, opened)
		}
		return contexts[key]
	}
	add := func(a *action, groups ...cedar.UID) {
		w.actions = append(w.actions, a)
		w.leaves[a.uid] = append(w.leaves[a.uid], a)
		for i, g := range groups {
			w.leaves[g] = append(w.leaves[g], a)
			w.groups[g] = true
			w.entities[g] = cedar.NewEntity(g, groups[i+1:], nil)
		}
		w.entities[a.uid] = cedar.NewEntity(a.uid, groups, nil)
	}
	for _, g := range []cedar.UID{call, reply} {
		w.groups[g] = true
		w.entities[g] = cedar.NewEntity(g, nil, nil)
	}
	for i, f := range w.set.Interfaces {
		if i == w.names {
			continue
		}
		pkg, service := split(f.Name)
		typ := actionType(pkg)
		w.checkName(f.Name, pkg)
		clients := []string{typeDomain}
		if w.socket[i] {
			clients = append(clients, typeUser)
		}
		takers, answers := w.takers(i)
		for m, method := range f.Methods {
			id := service + "." + method.Name
			if method.Name == "reply" {
				w.findings.Errorf(w.set.Pos[methodName(f.Name, method.Name)], "rename the method",
					"the action of method %s/%s would be %s, which stands for all replies of the interface", f.Name, method.Name, quote(id))
				continue
			}
			add(&action{uid: cedar.NewUID(typ, id), kind: callAction, iface: i, method: m, ctx: context(method.Request, method.ClientStream),
				principal: clients, resource: takers}, cedar.NewUID(typ, service), call)
			for _, msg := range []uint32{method.Request, method.Reply} {
				w.checkReserved(msg)
			}
			if !answers {
				continue
			}
			add(&action{uid: cedar.NewUID(typ, id+".reply"), kind: replyAction, iface: i, method: m, ctx: context(method.Reply, false),
				principal: []string{typeDomain}, resource: clients}, cedar.NewUID(typ, service+".reply"), reply)
		}
	}
	w.addWardActions(add)
}

// checkName refuses packages that cannot be written in Cedar.
func (w *world) checkName(iface, pkg string) {
	for part := range strings.SplitSeq(pkg, ".") {
		if part != "" && !syntax.IsIdent(part) {
			w.findings.Errorf(w.set.Pos[protoName(iface)], "rename the package", "package %s cannot be named in a policy: %s is a word of Cedar", pkg, part)
		}
	}
	if pkg == "ward" {
		w.findings.Errorf(w.set.Pos[protoName(iface)], "rename the package", "package ward is Ward's own")
	}
}

func (w *world) checkReserved(msg uint32) {
	m := &w.set.Messages[msg]
	for _, f := range m.Fields {
		if f.Name == "ward" {
			w.findings.Errorf(w.set.Pos[protoName(m.Name+".ward")], "rename the field", "field ward of %s: context.ward is Ward's own", m.Name)
		}
	}
}

// setContext is that of set: the name of a state, and its value to be.
func (w *world) setContext() *typ {
	states, values := &closed{what: "state"}, &closed{what: "value of a state"}
	for _, s := range w.sys.States {
		states.names = append(states.names, s.Name.Value)
		values.names = append(values.names, s.Names()...)
	}
	slices.Sort(values.names)
	values.names = slices.Compact(values.names)
	return recordType("context", &attr{name: "state", typ: &typ{kind: text, names: states, field: "the name of a state"}},
		&attr{name: "value", typ: &typ{kind: text, names: values, field: "a value of a state"}})
}

func (w *world) addWardActions(add func(*action, ...cedar.UID)) {
	known := &closed{what: "interface"}
	for i, f := range w.set.Interfaces {
		if i != w.names {
			known.names = append(known.names, f.Name)
		}
	}
	iface := recordType("context", &attr{name: "interface", typ: &typ{kind: text, names: known, field: "the name of an interface"}})
	entry := recordType("context", &attr{name: "entry", typ: &typ{kind: text, names: &closed{what: "entry point", names: w.entryNames()}, field: "an entry point"}})
	none := recordType("context")
	clients := []string{typeDomain}
	if slices.Contains(w.socket, true) {
		clients = append(clients, typeUser)
	}
	servers := []string{typeDomain}
	if slices.ContainsFunc(w.boxes, func(o *system.Object) bool { return o != nil }) {
		servers = append(servers, typeObject)
	}
	open := cedar.NewUID(wardAction, "open")
	for _, a := range []struct {
		id                  string
		ctx                 *typ
		principal, resource []string
		groups              []cedar.UID
		later               bool
	}{
		{"start", none, []string{typeSystem}, []string{typeDomain}, nil, false},
		{"publish", iface, []string{typeDomain}, []string{typeSystem}, nil, false},
		{"lookup", iface, []string{typeDomain}, []string{typeDomain}, nil, false},
		{"connect", iface, clients, servers, nil, false},
		{"open.read", none, []string{typeDomain}, []string{typeObject}, []cedar.UID{open}, false},
		{"open.write", none, []string{typeDomain}, []string{typeObject}, []cedar.UID{open}, false},
		{"open.execute", none, []string{typeDomain}, []string{typeObject}, []cedar.UID{open}, false},
		{"open.listen", none, []string{typeDomain}, []string{typeObject}, []cedar.UID{open}, false},
		{"open.connect", none, []string{typeDomain}, []string{typeObject}, []cedar.UID{open}, false},
		{"spawn", none, []string{typeDomain}, []string{typeDomain}, nil, false},
		{"adopt", none, []string{typeDomain}, []string{typeDomain}, nil, false},
		{"grant", entry, []string{typeDomain}, []string{typeDomain}, nil, false},
		{"create", none, []string{typeDomain}, []string{typeObject}, nil, false},
		{"reload", none, []string{typeUser}, []string{typeSystem}, nil, false},
		{"set", w.setContext(), []string{typeUser}, []string{typeSystem}, nil, false},
		{"run", none, []string{typeUser}, []string{typeJob}, nil, true},
	} {
		act := &action{uid: cedar.NewUID(wardAction, a.id), kind: wardOwn, ctx: a.ctx, principal: a.principal, resource: a.resource, later: a.later}
		w.ward[a.id] = act
		add(act, a.groups...)
	}
}
