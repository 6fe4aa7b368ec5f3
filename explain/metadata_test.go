package explain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"ward/cases"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

var lab = fstest.MapFS{
	"system.yaml": {Data: []byte(`ward: 1
name: lab
interfaces: [lab.proto]
policy: [policy.cedar]
metadata: { x-tenant: 8, a.b: 9, proof-bin: 16 }
domains:
  server: { program: /bin/server, exports: [lab.v1.Lab] }
  chief: { program: /bin/chief }
`)},
	"lab.proto": {Data: []byte(`syntax = "proto3";
package lab.v1;
message Probe { int32 n = 1; }
service Lab { rpc Run(Probe) returns (Probe); }
`)},
	"policy.cedar": {Data: []byte(`@id("tenants") permit (principal, action == lab::v1::Action::"Lab.Run", resource)
when { context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] == "lab" };
@id("dots") permit (principal, action == lab::v1::Action::"Lab.Run", resource)
when { context.ward.metadata has "a.b" && context.ward.metadata["a.b"] == "x" };
@id("proofs") forbid (principal, action == lab::v1::Action::"Lab.Run", resource)
when { if context.ward.metadata has "proof-bin" then context.ward.metadata["proof-bin"].size > 8 else false };
`)},
}

// What is said of metadata is by its name, and what is proposed allows the request.
func TestMetadata(t *testing.T) {
	r, findings := compile.Dir(lab)
	if findings.Failed() {
		t.Fatal(findings)
	}
	s := &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	none := []string{"ward.metadata.x-tenant=null", "ward.metadata.a.b=null", "ward.metadata.proof-bin=null"}
	for _, c := range []struct {
		what, verdict string
		args          []string
		says          string // in the explanation, as JSON
	}{
		{"a tenant", explain.Allow, []string{"ward.metadata.x-tenant=lab", none[2]}, `"name":"ward.metadata.x-tenant","value":"\"lab\""`},
		{"a key with a dot", explain.Allow, []string{none[0], "ward.metadata.a.b=x", none[2]}, `"dots"`},
		{"nothing", explain.Deny, none, `has(ward.metadata.x-tenant)`},
		{"another", explain.Deny, []string{"ward.metadata.x-tenant=la", none[1], none[2]}, `"set":[{"name":"ward.metadata.x-tenant","value":"\"lab\""}]`},
		{"a large proof", explain.Deny, []string{"ward.metadata.x-tenant=lab", "ward.metadata.proof-bin.size=12"}, `"set":[{"name":"ward.metadata.proof-bin.size","value":"8"}]`},
		{"longer than declared", explain.Deny, []string{"ward.metadata.x-tenant=ninebytes"}, `0 to 8 bytes`},
		{"nothing said", explain.Depends, nil, `ward: {metadata: {`},
	} {
		text, err := cases.Compact(s.Image, s.Set, "lab.v1.Lab/Run", false, c.args)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Question(cases.Question{From: "chief", Method: "lab.v1.Lab/Run", Args: text})
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", c.what, all, err)
		}
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(all[0]); err != nil || all[0].Verdict != c.verdict || !strings.Contains(b.String(), c.says) {
			t.Errorf("%s: want %s with %s, got %s", c.what, c.verdict, c.says, b.String())
		}
	}
	// A record's parameters lead to the same question.
	rec, err := explain.ParseRecord([]byte(`{"event":"call","from":"chief","to":"server","method":"lab.v1.Lab/Run","verdict":"deny","policy":"proofs","params":{"ward.metadata.a.b":"x","ward.metadata.proof-bin":{"size":9}}}`))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Record(rec)
	if err != nil || len(all) != 1 || all[0].Verdict != explain.Deny || rec.Changed(&all[0]) {
		t.Errorf("of a record: %+v, %v", all, err)
	}
}
