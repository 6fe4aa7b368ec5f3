package explain_test

import (
	"strings"
	"testing"

	"os"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

// Records of children, of what is lent, and of messages of children and in the
// name of others: each is explained by the policy that decided.
func TestKinRecords(t *testing.T) {
	s := system(t, "spawn")
	for _, c := range []struct{ name, record, verdict, says string }{
		{"a child", `"event":"spawned","from":"desk","to":"clerk","domain":"clerk#1","verdict":"allow","policy":"the desk makes clerks"`, "allow", "by permit the desk makes clerks"},
		{"rights that cannot be given", `"event":"spawned","from":"desk","to":"clerk","verdict":"deny","reason":"default deny","detail":"no policy lets children of clerk call x"`, "deny", "what was asked for in it was not possible (no policy lets children of clerk call x)"},
		{"a limit", `"event":"spawned","from":"desk#1","to":"clerk","verdict":"deny","reason":"limit of children","detail":"no more"`, "deny", "not possible (no more)"},
		{"nobody lets it", `"event":"spawned","from":"clerk#1","to":"clerk","verdict":"deny","reason":"default deny"`, "deny", `principal == Domain::"clerk"`},
		{"lent", `"event":"lent","from":"desk","to":"clerk#1","verdict":"allow","policy":"the desk lends its pen","detail":"delegation 1: docs.v1.Documents/Write, for 30s, 2 times"`, "allow", "by permit the desk lends its pen"},
		{"not lent", `"event":"lent","from":"desk","to":"clerk#1","verdict":"deny","reason":"default deny","detail":"docs.v1.Documents/Read"`, "deny", `context.entry == "docs.v1.Documents/Read"`},

		{"by its template", `"event":"call","from":"clerk#1","to":"store","method":"docs.v1.Documents/Read","kind":"call","params":{"name":"secret-plan"},"verdict":"deny","reason":"default deny"`, "deny",
			"close clerks read what is public"},
		{"by who made it", `"event":"call","from":"clerk#1","to":"store","method":"docs.v1.Documents/Read","kind":"call","params":{"name":"charter"},"verdict":"deny","policy":"the charter is read by nobody"`, "deny",
			"what it may do desk has to be allowed, too, if it made it: that decides here\nby forbid the charter is read by nobody"},
		{"what it was not given", `"event":"call","from":"desk#1","to":"store","method":"docs.v1.Documents/Write","kind":"call","params":{"name":"a"},"verdict":"deny","reason":"default deny"`, "deny",
			"desk#1 was not given the right to it when it was made"},
		{"by delegation", `"event":"call","from":"clerk#1","to":"store","method":"docs.v1.Documents/Write","kind":"call","params":{"name":"charter"},"verdict":"deny","reason":"default deny","detail":"in the name of desk, by delegation 1"`, "deny",
			"in the name of desk, whose policies decide\nclose the desk writes"},
		{"another method than what was lent", `"event":"call","from":"clerk#1","to":"store","method":"docs.v1.Documents/Read","kind":"call","params":{"name":"a"},"verdict":"deny","reason":"default deny","detail":"in the name of desk, by delegation 1"`, "deny",
			"the delegation is for another method, or has ended"},
		{"used up", `"event":"call","from":"clerk#1","to":"store","method":"docs.v1.Documents/Write","kind":"call","params":{"name":"a"},"verdict":"deny","reason":"rate exceeded","detail":"in the name of desk, by delegation 1"`, "deny",
			"the uses of the delegation are used up"},
		{"an answer to a child", `"event":"reply","from":"store","to":"clerk#1","method":"docs.v1.Documents/Read","kind":"reply","verdict":"allow","policy":"implied: replies to admitted calls"`, "allow", "clerk#1 is made of clerk"},
	} {
		rec, err := explain.ParseRecord([]byte("{" + c.record + "}"))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		all, err := s.Record(rec)
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %+v, %v", c.name, all, err)
			continue
		}
		e := &all[0]
		if e.Verdict != c.verdict || !strings.Contains(text(e), c.says) || e.Record != rec || e.From != rec.From || e.To != rec.To {
			t.Errorf("%s: %s %s → %s\n%s\nwant %s, %q", c.name, e.Verdict, e.From, e.To, text(e), c.verdict, c.says)
		}
	}
	for record, want := range map[string]string{
		`"event":"spawned","from":"desk","to":"elsewhere#1","verdict":"deny"`:                                                                   `no "elsewhere"`,
		`"event":"spawned","to":"clerk","verdict":"deny","reason":"x"`:                                                                          "does not say who",
		`"event":"lent","from":"desk","to":"clerk#1","verdict":"deny","detail":"d.v1.Nothing/At"`:                                               `no method "d.v1.Nothing/At"`,
		`"event":"call","from":"thief#2","to":"store","method":"docs.v1.Documents/Read","kind":"call","verdict":"deny","reason":"default deny"`: `no domain "thief"`,
	} {
		rec, err := explain.ParseRecord([]byte("{" + record + "}"))
		if err == nil {
			_, err = s.Record(rec)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", record, err, want)
		}
	}
}

// What the policies allow and an empty bucket, or state, denied is told as that.
func TestSpentRecords(t *testing.T) {
	r, findings := compile.Dir(os.DirFS("../examples/device-access"))
	if findings.Failed() {
		t.Fatal(findings)
	}
	s := &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	for reason, want := range map[string]string{"rate exceeded": "there was no token left", "not in this state": "no declared move led"} {
		rec, err := explain.ParseRecord([]byte(`{"event":"reply","from":"device","to":"client","method":"device.v1.Device/Login","kind":"reply","params":{"accepted":true},"verdict":"deny","policy":"a login is accepted","reason":"` + reason + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Record(rec)
		if err != nil || len(all) != 1 || all[0].Verdict != explain.Deny || !strings.Contains(all[0].Why, want) || rec.Changed(&all[0]) || len(all[0].Effects) == 0 {
			t.Errorf("%s: %+v, %v", reason, all, err)
		}
	}
}
