package policy_test

import (
	"strings"
	"testing"

	"ward/image"
	"ward/policy"
)

const streamSystem = `ward: 1
name: t
interfaces: [shop.proto]
policy: [policy.cedar]
metadata: { x-tenant: 64 }
domains:
  s: { program: /bin/s, exports: [t.v1.T] }
  c: { program: /bin/c }
`

const streamProto = `syntax = "proto3";
package t.v1;
message M { string s = 1; }
service T {
  rpc Unary(M) returns (M);
  rpc Up(stream M) returns (M);
  rpc Down(M) returns (stream M);
  rpc Both(stream M) returns (stream M);
}
`

// TestMetadataOfStreams: the metadata of a client's stream comes with the call
// that opens it, on which no policy decides: a forbid on it would look as if it
// held, and pass everything. The other way each item is decided with its own.
func TestMetadataOfStreams(t *testing.T) {
	const is = `context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] == "lab"`
	for _, c := range []struct {
		scope, when string
		refused     bool
	}{
		{`action == t::v1::Action::"T.Unary"`, is, false},
		{`action == t::v1::Action::"T.Down"`, is, false},
		{`action == t::v1::Action::"T.Up"`, is, true},
		{`action == t::v1::Action::"T.Both"`, is, true},
		{`action in t::v1::Action::"T"`, is, true},
		{`action in ward::Action::"call"`, is, true},
		{`action in t::v1::Action::"T"`, `action in [t::v1::Action::"T.Unary", t::v1::Action::"T.Down"] && ` + is, false},
		{`action in t::v1::Action::"T.reply"`, is, false},
		{`action == t::v1::Action::"T.Up.reply"`, is, false},
	} {
		for _, effect := range []string{"permit", "forbid"} {
			sys, set := load(t, streamSystem, streamProto)
			text := `@id("all") permit (principal, action in t::v1::Action::"T", resource);` + "\n" + `@id("p") ` + effect + ` (principal, ` + c.scope + `, resource) when { ` + c.when + ` };`
			img, l := policy.Compile(sys, set, []policy.Source{{Name: "p.cedar", Text: text}})
			if (img == nil) != c.refused || c.refused && !strings.Contains(l.Error(), "comes with the call that opens it") {
				t.Errorf("%s (%s) when %s: compiles %v\n%s", effect, c.scope, c.when, img != nil, l.Error())
			}
		}
	}
}

// TestMetadataIsOneThing: a key that a condition of a gate looks at is a String
// to all messages of that gate, and bytes where none does.
func TestMetadataIsOneThing(t *testing.T) {
	sys, set := load(t, strings.Replace(streamSystem, "  c: {", "  d: { program: /bin/d }\n  c: {", 1), streamProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "p.cedar", Text: `
@id("c") permit (principal == Domain::"c", action == t::v1::Action::"T.Unary", resource) when { context.ward.metadata has "x-tenant" };
@id("d") permit (principal == Domain::"d", action == t::v1::Action::"T.Unary", resource);`}})
	if img == nil {
		t.Fatal(l)
	}
	for i := range img.Routes {
		r := &img.Routes[i]
		if img.Domains[r.Server].Names {
			continue
		}
		want := map[string]image.Type{"c": image.String, "d": image.Bytes}[img.Domains[r.Client].Name]
		for _, f := range img.Section(r).Fields {
			if f.Name == "x-tenant" && f.Type != want || f.Name != "x-tenant" && f.Type != image.Bytes {
				t.Errorf("from %s: %s is of type %d", img.Domains[r.Client].Name, f.Name, f.Type)
			}
		}
	}
}
