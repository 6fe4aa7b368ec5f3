package cases

import (
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"ward/compile"
)

// kinFiles is the system of testdata/kin.txtar.
func kinFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/kin.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		if f.Name != "want" && !strings.HasSuffix(f.Name, Suffix) {
			files[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	return files
}

// Records of children and delegations become cases, which pass; what no policy
// decided, and texts that would be lines of their own, do not. What a refused
// request asked for is the domain's own text.
func TestKinFromAudit(t *testing.T) {
	files := kinFiles(t)
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(findings)
	}
	lent := func(to, verdict, policy, reason, detail string) Happened {
		return Happened{Event: "lent", From: "desk", To: to, Verdict: verdict, Policy: policy, Reason: reason, Detail: detail}
	}
	spawned := func(from, to, verdict, policy, reason string) Happened {
		return Happened{Event: "spawned", From: from, To: to, Verdict: verdict, Policy: policy, Reason: reason, Detail: "may call d.v1.Docs/Read"}
	}
	for _, c := range []struct {
		name   string
		record Happened
		want   string // of the case; empty: there is none
		left   int
	}{
		{"a child", spawned("desk", "clerk#3", "allow", "the desk makes clerks", ""), "  from: \"desk\"\n  spawn: \"clerk\"\n  allow: \"the desk makes clerks\"\n", 0},
		{"a copy", spawned("desk", "desk#1", "allow", "and copies", ""), "spawn: \"desk\"", 0},
		{"a refusal", spawned("guard", "clerk", "deny", "", "default deny"), "name: \"guard may not make children of clerk\"\n  from: \"guard\"\n  spawn: \"clerk\"\n  deny: default\n", 0},
		{"a limit", spawned("desk", "clerk", "deny", "", "limit of children"), "", 1},
		{"nobody", spawned("desk", "elsewhere#1", "deny", "", "default deny"), "", 1},
		{"a loan", lent("clerk#3", "allow", "the desk lends", "", "delegation 7: d.v1.Docs/Write, for 30s, 2 times"), "  grant: \"d.v1.Docs/Write\"\n  to: \"clerk\"\n  allow: \"the desk lends\"\n", 0},
		{"a refused loan", lent("guard", "deny", "not to guards", "", "d.v1.Docs/Write"), "deny: \"not to guards\"", 0},
		{"what one has not", lent("clerk#3", "deny", "", "default deny", "d.v1.Docs/Nothing"), "", 1},
		{"lines", lent("clerk#3", "deny", "", "default deny", "d.v1.Docs/Read\n- name: smuggled\n  start: desk\r- name: smuggled"), "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := FromAudit(r.Image, r.Set, []Happened{c.record})
			if w.Left != c.left || c.want != "" && (w.Cases != 1 || !strings.Contains(w.Text, c.want)) {
				t.Errorf("%d cases, %d left:\n%s", w.Cases, w.Left, w.Text)
			}
			for line := range strings.FieldsFuncSeq(w.Text, func(r rune) bool { return r == '\n' || r == '\r' }) {
				if strings.HasPrefix(strings.TrimLeft(line, " "), "- name: smuggled") {
					t.Errorf("%q is a line of\n%s", line, w.Text)
				}
			}
			if w.Cases > 0 {
				pass(t, files, w)
			}
		})
	}
}

// A path over what is lent needs the grant, messages that may pass, and for
// memory the right to it, each of which is left out once.
func TestPathsOverLoans(t *testing.T) {
	const (
		lends = "permit (principal == Domain::\"a\", action == ward::Action::\"grant\", resource == Domain::\"c\")\n"
		all   = "{from: c, to: b}"
	)
	for _, c := range []struct {
		name, policies, rule string
		trail                string // empty: no path
	}{
		{"lent", gives("a", "b", "true") + lends, all, "c → b (o.v1.Give/One, lent by a)"},
		{"not lent", gives("a", "b", "true"), all, ""},
		{"lent, and no message passes", gives("a", "b", `context.note == "x" && context.note == "y"`) + lends, all, ""},
		{"only over replies", gives("a", "b", "true") + lends, "{from: c, to: b, over: replies}", ""},
		{"the answer", gives("a", "d", "true") + lends, "{from: d, to: c}", ""}, // replies are forbidden
		{"the answer, to whom it may go", strings.ReplaceAll(gives("d", "b", "true")+lends, `"a", action == ward`, `"d", action == ward`), "{from: b, to: c, over: replies}", "b → c (reply to o.v1.Give/One, lent by d)"},
		{"memory", gives("a", "b", "true") + lends + permits("c", "create", "frames") + permits("b", "open.read", "frames") + permits("b", "open.write", "frames"), "{from: b, to: c, over: handles}", "b → c (frames of c, to b to write by o.v1.Give/One, lent by a)"},
		{"memory without a loan", gives("a", "b", "true") + permits("c", "create", "frames") + permits("b", "open.read", "frames") + permits("b", "open.write", "frames"), "{from: b, to: c, over: handles}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.TrimPrefix(noPath(t, objectsWith(c.policies, "keeper"), c.rule), "there is a path: ")
			if got != c.trail {
				t.Errorf("%q, want %q", got, c.trail)
			}
		})
	}
}
