package models_test

import (
	"strings"
	"testing"

	"ward/compile"
	"ward/diag"
)

// What is wrong in what system.yaml says for models is refused, with its place
// and what to do. Each case is a text to put in place of another in a system
// that is good as it is.
func TestFindings(t *testing.T) {
	const good = `ward: 1
name: t
interfaces: [t.proto]
policy: [p.cedar]
use: [ward/rings-multics, ward/rings-x86, ward/mls, ward/roles, ward/separation-of-duty]
rings: [kernel, service, user]
roles:
  clerk: {may: [t.v1.T/M0], users: [alice]}
  auditor: {may: [t.v1.T/M1], users: [bob], excludes: [clerk]}
  manager: {includes: [clerk]}
  teller: {may: [t.v1.T/M2], excludes_acts: [auditor]}
domains:
  server:
    program: /s
    ring: service
    label: {level: 1, categories: [nato]}
    files: {/data: {mode: r, ring: service}}
    exports:
      - {interface: t.v1.T, bracket: [0, service, 2], entry: [M0], data: user, methods: {M1: {bracket: [0, 0, 1]}}}
  c: {program: /c, roles: [clerk], owner: alice}
`
	try := func(yaml string) diag.List {
		r, l := compile.Dir(files(yaml, proto(3), everything))
		if r.Image == nil && !l.Failed() {
			t.Error("no image, and no error")
		}
		return l
	}
	for _, f := range try(good) {
		if f.Severity != diag.Note {
			t.Fatalf("the good system: %v", f)
		}
	}
	for _, c := range []struct{ old, new, at, want, fix string }{
		{"ward/mls,", "ward/msl,", "5:43", `it may be ward/rings-multics`, "did you mean"},
		{"ward/mls,", "{model: ward/mls, limit: 2},", "5:68", "the model ward/mls has no limit", "leave it out"},
		{"ward/mls,", "ward/rings-x86,", "5:43", `"ward/rings-x86" is there twice`, ""},
		{"ward/rings-multics, ward/rings-x86, ", "", "19:29", "`bracket` has no effect", "add ward/rings-multics or ward/rings-x86"},
		{"ward/rings-multics, ", "", "19:63", "`entry` has no effect", "add ward/rings-multics"},
		{"ward/rings-x86, ", "", "17:36", "`ring` has no effect", "add ward/rings-x86"},
		{"ward/rings-x86, ", "", "19:74", "`data` has no effect", "add ward/rings-x86"},
		{", ward/separation-of-duty", "", "9:", "`excludes` has no effect", "add ward/separation-of-duty"},
		{"ward/roles, ", "", "8:", "`may` has no effect", "add ward/roles"},
		{"[0, service, 2]", "[0, 1]", "19:29", "a bracket has three rings, not 2", "write [n1, n2, n3]"},
		{"[0, service, 2]", "[0, servce, 2]", "19:", `unknown ring "servce"`, `did you mean "service"`},
		{"[0, service, 2]", "[2, 1, 0]", "19:29", "n1 <= n2 <= n3", "n2+1 to n3"},
		{"[0, service, 2]", "[0, 1, 3]", "19:29", "the rings are 0 to 2", ""},
		{"[0, service, 2]", "[0, 1, 32]", "19:", "it may be 0 to 31", ""},
		{"entry: [M0]", "entry: [M9]", "19:", `t.v1.T has no method "M9"`, "did you mean"},
		{"{M1: {", "{N: {", "19:", `t.v1.T has no method "N"`, "methods are M0, M1, M2"},
		{"data: user", "data: usr", "19:", `data: unknown ring "usr"`, `did you mean "user"`},
		{"data: user", "flow: call", "19:", "the reply of t.v1.T/M0 carries nothing, but t.v1.A has the field y", "without fields"},
		{"data: user", "flow: reply", "19:", "the request of t.v1.T/M0 carries nothing, but t.v1.Q has the field x", "without fields"},
		{"data: user", "flow: both", "19:", "flow", ""},
		{"data: user", "trust: all", "19:", "trust", ""},
		{"rings: [kernel, service, user]", "rings: {kernel: [], service: [kernel], user: [service, kernl]}", "6:", `stands below "kernl", which is no ring`, `did you mean "kernel"`},
		{"rings: [kernel, service, user]", "rings: {kernel: [user], service: [kernel], user: [service]}", "6:", "stands above itself", ""},
		{"rings: [kernel, service, user]", "rings: {kernel: [], service: [kernel], user: [kernel]}", "19:", "a bracket counts rings", "declare the rings as a list"},
		{"rings: [kernel, service, user]", "rings: []", "6:", "rings is empty", ""},
		{"roles: [clerk]", "roles: [clrek]", "20:", `domain c: unknown role "clrek"`, `did you mean "clerk"`},
		{"roles: [clerk]", "roles: [clerk, auditor]", "20:", "separation of duty: domain c has the roles auditor and clerk", "auditor excludes clerk"},
		{"roles: [clerk]", "roles: [manager, auditor]", "20:", "clerk (included in manager)", ""},
		{"users: [bob]", "users: [bob, alice]", "8:37", "user alice has the roles auditor and clerk", ""},
		{"includes: [clerk]", "includes: [clerk, auditor]", "10:", "role manager has the roles", ""},
		{"includes: [clerk]", "includes: [manager]", "10:", `role "manager" includes itself`, ""},
		{"includes: [clerk]", "includes: [cleric]", "10:", `role manager: unknown role "cleric"`, "did you mean"},
		{"excludes: [clerk]", "excludes: [auditor]", "9:", `role "auditor" excludes itself`, ""},
		{"may: [t.v1.T/M0]", "may: [t.v1.T/M7]", "8:", `no interface or method "t.v1.T/M7"`, "did you mean"},
		{"may: [t.v1.T/M2]", "may: [t.v1.T]", "11:", "one act would be in both", ""},
		{"may: [t.v1.T/M2], ", "", "11:", "nobody can be seen to act in role teller", "under `may`"},
		{"may: [t.v1.T/M2]", "may: [t.v1.T/M2], users: [bob]", "11:", "user bob has teller and auditor", "use `excludes`"},
		{"label: {level: 1, categories: [nato]}", "label: {level: 64}", "16:", "it may be 0 to 63", ""},
		{"label: {level: 1, categories: [nato]}", "quota: {files: 64}", "5:", "ward/mls forbids nothing", "give domains a"},
		{"owner: alice", "owner: \"a:b\"", "20:", "owner", "the name of a user"},
		{"policy: [p.cedar]", "policy: [ward/mls.cedar]", "4:", "a name of the standard library", "another directory"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("no %q", c.old)
		}
		found := false
		list := try(strings.Replace(good, c.old, c.new, 1))
		for _, f := range list {
			found = found || strings.HasPrefix(f.Pos.String(), "system.yaml:"+c.at) && strings.Contains(f.Message, c.want) && strings.Contains(f.Fix, c.fix)
		}
		if !found {
			t.Errorf("%s:\n%v\nwant at %s: %s\n\t%s", c.new, list, c.at, c.want, c.fix)
		}
	}
}

// Users' policies cannot have names of the library, nor say things of rings
// and categories that do not exist.
func TestClosedWorld(t *testing.T) {
	const yaml = "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\ndomains:\n  s: {program: /s, exports: [t.v1.T], label: {categories: [nato]}}\n  c: {program: /c}\n"
	for _, c := range []struct{ id, when, want string }{
		{"ward/mls: mine", "true", "the names of the standard library begin with ward/"},
		{"a", `principal.ring.name == "usr"`, `"usr" is no ring`},
		{"a", `resource.ring.above.contains("krnel")`, `"krnel" is no ring`},
		{"a", `resource.label.categories.contains("nota")`, `"nota" is no category`},
		{"a", `principal.ring.name == "user" && resource.ring.above.contains(principal.ring.name) && resource.label.categories.contains("nato")`, ""},
	} {
		_, l := compile.Dir(files(yaml, proto(1), "@id(\""+c.id+"\")\npermit (principal, action in ward::Action::\"call\", resource) when { "+c.when+" };\n"))
		if c.want == "" && l.Failed() || c.want != "" && !strings.Contains(l.Error(), c.want) {
			t.Errorf("%s, %s: %v, want %s", c.id, c.when, l, c.want)
		}
	}
}
