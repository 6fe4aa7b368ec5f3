package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/policy/internal/cedar"
)

// Objects in random systems: half of them have memory, shared memory and a
// mailbox that the domain ant reads.

func (g *generator) sharedObjects() string {
	if !g.objects {
		return ""
	}
	return "objects:\n  mem: {kind: memory}\n  pad: {kind: memory, shared: true}\n  box: {kind: mailbox, interface: z.v1.C}\n"
}

func (g *generator) handleImport() string {
	if !g.objects {
		return ""
	}
	return "import \"ward/v1/handle.proto\";\n"
}

func (g *generator) boxService() string {
	if !g.objects {
		return ""
	}
	return "message Nothing {}\nservice C { rpc Post(M1) returns (Nothing); rpc Send(M0) returns (Nothing); }\n"
}

func (g *generator) describeBox(services map[string]protoreflect.ServiceDescriptor) {
	if !g.objects {
		return
	}
	ms := services["z.v1.C"].Methods()
	for i := range ms.Len() {
		g.methods = append(g.methods, method{fmt.Sprintf(`z::v1::Action::"C.%s"`, ms.Get(i).Name()), ms.Get(i).Input(), false, false})
	}
}

// objectPolicies are about memory, and let one domain read the mailbox.
func (g *generator) objectPolicies() []string {
	if !g.objects {
		return nil
	}
	list := []string{`@id("reads") permit (principal == Domain::"ant", action == ward::Action::"open.read", resource == Object::"box");`}
	for i := range 4 {
		action := pick(g, ` == ward::Action::"create"`, ` == ward::Action::"open.read"`, ` in ward::Action::"open"`, ` in [ward::Action::"open.write", ward::Action::"create"]`)
		who := pick(g, "", " is Domain", fmt.Sprintf(` == Domain::"%s"`, pick(g, g.domains...)), fmt.Sprintf(` in Domain::"%s"`, pick(g, g.domains...)))
		what := pick(g, ` == Object::"mem"`, ` in Object::"mem"`, ` == Object::"pad"`, ` is Object in Object::"pad"`)
		if action == ` == ward::Action::"create"` && strings.Contains(what, "pad") {
			what = ` == Object::"mem"`
		}
		effect := pick(g, "permit", "permit", "forbid")
		if effect == "forbid" && g.chance(2) {
			what = ""
			who = fmt.Sprintf(` == Domain::"%s"`, g.domains[1]) // ant must stay able to read
		}
		cond := pick(g, "", "", ` when { principal.ring.level < 2 }`, ` unless { principal.name like "*e*" }`, ` when { resource.name == "mem" || principal.owner == User::"root" }`,
			` when { resource in Object::"pad" }`)
		list = append(list, fmt.Sprintf(`@id("o%d") %s (principal%s, action%s, resource%s)%s;`, i, effect, who, action, what, cond))
	}
	return list
}

// isOfferNumber reports whether a field is what a context leaves out of a handle.
func isOfferNumber(fd protoreflect.FieldDescriptor) bool {
	return fd.Parent().FullName() == image.HandleName && fd.Number() == image.HandleID
}

// fillHandle makes a handle within its bounds.
func (g *generator) fillHandle(m *dynamicpb.Message) {
	fields := m.Descriptor().Fields()
	m.Set(fields.ByNumber(image.HandleID), protoreflect.ValueOfUint64(uint64(1+g.r.IntN(1<<20))))
	m.Set(fields.ByNumber(image.HandleKind), protoreflect.ValueOfEnum(1))
	m.Set(fields.ByNumber(image.HandleSize), protoreflect.ValueOfUint64(pick[uint64](g, 0, 1, 3, 7, 100, image.MaxObjectSize)))
	m.Set(fields.ByNumber(image.HandleWrite), protoreflect.ValueOfBool(g.chance(2)))
}

func (o *oracle) objectEntities() {
	for _, x := range o.img.Objects {
		uid := cedar.NewUID("Object", x.Name)
		o.entities[uid] = cedar.NewEntity(uid, nil, map[cedar.String]cedar.Value{"name": cedar.String(x.Name)})
	}
	open := cedar.NewUID("ward::Action", "open")
	o.entities[open] = cedar.NewEntity(open, nil, nil)
	for id, parents := range map[string][]cedar.UID{"create": nil, "open.read": {open}, "open.write": {open}} {
		uid := cedar.NewUID("ward::Action", id)
		o.entities[uid] = cedar.NewEntity(uid, parents, nil)
	}
}

var denied = image.Verdict{Policy: abi.NoPolicy}

// decideObjects compares every decision on objects with Cedar's.
func (o *oracle) decideObjects(t *testing.T) {
	for _, x := range o.img.Objects {
		for d := range o.img.Domains {
			if o.img.Domains[d].Mailbox || o.img.Domains[d].Names {
				continue
			}
			if _, ring := image.Ringed(o.img.Domains[d].Name); ring != "" { // children have no objects
				if x.Create[d] != denied || x.Read[d] != denied || x.Write[d] != denied {
					t.Errorf("%s of %s is decided on", x.Name, o.img.Domains[d].Name)
				}
				continue
			}
			for action, v := range map[string]image.Verdict{"create": x.Create[d], "open.read": x.Read[d], "open.write": x.Write[d]} {
				if action == "create" && (x.Shared || x.Kind == image.ObjectMailbox) || action == "open.write" && x.Kind == image.ObjectMailbox {
					if v.Policy != abi.NoPolicy {
						t.Errorf("%s of %s is decided on", action, x.Name)
					}
					continue
				}
				env := cedar.Env{Entities: o.entities, Principal: cedar.NewUID("Domain", o.img.Domains[d].Name), Action: cedar.NewUID("ward::Action", action),
					Resource: cedar.NewUID("Object", x.Name), Context: cedar.NewRecord(nil)}
				allow, reasons, errs := cedar.Authorize(o.policies, env)
				if len(errs) > 0 {
					t.Errorf("an accepted policy failed: %v", errs)
				}
				o.stats.objects++
				switch {
				case v.Allow:
					o.stats.opened++
				case v.Policy != abi.NoPolicy:
					o.stats.refusals++
				}
				if v.Allow != allow || (v.Policy == abi.NoPolicy) != (len(reasons) == 0) || v.Policy != abi.NoPolicy && !slices.Contains(reasons, o.img.Policies[v.Policy].ID) {
					t.Errorf("%v does %v to %v: compiled: %+v\nCedar: allow %v by %v", env.Principal, env.Action, env.Resource, v, allow, reasons)
				}
			}
		}
	}
}
