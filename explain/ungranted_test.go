package explain_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/explain"
	"ward/policy"
)

// What system.yaml does not grant is explained by what it does grant, and by the
// line that would; what a policy forbids by the policy.
func TestUngranted(t *testing.T) {
	files := fstest.MapFS{
		"system.yaml": {Data: []byte(`ward: 1
name: web
interfaces: [test.proto]
policy: [policy.cedar]
domains:
  proxy: { program: /bin/proxy, connect: ["tcp:127.0.0.1:80"], children: { number: 1 } }
  cache: { program: /bin/cache, listen: { c: { address: "tcp:127.0.0.1:81", bind: domain } } }
  server: { program: /bin/server, exports: [test.v1.Echo] }
`)},
		"test.proto":   {Data: []byte("syntax = \"proto3\"; package test.v1; service Echo { rpc Say(Text) returns (Text); } service Spare { rpc Say(Text) returns (Text); } message Text { string text = 1; }")},
		"policy.cedar": {Data: []byte(`@id("no writing") forbid (principal, action == ward::Action::"open.write", resource);`)},
	}
	r, findings := compile.Dir(files)
	if r.Image == nil || findings.Failed() {
		t.Fatal(findings)
	}
	s := &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	for _, c := range []struct{ record, says string }{
		{`"event":"socket","from":"proxy","kind":"connect","address":"tcp:10.0.0.1:443","reason":"default deny"`,
			"it may connect and send to tcp:127.0.0.1:80, and nothing else\ndefault\nwrite `connect: [\"tcp:10.0.0.1:443\"]` for proxy in system.yaml"},
		{`"event":"socket","from":"proxy#3","kind":"send","address":"udp:10.0.0.1:53","reason":"default deny"`, "write `connect: [\"udp:10.0.0.1:53\"]` for proxy in"},
		{`"event":"socket","from":"cache","kind":"bind","address":"tcp:127.0.0.1:82","reason":"default deny"`,
			"it may bind tcp:127.0.0.1:81, and nothing else\ndefault\nwrite `listen: { NAME: { address: \"tcp:127.0.0.1:82\", bind: domain } }` for cache"},
		{`"event":"socket","from":"server","kind":"connect","address":"tcp:10.0.0.1:443","reason":"default deny"`, "it may connect and send to nothing\n"},
		{`"event":"socket","from":"cache","kind":"listen","address":"tcp:*:0","reason":"default deny"`, "nobody gets through to it"},
		{`"event":"published","from":"proxy","interface":"test.v1.Echo","reason":"default deny"`, "exports: [test.v1.Echo]"},
		{`"event":"published","from":"server","interface":"test.v1.Echo","policy":"no writing"`, "by forbid no writing\nno grant is of use: narrow the forbid \"no writing\" (policy.cedar:1)"},
		{`"event":"gate","from":"proxy","interface":"test.v1.Eco","reason":"no domain offers this interface"`, `offers an interface of this name; did you mean "test.v1.Echo"?`},
		{`"event":"gate","from":"proxy","interface":"test.v1.Spare","reason":"no domain offers this interface"`, "no domain of this system offers"},
	} {
		rec, err := explain.ParseRecord([]byte(`{"seq":7,"verdict":"deny",` + c.record + `}`))
		if err != nil {
			t.Errorf("%s: %v", c.record, err)
			continue
		}
		all, err := s.Record(rec)
		if err != nil || len(all) != 1 || all[0].Verdict != explain.Deny || all[0].Record != rec {
			t.Errorf("%s: %+v, %v", c.record, all, err)
			continue
		}
		if got := text(&all[0]); !strings.Contains(got, c.says) {
			t.Errorf("%s: %s; want %s", c.record, got, c.says)
		}
	}
	// The control: what was not refused is no case for it.
	if _, err := explain.ParseRecord([]byte(`{"event":"published","from":"server","interface":"test.v1.Echo","verdict":"allow"}`)); err == nil {
		t.Error("a publication that was allowed is explained")
	}
}
