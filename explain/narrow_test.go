package explain_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"ward/cases"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

const deskSystem = `ward: 1
name: desk
interfaces: [desk.proto]
policy: [policy.cedar]
state:
  session: {per: gate, values: [new, known], moves: {new: [known]}}
  mode: {per: system, values: [open, shut], moves: {open: [shut], shut: [open]}}
domains:
  server: { program: /bin/server, exports: [desk.v1.Desk] }
  clerk: { program: /bin/clerk }
`

const deskProto = `syntax = "proto3";
package desk.v1;
import "buf/validate/validate.proto";
enum Kind { LETTER = 0; PARCEL = 1; }
message Stamp { int32 price = 1; bool worn = 2; }
message Send {
  bool urgent = 1;
  int32 n = 2;
  string text = 3;
  bytes data = 4;
  repeated int32 parts = 5;
  Kind kind = 6;
  optional int32 weight = 7;
  Stamp stamp = 8;
  string in = 9;
  Stamp seal = 10 [(buf.validate.field).required = true];
}
message Sent {}
service Desk { rpc Post(Send) returns (Sent); rpc Drop(Send) returns (Sent); }
`

const deskPolicy = `@id("known clerks post few") permit (principal, action == desk::v1::Action::"Desk.Post", resource)
when { context.n < 5 && context.ward.gate.session == "known" && System::"desk".state.mode == "open" };
`

func desk(t *testing.T, more string) *explain.System {
	t.Helper()
	files := fstest.MapFS{"system.yaml": {Data: []byte(deskSystem)}, "desk.proto": {Data: []byte(deskProto)}, "policy.cedar": {Data: []byte(deskPolicy)}}
	r, findings := compile.With(files, []policy.Source{{Name: "more.cedar", Text: more}})
	if r.Image == nil || findings.Failed() {
		t.Fatalf("%v\n%s", findings, more)
	}
	return &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
}

func one(t *testing.T, s *explain.System, method, args string, state map[string]string) explain.Explanation {
	t.Helper()
	all, err := s.Question(cases.Question{From: "clerk", Method: "desk.v1.Desk/" + method, Args: args, State: state})
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %v, %v", args, all, err)
	}
	return all[0]
}

// The policy that is proposed permits what was asked about, and not what has
// one argument otherwise.
func TestWrittenPolicyIsNarrow(t *testing.T) {
	for asked, others := range map[string][]string{
		`{urgent: true}`:                       {`{urgent: false}`},
		`{urgent: false, n: -3}`:               {`{urgent: true, n: -3}`, `{urgent: false, n: -2}`},
		`{text: "a\"b\\c\u0007 é", n: 1}`:      {`{text: "a", n: 1}`, `{text: "a\"b\\c\u0007 é", n: 2}`},
		`{data: {size: 3}, parts: {count: 2}}`: {`{data: {size: 4}, parts: {count: 2}}`, `{data: {size: 3}, parts: {count: 1}}`},
		`{kind: PARCEL}`:                       {`{kind: LETTER}`},
		`{weight: 5}`:                          {`{weight: 6}`, `{weight: null}`},
		`{weight: null}`:                       {`{weight: 0}`},
		`{stamp: {worn: false}}`:               {`{stamp: {worn: true}}`, `{stamp: null}`},
		`{stamp: null, in: "x"}`:               {`{stamp: {}, in: "x"}`, `{stamp: null, in: "y"}`},
		`{seal: {price: 2}}`:                   {`{seal: {price: 3}}`},
	} {
		e := one(t, desk(t, ""), "Drop", asked, nil)
		if e.Verdict != explain.Deny || len(e.Changes) != 1 || e.Changes[0].Write == "" {
			t.Fatalf("%s: %+v", asked, e)
		}
		s := desk(t, e.Changes[0].Write)
		if after := one(t, s, "Drop", asked, nil); after.Verdict != explain.Allow {
			t.Errorf("%s is %s with the policy that was proposed:\n%s", asked, after.Verdict, e.Changes[0].Write)
		}
		for _, other := range others {
			if after := one(t, s, "Drop", other, nil); after.Verdict != explain.Deny {
				t.Errorf("%s is %s with the policy that was proposed for %s:\n%s", other, after.Verdict, asked, e.Changes[0].Write)
			}
		}
	}
	// Without arguments it is about all messages.
	if e := one(t, desk(t, ""), "Drop", "", nil); strings.Contains(e.Changes[0].Write, "when") {
		t.Errorf("a condition of its own: %s", e.Changes[0].Write)
	}
}

// State counts among what is changed: as little as will do, of it and of the arguments.
func TestSmallestChangeOfState(t *testing.T) {
	s := desk(t, "")
	for _, c := range []struct {
		args    string
		state   map[string]string
		changes string
	}{
		{`{n: 1}`, map[string]string{"gate.session": "new"}, "[gate.session=known]"},
		{`{n: 1}`, map[string]string{"gate.session": "known", "system.mode": "shut"}, "[system.mode=open]"},
		{`{n: 1}`, map[string]string{"gate.session": "new", "system.mode": "open"}, "[gate.session=known]"},
		{`{n: 1}`, map[string]string{"gate.session": "new", "system.mode": "shut"}, "[gate.session=known system.mode=open]"},
		{`{n: 7}`, map[string]string{"gate.session": "known", "system.mode": "open"}, "[n=4]"},
		{`{n: 7}`, map[string]string{"gate.session": "new", "system.mode": "open"}, "[n=4 gate.session=known]"},
		{`{n: 7, urgent: true}`, map[string]string{"gate.session": "new", "system.mode": "shut"}, "[n=4 gate.session=known system.mode=open]"},
	} {
		e := one(t, s, "Post", c.args, c.state)
		var got []string
		for _, change := range e.Changes {
			var set []string
			for _, v := range change.Set {
				set = append(set, v.Name+"="+v.Value)
			}
			got = append(got, fmt.Sprint(set))
		}
		if e.Verdict != explain.Deny || strings.Join(got, " ") != c.changes {
			t.Errorf("%s with %v: %s, %q, want %s", c.args, c.state, e.Verdict, got, c.changes)
		}
	}
}
