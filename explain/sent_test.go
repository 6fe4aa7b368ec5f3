package explain_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/explain"
	"ward/policy"
)

var post = fstest.MapFS{
	"system.yaml": {Data: []byte(`ward: 1
name: post
interfaces: [post.proto]
policy: [policy.cedar]
metadata: { x-tenant: 8 }
domains:
  server: { program: /bin/server, exports: [post.v1.Post] }
  writer: { program: /bin/writer }
`)},
	"post.proto": {Data: []byte(`syntax = "proto3";
package post.v1;
enum Kind { LETTER = 0; PARCEL = 1; CARD = 2; }
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
}
message Sent {}
service Post { rpc Flag(Send) returns (Sent); rpc All(Send) returns (Sent); rpc Stamped(Send) returns (Sent); rpc Loose(Send) returns (Sent); rpc Tenant(Send) returns (Sent); }
`)},
	"policy.cedar": {Data: []byte(`@id("calm") permit (principal, action == post::v1::Action::"Post.Flag", resource) when { !context.urgent };
@id("hurried") permit (principal, action == post::v1::Action::"Post.Flag", resource)
when { context.urgent && context.n > 3 && (context.kind == "CARD" || context.kind == "PARCEL") };
@id("all") permit (principal, action == post::v1::Action::"Post.All", resource)
when { context.n < 5 && context.text != "secret" && context.data.size < 9 && context.parts.count < 3 && context.kind == "LETTER" && !(context has weight) };
@id("stamped") permit (principal, action == post::v1::Action::"Post.Stamped", resource)
when { context has stamp && !context.stamp.worn };
@id("loose") permit (principal, action == post::v1::Action::"Post.Loose", resource)
when { if context has stamp then !context.stamp.worn else true };
@id("tenant") permit (principal, action == post::v1::Action::"Post.Tenant", resource)
when { !(context.ward.metadata has "x-tenant") };
`)},
}

// What a record says was not sent is zero, or null; and a bool is true or false.
func TestNotSent(t *testing.T) {
	r, findings := compile.Dir(post)
	if findings.Failed() {
		t.Fatal(findings)
	}
	s := &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	for _, c := range []struct {
		what, method, record string
		verdict              string
		says                 []string // in the explanation, as JSON
	}{
		{"a bool", "Flag", `"params":{"n":3},"absent":["urgent","kind"],"verdict":"allow","policy":"calm"`, explain.Allow,
			[]string{`{"name":"urgent","value":"false","unsent":true}`}},
		{"a bool that was sent", "Flag", `"params":{"n":3,"urgent":true},"absent":["kind"],"verdict":"deny","reason":"default deny"`, explain.Deny,
			[]string{`{"condition":"urgent is false","saw":[{"name":"urgent","value":"true"}]}`, `{"name":"kind","value":"LETTER","unsent":true}`,
				`"condition":"kind == \"CARD\" || kind == \"PARCEL\""`}},
		{"true where false is asked for", "Flag", `"params":{"n":4,"kind":0,"urgent":true},"verdict":"deny","reason":"default deny"`, explain.Deny,
			[]string{`"condition":"urgent is false"`}},
		{"a record that says nothing of it", "Flag", `"params":{"n":3},"verdict":"allow","policy":"calm"`, explain.Depends, nil},
		{"one of each type", "All", `"absent":["n","text","data","parts","kind","weight"],"verdict":"allow","policy":"all"`, explain.Allow,
			[]string{`{"name":"n","value":"0","unsent":true}`, `{"name":"text","value":"\"\"","unsent":true}`, `{"name":"data.size","value":"0","unsent":true}`,
				`{"name":"parts.count","value":"0","unsent":true}`, `{"name":"kind","value":"LETTER","unsent":true}`, `{"name":"weight","value":"null","unsent":true}`}},
		{"no message", "Stamped", `"absent":["stamp","stamp.worn"],"verdict":"deny","reason":"default deny"`, explain.Deny,
			[]string{`{"condition":"has(stamp)","saw":[{"name":"stamp","value":"null","unsent":true}]}`}},
		{"a field of no message", "Loose", `"absent":["stamp","stamp.worn"],"verdict":"allow","policy":"loose"`, explain.Allow,
			[]string{`"saw":[{"name":"stamp","value":"null","unsent":true},{"name":"stamp.worn","value":"null","unsent":true}]`}},
		{"a message without the field", "Stamped", `"params":{"stamp":true},"absent":["stamp.worn"],"verdict":"allow","policy":"stamped"`, explain.Allow,
			[]string{`{"name":"stamp.worn","value":"false","unsent":true}`}},
		{"a message with the field", "Stamped", `"params":{"stamp":true,"stamp.worn":true},"verdict":"deny","reason":"default deny"`, explain.Deny,
			[]string{`"condition":"stamp.worn is false"`}},
		{"a message of which no more is known", "Stamped", `"params":{"stamp":true},"verdict":"allow","policy":"stamped"`, explain.Depends,
			[]string{`"args":"{\"stamp\": {}}"`}},
		{"a field of a message of which nothing is known", "Stamped", `"absent":["stamp.worn"],"verdict":"allow","policy":"stamped"`, explain.Depends, nil},
		{"metadata", "Tenant", `"absent":["ward.metadata.x-tenant"],"verdict":"allow","policy":"tenant"`, explain.Allow, nil},
		{"what there is not", "Flag", `"params":{"n":3},"absent":["urgent","nothing","n.n",".",""],"verdict":"allow","policy":"calm"`, explain.Allow, nil},
	} {
		rec, err := explain.ParseRecord([]byte(`{"event":"call","from":"writer","to":"server","method":"post.v1.Post/` + c.method + `",` + c.record + `}`))
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		all, err := s.Record(rec)
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %d explanations, %v", c.what, len(all), err)
			continue
		}
		text := encoded(t, all[0])
		missing := slices.DeleteFunc(slices.Clone(c.says), func(s string) bool { return strings.Contains(text, s) })
		if all[0].Verdict != c.verdict || len(missing) > 0 {
			t.Errorf("%s: want %s with %s, got %s", c.what, c.verdict, missing, text)
		}
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
