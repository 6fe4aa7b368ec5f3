package policy_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/policy"
	"ward/policy/eval"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// Decisions of the oracle test, over so many random systems.
const (
	oracleSystems   = 160
	oracleDecisions = 160 // a system
)

// TestOracle compiles random policies for random systems, and compares what
// the compiled form decides on random messages with what Cedar's authorizer
// decides on the whole policy set, the whole context and all entities: the
// verdict, and that the policy that decided is among Cedar's reasons. Cedar
// must not meet an error: no accepted policy can fail.
// WARD_ORACLE_SEED repeats a run.
func TestOracle(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("WARD_ORACLE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("WARD_ORACLE_SEED=%d", seed)
	var st stats
	for i := range uint64(oracleSystems) {
		o := &oracle{generator: newGenerator(rand.New(rand.NewPCG(seed, i))), stats: &st}
		o.objects, o.lower = i%2 == 1, i%3 == 1
		o.run(t)
		if t.Failed() {
			t.Fatalf("WARD_ORACLE_SEED=%d, system %d:\n%s\n%s\n%s", seed, i, o.yaml, o.proto, o.text())
		}
	}
	t.Logf("%d decisions (%d allowed, %d forbidden, %d by default) of %d policies; %d policies refused", st.decisions, st.allowed, st.forbidden,
		st.decisions-st.allowed-st.forbidden, st.accepted, st.refused)
	t.Logf("%d words changed, %d denials for a move that is not declared, %d tokens", st.changed, st.undeclared, st.limited)
	if st.changed < 60 || st.undeclared < 30 || st.limited < 100 {
		t.Errorf("state hardly ever changes")
	}
	t.Logf("%d decisions on objects (%d allowed, %d forbidden), %d messages to a mailbox", st.objects, st.opened, st.refusals, st.posts)
	if st.opened < st.objects/20 || st.refusals < st.objects/100 || st.posts < 500 {
		t.Errorf("objects hardly ever matter")
	}
	t.Logf("%d messages of domains in other rings", st.ringed)
	if st.ringed < 500 {
		t.Error("rings hardly ever matter")
	}
	if st.decisions < 20_000 || st.allowed < st.decisions/20 || st.forbidden < st.decisions/50 || st.refused > st.accepted {
		t.Errorf("the generator is out of balance")
	}
}

type stats struct {
	decisions, allowed, forbidden, accepted, refused, undeclared, changed, limited int
	objects, opened, refusals, posts                                               int // of objects; what was posted to a mailbox
	ringed                                                                         int // messages of domains in other rings
}

// oracle is one random system.
type oracle struct {
	*generator
	stats       *stats
	yaml, proto string
	lines       []string
	img         *image.Image
	policies    map[string]*cedar.Policy
	forbids     map[string]bool
	replies     map[string]bool // permits whose scope names replies
	entities    cedar.Entities
	services    map[string]protoreflect.ServiceDescriptor
	users       []string
	spoil       func(*image.Image) // the positive control's damage
	wrong       int
	model       *model
	gates       map[string]uint64 // by both ends and interface: the word of the gate
	words       []uint64
	lineOf      map[string]string // by policy ID
	in          string            // the client of the message, if that is a domain in another ring
}

func (o *oracle) text() string { return strings.Join(o.lines, "\n") }

func (o *oracle) run(t *testing.T) {
	o.yaml, o.proto = o.system(), o.schema()
	sys, set := load(t, o.yaml, o.proto)
	o.services = map[string]protoreflect.ServiceDescriptor{}
	for i, f := range set.Interfaces {
		o.services[f.Name] = set.Services[i]
	}
	o.describe(o.services)
	for i := range 4 + o.r.IntN(8) {
		o.lines = append(o.lines, fmt.Sprintf("@id(\"p%d\") %s", i, o.policy()))
	}
	for i := range 3 {
		o.lines = append(o.lines, fmt.Sprintf("@id(\"s%d\") %s", i, o.statePolicy()))
	}
	o.lines = append(o.lines, o.objectPolicies()...)
	// Policies that are refused are left out: which, the findings say.
	for try := 0; ; try++ {
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: o.text()}})
		if img != nil {
			o.img = img
			break
		}
		if try == 8 {
			t.Fatal(l)
		}
		for _, f := range l {
			if f.Severity == 0 && f.Pos.File == "policy.cedar" && o.lines[f.Pos.Line-1] != "" {
				if testing.Verbose() {
					t.Log(o.lines[f.Pos.Line-1], f.Error())
				}
				o.lines[f.Pos.Line-1] = ""
				o.stats.refused++
			} else if f.Severity == 0 && f.Pos.File != "policy.cedar" {
				t.Fatal(l)
			}
		}
	}
	validator, err := cedar.NewValidator(policy.Schema(sys, set))
	if err != nil {
		t.Fatal("schema:", err)
	}
	o.lineOf = map[string]string{}
	o.policies, o.forbids, o.replies = map[string]*cedar.Policy{}, map[string]bool{}, map[string]bool{}
	for _, line := range o.lines {
		if line == "" {
			continue
		}
		o.stats.accepted++
		p, err := readOne(line)
		if err != nil {
			t.Fatal(err)
		}
		id := line[len(`@id("`):strings.Index(line, `")`)]
		o.policies[id], o.lineOf[id] = p, line
		o.forbids[id] = strings.Contains(line, " forbid (")
		o.replies[id] = !o.forbids[id] && strings.Contains(line, "reply\"")
		if err := validator.Policy(p); err != nil {
			t.Errorf("accepted, but Cedar's strict validation refuses it: %v\n%s", err, line)
		}
	}
	o.makeEntities()
	if o.spoil != nil {
		o.spoil(o.img)
	}
	o.model, o.gates, o.words = o.newModel(), map[string]uint64{}, eval.NewMemory(o.img).Words
	o.decideObjects(t)
	for range oracleDecisions {
		if o.chance(2) {
			o.shake(&eval.Memory{Image: o.img, Words: o.words})
		}
		if wrong := o.decide(t); wrong != "" {
			o.wrong++
			if o.spoil == nil {
				t.Error(wrong)
			}
		}
	}
}

// TestOracleCatches is the positive control: a compiler that gets one kind of
// thing wrong is caught.
func TestOracleCatches(t *testing.T) {
	var each func(e *image.Expr, f func(*image.Expr))
	each = func(e *image.Expr, f func(*image.Expr)) {
		f(e)
		for i := range e.Args {
			each(&e.Args[i], f)
		}
	}
	replace := func(from, to image.Op) func(*image.Expr) {
		return func(e *image.Expr) {
			if e.Op == from {
				e.Op = to
			}
		}
	}
	for name, f := range map[string]func(*image.Expr){
		"< becomes <=":   replace(image.Less, image.LessEq),
		"and becomes or": replace(image.And, image.Or),
		"absent becomes present": func(e *image.Expr) {
			if e.Op == image.Has {
				*e = image.Expr{Op: image.True}
			}
		},
		"prefix becomes suffix":           replace(image.Prefix, image.Suffix),
		"some element becomes some other": replace(image.AnyIn, image.AnyOut),
		"some other element becomes none": func(e *image.Expr) {
			if e.Op == image.AnyOut {
				*e = image.Expr{Op: image.False}
			}
		},
		"the middle of a pattern is not looked at": func(e *image.Expr) {
			if e.Scanned() {
				e.Set = []image.Value{e.Set[0], e.Set[len(e.Set)-1]}
			}
		},
		"a large set loses its first": func(e *image.Expr) {
			if e.Op == image.In && e.Tabled() {
				e.Set = e.Set[len(e.Set)/2:]
			}
		},
		"a user becomes another": func(e *image.Expr) {
			if e.Op == image.User {
				*e = image.Expr{Op: image.False}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var st stats
			for i := range uint64(200) {
				o := &oracle{generator: newGenerator(rand.New(rand.NewPCG(1, i))), stats: &st}
				o.spoil = func(img *image.Image) {
					for r := range img.Routes {
						for m := range img.Routes[r].Methods {
							for _, rules := range [][]image.Rule{img.Routes[r].Methods[m].Request.Permit, img.Routes[r].Methods[m].Request.Forbid} {
								for j := range rules {
									each(&rules[j].When, f)
								}
							}
						}
					}
				}
				if o.run(t); o.wrong > 0 {
					return
				}
			}
			t.Error("not caught")
		})
	}
}

// readOne reads one policy with cedar-go.
func readOne(line string) (*cedar.Policy, error) {
	l := syntax.ParseOne(line)
	if l == nil {
		return nil, fmt.Errorf("unreadable: %s", line)
	}
	return cedar.Read(l)
}

// makeEntities makes Cedar's entities of the system, from what LANGUAGE.md says.
func (o *oracle) makeEntities() {
	str := func(s string) cedar.Value { return cedar.String(s) }
	o.entities = cedar.Entities{}
	o.objectEntities()
	for _, d := range o.img.Domains {
		if _, ring := image.Ringed(d.Name); d.Mailbox || ring != "" {
			continue
		}
		uid := cedar.NewUID("Domain", d.Name)
		o.entities[uid] = cedar.NewEntity(uid, nil, map[cedar.String]cedar.Value{
			"name": str(d.Name), "program": str(""), "owner": cedar.NewUID("User", "root"), "state": cedar.NewRecord(nil),
			"ring":  ringOf(d.Ring),
			"label": cedar.NewRecord(map[cedar.String]cedar.Value{"level": cedar.Long(0), "categories": cedar.NewSet()}),
		})
	}
	for i, u := range []string{"alice", "bob", "carol"} {
		uid := cedar.NewUID("User", u)
		var groups []cedar.UID
		if i != 1 {
			groups = append(groups, cedar.NewUID("Group", "wheel"))
		}
		if i != 2 {
			groups = append(groups, cedar.NewUID("Group", "staff"))
		}
		o.entities[uid] = cedar.NewEntity(uid, groups, map[cedar.String]cedar.Value{"name": str(u), "uid": cedar.Long(1000 + i)})
		o.users = append(o.users, u)
	}
	for _, f := range o.img.Interfaces {
		pkg, service := f.Name[:strings.LastIndex(f.Name, ".")], f.Name[strings.LastIndex(f.Name, ".")+1:]
		typ := strings.ReplaceAll(pkg, ".", "::") + "::Action"
		for _, m := range f.Methods {
			for suffix, all := range map[string]string{"": "call", ".reply": "reply"} {
				group, root := cedar.NewUID(typ, service+suffix), cedar.NewUID("ward::Action", all)
				uid := cedar.NewUID(typ, service+"."+m.Name+suffix)
				o.entities[uid] = cedar.NewEntity(uid, []cedar.UID{group}, nil)
				o.entities[group] = cedar.NewEntity(group, []cedar.UID{root}, nil)
			}
		}
	}
}

// decide makes one random message and compares the two decisions on it. It
// says what differs.
func (o *oracle) decide(t *testing.T) string {
	img := o.img
	var servers, clients []abi.DomainID
	for i, d := range img.Domains {
		if len(d.Exports) > 0 && !d.Names {
			servers = append(servers, abi.DomainID(i))
		}
	}
	server := servers[o.r.IntN(len(servers))]
	for i, d := range img.Domains {
		if of, _ := image.Ringed(d.Name); !d.Names && !d.Mailbox && of != img.Domains[server].Name && o.stands(d.Name) {
			clients = append(clients, abi.DomainID(i))
		}
	}
	client, exports := clients[o.r.IntN(len(clients))], img.Domains[server].Exports
	export := exports[o.r.IntN(len(exports))]
	principal, who := o.stand(img.Domains[client]), ""
	if export.Socket != "" && o.r.IntN(2) == 0 {
		o.in = ""
		client, who = abi.NoDomain, o.users[o.r.IntN(len(o.users))]
		principal = cedar.NewUID("User", who)
	}
	f := img.Interfaces[export.Interface]
	m := o.r.IntN(len(f.Methods))
	action := f.Name[strings.LastIndex(f.Name, ".")+1:] + "." + f.Methods[m].Name
	typ := strings.ReplaceAll(f.Name[:strings.LastIndex(f.Name, ".")], ".", "::") + "::Action"
	desc := o.services[f.Name].Methods().Get(m).Input()
	env := cedar.Env{Entities: o.entities, Principal: principal, Resource: cedar.NewUID("Domain", img.Domains[server].Name)}
	if img.Domains[server].Mailbox {
		env.Resource.Type = "Object"
	}
	reply := o.r.IntN(4) == 0 && !img.Domains[server].Mailbox
	if reply {
		env.Principal, env.Resource = env.Resource, env.Principal
		action += ".reply"
		desc = o.services[f.Name].Methods().Get(m).Output()
	}
	env.Action = cedar.NewUID(typ, action)
	msg := dynamicpb.NewMessage(desc)
	o.fill(msg, 0)
	ctx := contextOf(msg)
	gate := fmt.Sprintf("gate %v %v %d", client, server, export.Interface)
	ctx["ward"] = cedar.NewRecord(map[cedar.String]cedar.Value{"gate": o.model.record(gate, "gate"), "metadata": cedar.NewRecord(nil)})
	o.tellState()
	env.Context = cedar.NewRecord(ctx)
	allow, reasons, errs := cedar.Authorize(o.policies, env)
	if len(errs) > 0 {
		t.Errorf("an accepted policy failed: %v", errs)
	}
	i := slices.IndexFunc(img.Routes, func(r image.Route) bool {
		return r.Client == client && r.Server == server && r.Interface == export.Interface
	})
	o.stats.decisions++
	if img.Domains[server].Mailbox {
		o.stats.posts++
	}
	got, words := image.Verdict{Policy: abi.NoPolicy}, "no route"
	var outcome eval.Outcome
	memory := eval.NewMemory(img)
	memory.Words = o.words
	if w, ok := o.gates[gate]; ok {
		memory.Gate = w
	}
	var methods image.MethodPolicy
	if i >= 0 {
		methods = img.Routes[i].Methods[m]
		d := &methods.Request
		if reply {
			d = &methods.Reply
		}
		outcome = eval.Judge(d, eval.Message(msg), o.client(who), memory)
		got, words = outcome.Verdict, "default"
	}
	if got.Policy != abi.NoPolicy {
		words = img.Policies[got.Policy].ID
	}
	wrong := o.compare(env, comparison{allow, reasons, got, words, reply, i >= 0, len(methods.Request.Permit) > 0}, msg)
	if wrong == "" && o.spoil == nil {
		wrong = o.commit(env, &outcome, memory, gate, reasons)
	}
	return wrong
}

type comparison struct {
	allow       bool
	reasons     []string
	got         image.Verdict
	words       string
	reply       bool
	route, open bool // there is a route, and the method can be called
}

func (o *oracle) compare(env cedar.Env, c comparison, msg *dynamicpb.Message) string {
	ok := c.allow == c.got.Allow
	switch {
	case c.got.Policy != abi.NoPolicy && strings.HasPrefix(c.words, "implied:"):
		// Replies: Cedar knows nothing of what is implied. No forbid may match.
		ok = c.reply && !slices.ContainsFunc(c.reasons, func(id string) bool { return o.forbids[id] })
	case c.reply && !c.open:
		ok = !c.got.Allow // no call was admitted that this could answer
	case !c.route:
		ok = !c.allow
	case c.got.Policy != abi.NoPolicy:
		ok = ok && slices.Contains(c.reasons, c.words)
	default:
		ok = ok && len(c.reasons) == 0
	}
	switch {
	case c.got.Allow:
		o.stats.allowed++
	case c.got.Policy != abi.NoPolicy:
		o.stats.forbidden++
	}
	if !ok {
		return fmt.Sprintf("%v does %v to %v\nmessage %v\ncompiled: allow %v by %s\nCedar: allow %v by %v", env.Principal, env.Action, env.Resource, msg, c.got.Allow, c.words, c.allow, c.reasons)
	}
	return ""
}

// client tells eval who the user is.
func (o *oracle) client(who string) eval.Client {
	if who == "" {
		return eval.Client{}
	}
	e := o.entities[cedar.NewUID("User", who)]
	return eval.Client{
		User:   func(a uint32) bool { return o.img.Users[a] == who },
		Member: func(a uint32) bool { return e.Parents.Contains(cedar.NewUID("Group", o.img.Groups[a])) },
	}
}

// contextOf is the context that LANGUAGE.md gives a message.
func contextOf(m protoreflect.Message) map[cedar.String]cedar.Value {
	c := map[cedar.String]cedar.Value{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		name := cedar.String(fd.Name())
		switch {
		case fd.IsList():
			l := m.Get(fd).List()
			var values []cedar.Value
			for j := range l.Len() {
				if v := contextValue(fd, l.Get(j)); v != nil {
					values = append(values, v)
				}
			}
			c[name] = cedar.NewRecord(map[cedar.String]cedar.Value{"count": cedar.Long(l.Len()), "values": cedar.NewSet(values...)})
		case fd.HasPresence() && !m.Has(fd), isOfferNumber(fd):
		default:
			if v := contextValue(fd, m.Get(fd)); v != nil {
				c[name] = v
			}
		}
	}
	return c
}

func contextValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) cedar.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return cedar.Boolean(v.Bool())
	case protoreflect.EnumKind:
		return cedar.String(fd.Enum().Values().ByNumber(v.Enum()).Name())
	case protoreflect.StringKind:
		return cedar.String(v.String())
	case protoreflect.BytesKind:
		return cedar.NewRecord(map[cedar.String]cedar.Value{"size": cedar.Long(len(v.Bytes()))})
	case protoreflect.MessageKind:
		return cedar.NewRecord(contextOf(v.Message()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return cedar.Long(int64(v.Uint()))
	}
	return cedar.Long(v.Int())
}
