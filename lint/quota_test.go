package lint_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/lint"
	"ward/policy"
)

// TestChildrenQuota: children that a domain may have and its quota has no room for
// are told, with its place and the quota; what there is room for is not.
func TestChildrenQuota(t *testing.T) {
	const desk = "@id(\"desk makes clerks\") permit (principal == Domain::\"desk\", action == ward::Action::\"spawn\", resource == Domain::\"clerk\");\n"
	for _, c := range []struct{ name, desk, clerk, policies, want, fix string }{
		{"few", "children: { number: 4 }", "", desk, "", ""},
		{"as many as fit", "children: { number: 15 }", "", desk, "", ""},
		{"many", "children: { number: 16 }", "", desk,
			"desk may have 16 children, and its quota has room for 15 of clerk: it has 256 processes (the default), and each takes 16 at least", "state more in `quota` (processes) of desk, or less in that of clerk"},
		{"many that are stated", "children: { number: 100 }, quota: { processes: 2048, memory: 4GiB, gates: 1024 }", "quota: { processes: 16, memory: 32MiB, gates: 8 }", desk, "", ""},
		{"too little memory", "children: { number: 3 }, quota: { memory: 300MiB }", "quota: { memory: 100MiB }", desk,
			"desk may have 3 children, and its quota has room for 2 of clerk: it has 314572800 bytes of memory, and each takes 104857600", "state more in `quota` (memory) of desk"},
		{"none fits", "children: { number: 1 }", "quota: { gates: 64 }", desk,
			"desk may have 1 children, and its quota has room for 0 of clerk: it has 64 gates (the default), and each takes 64", "state more in `quota` (gates) of desk"},
		{"nobody makes any", "children: { number: 16 }", "", "", "", ""},
		{"copies of itself", "children: { number: 2 }, quota: { processes: 100 }", "", strings.ReplaceAll(desk, `"clerk"`, `"desk"`), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, findings := compile.Dir(fstest.MapFS{
				"system.yaml":  {Data: []byte("ward: 1\nname: q\npolicy: [policy.cedar]\ndomains:\n  desk: { program: /bin/true, " + c.desk + " }\n  clerk: { program: /bin/true, template: true, " + c.clerk + " }\n")},
				"policy.cedar": {Data: []byte(c.policies + "@id(\"nothing\") forbid (principal, action == ward::Action::\"adopt\", resource);\n")},
			})
			if r.Image == nil {
				t.Fatal(findings)
			}
			got := ""
			for _, f := range lint.Find(lint.System{Image: r.Image, System: r.System, Set: r.Set, Policies: policy.Outlines(r.Sources)}) {
				if f.Lint != lint.ChildrenQuota {
					continue
				}
				got += f.Message
				if f.Pos.File != "system.yaml" || f.Pos.Line != 5 || f.Subject != "desk" || !strings.HasPrefix(f.Fix, c.fix) {
					t.Errorf("%s: of %s: %s", f.Pos, f.Subject, f.Fix)
				}
			}
			if got != c.want {
				t.Errorf("found\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
