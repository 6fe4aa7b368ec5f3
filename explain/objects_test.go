package explain_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"ward/abi"
	"ward/cases"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

// studio is the system with objects that cases tests, and more policies.
func studio(t *testing.T, more string) *explain.System {
	t.Helper()
	archive, err := txtar.ParseFile("../cases/testdata/objects.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	r, findings := compile.With(files, []policy.Source{{Name: "more.cedar", Text: more}})
	if r.Image == nil || findings.Failed() {
		t.Fatal(findings)
	}
	return &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
}

// text is what an explanation says beside its verdict.
func text(e *explain.Explanation) string {
	all := append([]string{e.Why, e.Check}, e.Notes...)
	for _, p := range e.Policies {
		all = append(all, "by "+p.Effect+" "+p.ID)
	}
	for _, n := range e.Close {
		all = append(all, "close "+n.Policy.ID+" "+n.Scope)
	}
	for _, c := range e.Changes {
		all = append(all, c.Text, c.Write)
	}
	return strings.Join(all, "\n")
}

// A right to an object is explained by the policy that decides, by those that
// have it, and by what would give it.
func TestObjects(t *testing.T) {
	s := studio(t, "")
	for _, c := range []struct{ from, action, object, verdict, says string }{
		{"camera", "create", "frames", "allow", "at most 16 instances at a time, of at most 65536 bytes"},
		{"viewer", "open.read", "frames", "allow", "it has to come in a handle in a message that may pass: nobody opens it by its name\nby permit the viewer sees frames"},
		{"viewer", "open.write", "frames", "deny", `action == ward::Action::"open.write"`},
		{"viewer", "create", "frames", "deny", "close the camera makes frames permits it to camera"},
		{"clerk", "open.read", "frames", "deny", `narrow the forbid "no clerk near frames" (policy.cedar:3)`},
		{"camera", "open.write", "board", "allow", "it opens it by its name"},
		{"clerk", "open.write", "board", "deny", "writing needs open.read, too, which is denied\n\nby forbid the clerk is blind"},
		{"camera", "create", "board", "deny", "it is shared: there is one instance"},
		{"clerk", "open.read", "orders", "allow", "nobody else does"},
		{"viewer", "open.read", "orders", "deny", "a mailbox has one reader, and that is clerk"},
		{"viewer", "open.write", "orders", "deny", "ward explain DIR viewer pkg.Service/Method --to orders"},
	} {
		all, err := s.Object(explain.ObjectQuestion{From: c.from, Action: c.action, Object: c.object})
		if err != nil || len(all) != 1 {
			t.Fatalf("%v: %v, %v", c, all, err)
		}
		if e := &all[0]; e.Verdict != c.verdict || !strings.Contains(text(e), c.says) || e.Kind != c.action || e.Object != c.object {
			t.Errorf("%s %s %s: %s\n%s", c.from, c.action, c.object, e.Verdict, text(e))
		}
	}
	for q, want := range map[explain.ObjectQuestion]string{
		{From: "camera", Action: "create", Object: "frame"}:     `there is no object "frame": did you mean "frames"?`,
		{From: "cameras", Action: "create", Object: "frames"}:   `there is no domain "cameras": did you mean "camera"?`,
		{From: "orders", Action: "open.read", Object: "frames"}: `there is no domain "orders"`,
		{From: "camera", Action: "own", Object: "frames"}:       `"own" is no right to an object`,
	} {
		if _, err := s.Object(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", q, err, want)
		}
	}
}

// The policy that is proposed for a right compiles, and then the right is there.
func TestWrittenRightAllows(t *testing.T) {
	for _, q := range []explain.ObjectQuestion{{From: "viewer", Action: "open.write", Object: "frames"}, {From: "clerk", Action: "create", Object: "frames"}, {From: "viewer", Action: "open.write", Object: "board"}} {
		before, err := studio(t, "").Object(q)
		if err != nil || before[0].Verdict != explain.Deny {
			t.Fatalf("%v: %+v, %v", q, before, err)
		}
		last := before[0].Changes[len(before[0].Changes)-1]
		if after, err := studio(t, last.Write).Object(q); err != nil || after[0].Verdict != explain.Allow {
			t.Errorf("%v is not there with the policy that was proposed:\n%s\n%+v, %v", q, last.Write, after, err)
		}
	}
}

// A message to a mailbox is explained as any other, with what becomes of it;
// the policy that would allow it names the object.
func TestMailbox(t *testing.T) {
	q := cases.Question{From: "viewer", Method: "o.v1.Orders/Place", Args: "{count: 2}"}
	all, err := studio(t, "").Question(q)
	if err != nil || len(all) != 1 || all[0].Verdict != explain.Allow || all[0].To != "orders" ||
		!strings.Contains(text(&all[0]), "orders is a mailbox: what is allowed waits in the kernel until clerk reads it, and nobody answers") {
		t.Fatalf("%+v, %v", all, err)
	}
	q.From = "camera"
	all, err = studio(t, "").Question(q)
	if err != nil || all[0].Verdict != explain.Deny || len(all[0].Changes) != 1 || !strings.Contains(all[0].Changes[0].Write, `resource == Object::"orders"`) {
		t.Fatalf("%+v, %v", all, err)
	}
	if all, err = studio(t, all[0].Changes[0].Write).Question(q); err != nil || all[0].Verdict != explain.Allow {
		t.Errorf("not allowed with the policy that was proposed: %+v, %v", all, err)
	}
	if all, err = studio(t, "").Question(cases.Question{From: "camera", Method: "o.v1.View/Show"}); err != nil || len(all[0].Notes) != 0 { // the control
		t.Errorf("a domain is no mailbox: %+v, %v", all, err)
	}
}

// What a handle lacks is said as the policy says it.
func TestHandle(t *testing.T) {
	s := studio(t, "")
	all, err := s.Question(cases.Question{From: "camera", Method: "o.v1.View/Show", Args: "{frame: {kind: memory, size: 8192, write: true}}"})
	if err != nil || len(all) != 1 || all[0].Verdict != explain.Deny || len(all[0].Close) != 1 || len(all[0].Changes) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	var fails, set []string
	for _, m := range all[0].Close[0].Missing {
		fails = append(fails, m.Condition)
	}
	for _, v := range all[0].Changes[0].Set {
		set = append(set, v.Name+"="+v.Value)
	}
	if got := strings.Join(fails, "; "); got != "frame.write is false; frame.size <= 4096" {
		t.Errorf("missing: %s", got)
	}
	if got := strings.Join(set, " "); got != "frame.size=4096 frame.write=false" {
		t.Errorf("allowed with: %s", got)
	}
}

// Records about objects and handles.
func TestObjectRecords(t *testing.T) {
	s := studio(t, "")
	for _, c := range []struct{ line, verdict, says string }{
		{`{"event":"object","seq":1,"domain":"viewer","object":"frames","kind":"make","access":"create","verdict":"deny","reason":"` + abi.ReasonDefault.String() + `"}`,
			"deny", "permits it to camera"},
		{`{"event":"object","from":"camera","to":"viewer","object":"frames","kind":"offer","access":"open.write","verdict":"deny","reason":"` + abi.ReasonDefault.String() + `"}`,
			"deny", `principal == Domain::"viewer"`},
		{`{"event":"object","domain":"clerk","object":"frames","kind":"open","access":"open.read","verdict":"deny","policy":"no clerk near frames","reason":"forbidden"}`,
			"deny", "by forbid no clerk near frames"},
		{`{"event":"object","domain":"camera","object":"frames","kind":"make","access":"create","verdict":"deny","reason":"limit of objects"}`,
			"deny", "no policy decided"},
		{`{"event":"object","domain":"viewer","kind":"redeem","verdict":"deny","reason":"` + abi.ReasonHandle.String() + `","detail":"it was redeemed before"}`,
			"deny", "no policy decided"},
		{`{"event":"object","domain":"camera","object":"frames","kind":"make","access":"create","verdict":"allow","policy":"the camera makes frames"}`,
			"allow", "by permit the camera makes frames"},
		{`{"event":"call","kind":"call","from":"camera","to":"viewer","method":"o.v1.View/Show","verdict":"deny","reason":"` + abi.ReasonHandle.String() + `","detail":"field 1","params":{"frame":9,"frame.id":65537,"frame.kind":1}}`,
			"deny", "its number is of no offer that the sender made on this gate"},
		{`{"event":"call","kind":"call","from":"camera","to":"viewer","method":"o.v1.View/Show","verdict":"deny","reason":"` + abi.ReasonHandle.String() + `"}`,
			"deny", "not yet gone, with kind, size and write as they were offered"},
		{`{"event":"call","kind":"call","from":"camera","to":"viewer","method":"o.v1.View/Show","verdict":"deny","reason":"` + abi.ReasonDefault.String() + `","params":{"frame":9,"frame.id":65537,"frame.kind":1,"frame.size":8192}}`,
			"deny", "close frames to look at"},
	} {
		r, err := explain.ParseRecord([]byte(c.line))
		if err != nil {
			t.Fatalf("%s: %v", c.line, err)
		}
		all, err := s.Record(r)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %+v, %v", c.line, all, err)
		}
		if e := &all[0]; e.Verdict != c.verdict || !strings.Contains(text(e), c.says) || e.Record != r || r.Changed(e) {
			t.Errorf("%s: %s\n%s", c.line, e.Verdict, text(e))
		}
	}
	for _, line := range []string{`{"event":"object","object":"frames","access":"create","verdict":"deny"}`, `{"event":"object","seq":3}`} {
		if _, err := explain.ParseRecord([]byte(line)); err == nil || !strings.Contains(err.Error(), "does not say who asked") {
			t.Errorf("%s: %v", line, err)
		}
	}
	r, err := explain.ParseRecord([]byte(`{"event":"object","domain":"camera","object":"curtains","access":"create","verdict":"deny","reason":"` + abi.ReasonDefault.String() + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.Record(r); err == nil || !strings.Contains(err.Error(), `there is no object "curtains"`) {
		t.Errorf("%+v, %v", all, err)
	}
}
