package policy_test

import (
	"strings"
	"testing"

	"ward/policy"
	"ward/policy/internal/cedar"
)

const wrongSystem = `ward: 1
name: lab
interfaces: [shop.proto]
policy: [policy.cedar]
metadata: { x-tenant: 64 }
state:
  session: { per: gate, values: [new, known], moves: { new: [known] } }
  level: { per: domain, values: [low, high], moves: { low: [high] } }
domains:
  server: { program: /bin/server, ring: service, exports: [lab.v1.Lab, lab.v1.Door], files: { /etc/lab: rw }, label: { categories: [nato] } }
  chief: { program: /bin/chief, ring: system }
`

const wrongProto = `syntax = "proto3";
package lab.v1;
message Item { string s = 1; }
service Lab { rpc Run(Item) returns (Item); }
service Door { rpc Knock(Item) returns (Item); }
`

// A question is what Cedar is asked of a mistake.
type question struct {
	action, principal, resource cedar.UID
	context                     map[cedar.String]cedar.Value
}

func text(m map[cedar.String]string) cedar.Value {
	r := map[cedar.String]cedar.Value{}
	for k, v := range m {
		r[k] = cedar.String(v)
	}
	return cedar.NewRecord(r)
}

// TestCedarAloneIsWrongBesideParameters: the same of state, metadata, rings,
// files and Ward's own actions, as TestCedarAloneIsWrong has it of parameters and
// names. Each has a permit that the forbid was to narrow.
func TestCedarAloneIsWrongBesideParameters(t *testing.T) {
	chief, server, system := cedar.NewUID("Domain", "chief"), cedar.NewUID("Domain", "server"), cedar.NewUID("System", "lab")
	run := func(gate, metadata map[cedar.String]string) question {
		return question{cedar.NewUID("lab::v1::Action", "Lab.Run"), chief, server, map[cedar.String]cedar.Value{"s": cedar.String(""),
			"ward": cedar.NewRecord(map[cedar.String]cedar.Value{"gate": text(gate), "metadata": text(metadata)})}}
	}
	known, tenant := map[cedar.String]string{"session": "known"}, map[cedar.String]string{"x-tenant": "lab"}
	own := func(action string, principal, resource cedar.UID, context map[cedar.String]cedar.Value) question {
		return question{cedar.NewUID("ward::Action", action), principal, resource, context}
	}
	const scope = `forbid (principal, action == lab::v1::Action::"Lab.Run", resource) when { `
	for _, m := range []struct {
		what, permit, rule string
		q                  question
		errs               bool
		says, fixed        string
	}{
		{"a value of a state that is none", "", scope + `context.ward.gate.session == "knwon" };`, run(known, nil), false,
			`did you mean "known"`, scope + `context.ward.gate.session == "known" };`},
		{"a state that is none", "", scope + `context.ward.gate.sesion == "known" };`, run(known, nil), true,
			`did you mean "session"`, scope + `context.ward.gate.session == "known" };`},
		{"a state of another", "", scope + `principal.state.session == "known" };`, run(known, nil), true,
			`write context.ward.gate.session`, scope + `context.ward.gate.session == "known" };`},
		{"a value of a domain's state that is none", "", scope + `principal.state.level == "hgih" };`, run(known, nil), false,
			`did you mean "high"`, scope + `principal.state.level == "high" };`},
		{"a metadata key that is none", "", scope + `context.ward.metadata has "x-tenent" };`, run(nil, tenant), false,
			`did you mean "x-tenant"`, scope + `context.ward.metadata has "x-tenant" };`},
		{"metadata that is absent", "", scope + `context.ward.metadata["x-tenant"] != "lab" };`, run(nil, nil), true,
			`write context.ward.metadata has "x-tenant" && …`, scope + `if context.ward.metadata has "x-tenant" then context.ward.metadata["x-tenant"] != "lab" else true };`},
		{"a ring that is none", "", scope + `principal.ring.name == "sytem" };`, run(nil, nil), false,
			`did you mean "system"`, scope + `principal.ring.name == "system" };`},
		{"a category that is none", "", scope + `resource.label.categories.contains("nota") };`, run(nil, nil), false,
			`"nota" is no category`, scope + `resource.label.categories.contains("nato") };`},
		{"a tag", "", scope + `principal.hasTag("barred") };`, run(nil, nil), false,
			`use attributes`, scope + `principal.name == "chief" };`},
		{"an interface that is none", `permit (principal, action == ward::Action::"publish", resource);`,
			`forbid (principal, action == ward::Action::"publish", resource) when { context.interface == "lab.v1.Dor" };`,
			own("publish", server, system, map[cedar.String]cedar.Value{"interface": cedar.String("lab.v1.Door")}), false,
			`did you mean "lab.v1.Door"`, `forbid (principal, action == ward::Action::"publish", resource) when { context.interface == "lab.v1.Door" };`},
		{"a path that is none", `permit (principal, action in ward::Action::"open", resource);`,
			`forbid (principal, action in ward::Action::"open", resource == Object::"/etc/lob");`,
			own("open.write", server, cedar.NewUID("Object", "/etc/lab"), nil), false,
			`did you mean "/etc/lab"`, `forbid (principal, action in ward::Action::"open", resource == Object::"/etc/lab");`},
	} {
		t.Run(m.what, func(t *testing.T) {
			if m.permit == "" {
				m.permit = `permit (principal, action == lab::v1::Action::"Lab.Run", resource);`
			}
			es := cedar.Entities{}
			add := func(uid cedar.UID, attrs map[cedar.String]cedar.Value, parents ...cedar.UID) {
				es[uid] = cedar.NewEntity(uid, parents, attrs)
			}
			record := func(m map[cedar.String]cedar.Value) cedar.Value { return cedar.NewRecord(m) }
			add(chief, map[cedar.String]cedar.Value{"name": cedar.String("chief"), "state": text(map[cedar.String]string{"level": "high"}),
				"ring": record(map[cedar.String]cedar.Value{"name": cedar.String("system"), "level": cedar.Long(2)})})
			add(server, map[cedar.String]cedar.Value{"name": cedar.String("server"), "label": record(map[cedar.String]cedar.Value{"categories": cedar.NewSet(cedar.String("nato"))})})
			add(cedar.NewUID("ward::Action", "open.write"), nil, cedar.NewUID("ward::Action", "open"))
			ask := func(rule string) (bool, []string) {
				policies := map[string]*cedar.Policy{}
				for id, text := range map[string]string{"all": m.permit, "rule": rule} {
					p, err := readOne(`@id("` + id + `") ` + text)
					if err != nil {
						t.Fatal(err)
					}
					policies[id] = p
				}
				allow, _, errs := cedar.Authorize(policies, cedar.Env{Principal: m.q.principal, Action: m.q.action, Resource: m.q.resource, Context: cedar.NewRecord(m.q.context), Entities: es})
				return allow, errs
			}
			compile := func(rule string) (bool, string) {
				sys, set := load(t, wrongSystem, wrongProto)
				img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: `@id("all") ` + m.permit + "\n" + `@id("rule") ` + rule}})
				return img != nil, l.Error()
			}
			if allow, errs := ask(m.rule); !allow || (len(errs) > 0) != m.errs {
				t.Errorf("Cedar alone: allowed %v with errors %v; the case shows nothing", allow, errs)
			}
			if ok, said := compile(m.rule); ok || !strings.Contains(said, m.says) {
				t.Errorf("compiles: %v; it says\n%s\nwant %q", ok, said, m.says)
			}
			if ok, said := compile(m.fixed); !ok {
				t.Errorf("what was meant does not compile: %s", said)
			}
			if allow, errs := ask(m.fixed); allow || len(errs) > 0 {
				t.Errorf("what was meant: Cedar allows %v, errors %v", allow, errs)
			}
		})
	}
}
