package lint_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/lint"
	"ward/policy"
)

const kinSystem = `ward: 1
name: kin
interfaces: [a.proto]
policy: [policy.cedar]
domains:
  store: { program: /bin/true, exports: [a.v1.A] }
  desk: { program: /bin/true, children: { number: 4, depth: 3, tree: 9 } }
  broker: { program: /bin/true, children: { number: 4, depth: 3, tree: 9 } }
  auditor: { program: /bin/true }
  clerk: { program: /bin/true, template: true, children: { number: 2, depth: 2, tree: 4 } }
  aide: { program: /bin/true, template: true }
  kernel: { program: /bin/true, template: true, ring: service }
`

const kinProto = `syntax = "proto3";
package a.v1;
service A {
  rpc Get(Request) returns (Request);
  rpc Put(Request) returns (Request);
}
message Request {}
`

// TestParentMayNot: a permit for a template that no parent of its children has
// is told, with its place and what to do; one that some child can use is not.
func TestParentMayNot(t *testing.T) {
	const (
		deskMakesClerks   = "@id(\"desk: clerks\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"clerk\");\n"
		deskMakesAides    = "@id(\"desk: aides\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n"
		brokerMakesClerks = "@id(\"broker: clerks\") permit (principal == Domain::\"broker\", action == ward::Action::\"spawn\", resource == Domain::\"clerk\");\n"
		brokerMakesAides  = "@id(\"broker: aides\") permit (principal == Domain::\"broker\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n"
		clerkMakesAides   = "@id(\"clerk: aides\") permit (principal == Domain::\"clerk\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n"
		clerkAdopts       = "@id(\"clerk: adopted\") permit (principal == Domain::\"clerk\", action == ward::Action::\"adopt\", resource == Domain::\"aide\");\n"
		deskAdopts        = "@id(\"desk: adopted\") permit (principal == Domain::\"desk\", action == ward::Action::\"adopt\", resource == Domain::\"aide\");\n"
		clerkLends        = "@id(\"clerk lends\") permit (principal == Domain::\"clerk\", action == ward::Action::\"grant\", resource == Domain::\"auditor\");\n"
		deskLends         = "@id(\"desk lends\") permit (principal == Domain::\"desk\", action == ward::Action::\"grant\", resource == Domain::\"auditor\") when { context.entry == \"a.v1.A/Get\" };\n"
	)
	for _, c := range []struct {
		name, policies string
		want           []string // the findings, without their places; the place is that of the last policy
		fix            string
	}{
		{"nothing to make", deskMakesClerks, nil, ""},
		{"the maker may not", deskMakesClerks + clerkMakesAides,
			[]string{`permit "clerk: aides" lets children of clerk make children of aide, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"the maker may", deskMakesClerks + deskMakesAides + clerkMakesAides, nil, ""},
		{"one of two makers may", deskMakesClerks + brokerMakesClerks + brokerMakesAides + clerkMakesAides, nil, ""},
		{"the one who may makes none", deskMakesClerks + brokerMakesAides + clerkMakesAides,
			[]string{`permit "clerk: aides" lets children of clerk make children of aide, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"no makers", deskMakesAides + clerkMakesAides,
			[]string{`permit "clerk: aides" lets children of clerk make children of aide, but nobody may make children of clerk`}, "permit a domain to make children of clerk"},
		{"a forbid for the maker", "@id(\"no aides\") forbid (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n" + deskMakesClerks + deskMakesAides + clerkMakesAides,
			[]string{`permit "clerk: aides" lets children of clerk make children of aide, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"a maker that is less trusted", "@id(\"desk: kernels\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"kernel\");\n" + deskMakesAides +
			"@id(\"kernel: aides\") permit (principal == Domain::\"kernel\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n",
			[]string{`permit "kernel: aides" lets children of kernel make children of aide, but nobody may make children of kernel`}, "permit a domain to make children of kernel"},
		{"outlived", deskMakesClerks + deskMakesAides + clerkMakesAides + clerkAdopts,
			[]string{`permit "clerk: adopted" lets children of clerk be outlived by children of aide, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"outlived, as the maker may be", deskMakesClerks + deskMakesAides + deskAdopts + clerkMakesAides + clerkAdopts, nil, ""},
		{"lending", deskMakesClerks + clerkLends,
			[]string{`permit "clerk lends" lets children of clerk lend a.v1.A/Get to auditor, a.v1.A/Put to auditor, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"lending more than the maker", deskMakesClerks + deskLends + clerkLends,
			[]string{`permit "clerk lends" lets children of clerk lend a.v1.A/Put to auditor, which nobody who may make them may: desk`}, "permit it to desk, too"},
		{"lending to the maker", deskMakesClerks + strings.ReplaceAll(clerkLends, "auditor", "desk"), nil, ""},
		{"everybody lends", deskMakesClerks + "@id(\"all lend\") permit (principal, action == ward::Action::\"grant\", resource);\n", nil, ""},
		{"no template lends", strings.ReplaceAll(clerkLends, "clerk", "desk"), nil, ""},
		{"a copy of itself", "@id(\"copies\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"desk\");\n", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			policies := "@id(\"all call\")\npermit (principal, action in a::v1::Action::\"A\", resource == Domain::\"store\");\n" + c.policies
			r, findings := compile.Dir(fstest.MapFS{"system.yaml": {Data: []byte(kinSystem)}, "a.proto": {Data: []byte(kinProto)}, "policy.cedar": {Data: []byte(policies)}})
			if r.Image == nil {
				t.Fatal(findings)
			}
			var got []string
			for _, f := range lint.Find(lint.System{Image: r.Image, System: r.System, Set: r.Set, Policies: policy.Outlines(r.Sources)}) {
				if f.Lint != lint.ParentMayNot {
					continue
				}
				got = append(got, f.Message)
				if line := strings.Count(policies, "\n"); f.Pos.File != "policy.cedar" || f.Pos.Line != line {
					t.Errorf("at %s, want policy.cedar:%d", f.Pos, line)
				}
				if !strings.HasPrefix(f.Fix, c.fix) {
					t.Errorf("what to do: %s, want %s…", f.Fix, c.fix)
				}
				if f.Subject != "clerk" && f.Subject != "kernel" {
					t.Errorf("subject %s", f.Subject)
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestParentMayInRing: of a template that can be made in another ring only, the
// makers are those in that ring; and what its children may there is told once, of it.
func TestParentMayInRing(t *testing.T) {
	const clerkMakesAides = "@id(\"clerk: aides\") permit (principal == Domain::\"clerk\", action == ward::Action::\"spawn\", resource == Domain::\"aide\");\n"
	yaml := strings.Replace(strings.Replace(kinSystem, "clerk: { program: /bin/true,", "clerk: { program: /bin/true, ring: kernel, lower_rings: [user],", 1),
		"aide: { program: /bin/true,", "aide: { program: /bin/true, ring: system, lower_rings: [user],", 1)
	for desk, want := range map[string]int{
		`["clerk", "aide"].contains(resource.name) && resource.ring.name == "user"`: 0,
		`resource.name == "clerk" && resource.ring.name == "user"`:                  1,
	} {
		policies := clerkMakesAides + "@id(\"desk\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource is Domain) when { " + desk + " };\n"
		r, l := compile.Dir(fstest.MapFS{"system.yaml": {Data: []byte(yaml)}, "a.proto": {Data: []byte(kinProto)}, "policy.cedar": {Data: []byte(policies)}})
		if r.Image == nil {
			t.Fatal(l)
		}
		n, all := 0, lint.Find(lint.System{Image: r.Image, System: r.System, Set: r.Set, Policies: policy.Outlines(r.Sources)})
		for _, f := range all {
			if f.Lint == lint.ParentMayNot && f.Subject == "clerk" {
				n++
			} else if strings.Contains(f.Message, "clerk@") {
				t.Errorf("%s: %v", desk, f)
			}
		}
		if n != want {
			t.Errorf("%s: %d findings, want %d: %v", desk, n, want, all)
		}
	}
}
