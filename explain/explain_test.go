package explain_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"ward/cases"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

func system(t testing.TB, name string) *explain.System {
	t.Helper()
	r, findings := compile.Dir(os.DirFS("../examples/" + name))
	if findings.Failed() {
		t.Fatal(findings)
	}
	return &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
}

// ask asks with arguments that are written path=value.
func ask(t testing.TB, s *explain.System, from string, args map[string]string) explain.Explanation {
	t.Helper()
	const method = "picture.v1.Pictures/Get"
	var list []string
	for _, name := range slices.Sorted(maps.Keys(args)) {
		list = append(list, name+"="+args[name])
	}
	text, err := cases.Compact(s.Image, s.Set, method, false, list)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Question(cases.Question{From: from, Method: method, Args: text})
	if err != nil || len(all) != 1 {
		t.Fatalf("%s %v: %d explanations, %v", from, list, len(all), err)
	}
	return all[0]
}

// What is proposed allows the request, and nothing smaller does.
func TestChangesAllow(t *testing.T) {
	s := system(t, "picture")
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	denied := 0
	for range 300 {
		from := pick("valid-client", "user:alice")
		args := map[string]string{}
		for name, values := range map[string][]string{"name": {"night", "draft-1", "draft", "../x", "-"},
			"width": {"0", "1", "128", "129", "1024", "1025", "4096", "4097"}, "height": {"0", "64", "1024", "1025", "5000"}, "format": {"FORMAT_PNG", "7"}} {
			if random.IntN(4) > 0 {
				args[name] = pick(values...)
			}
		}
		e := ask(t, s, from, args)
		if e.Verdict != explain.Deny {
			continue
		}
		denied++
		if len(e.Changes) == 0 {
			t.Errorf("%s %v is denied, and nothing is proposed", from, args)
		}
		for _, c := range e.Changes {
			changed := maps.Clone(args)
			for _, v := range c.Set {
				if args[v.Name] == "" {
					t.Errorf("%s %v: proposes %s, which was not given", from, args, v.Name)
				}
				changed[v.Name] = v.Value
			}
			if after := ask(t, s, from, changed); after.Verdict == explain.Deny {
				t.Errorf("%s %v: %v is still denied", from, args, changed)
			}
			for _, v := range c.Set { // one change less is too little
				fewer := maps.Clone(changed)
				fewer[v.Name] = args[v.Name]
				if after := ask(t, s, from, fewer); after.Verdict != explain.Deny {
					t.Errorf("%s %v: %v is more than is needed: without %s it is %s", from, args, changed, v.Name, after.Verdict)
				}
			}
		}
	}
	if denied < 50 {
		t.Errorf("only %d questions were about denied requests", denied)
	}
}

// The policy that is proposed compiles, and then the request is allowed.
func TestWrittenPolicyAllows(t *testing.T) {
	for _, from := range []string{"invalid-client", "user:bob"} {
		s := system(t, "picture")
		q := cases.Question{From: from, Method: "picture.v1.Pictures/List"}
		all, err := s.Question(q)
		if err != nil || len(all) != 1 || len(all[0].Changes) != 1 || all[0].Changes[0].Write == "" {
			t.Fatalf("%+v, %v", all, err)
		}
		r, findings := compile.With(os.DirFS("../examples/picture"), []policy.Source{{Name: "proposed.cedar", Text: all[0].Changes[0].Write}})
		if findings.Failed() {
			t.Fatalf("%v\n%s", findings, all[0].Changes[0].Write)
		}
		s = &explain.System{Image: r.Image, Set: r.Set}
		if all, err = s.Question(q); err != nil || all[0].Verdict != explain.Allow {
			t.Errorf("%s is not allowed with the policy that was proposed: %+v, %v", from, all, err)
		}
	}
}

// Arguments of any form are read as text or refused, never as YAML of their own.
func FuzzCompact(f *testing.F) {
	for _, a := range []string{"name=night", `name="x"`, "name={a: b}", "width=1}, deny: x", "width=12", "name=a\nb: c", "format=[1]", "x.y.z=1", "name=\"\\u202e", "name=null"} {
		f.Add(a)
	}
	s := system(f, "picture")
	f.Fuzz(func(t *testing.T, arg string) {
		const method = "picture.v1.Pictures/Get"
		text, err := cases.Compact(s.Image, s.Set, method, false, []string{arg})
		if err != nil {
			return
		}
		all, err := s.Question(cases.Question{From: "valid-client", Method: method, Args: text})
		if value, ok := strings.CutPrefix(arg, "name="); ok && err == nil && value != "null" && !strings.HasPrefix(value, `"`) {
			if want := fmt.Sprintf("{%q: ", "name"); len(all) != 1 || !strings.HasPrefix(text, want) {
				t.Errorf("%q became %s", arg, text)
			}
		}
	})
}
