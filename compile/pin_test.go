package compile_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
)

// TestProgramIdentity: a policy that asks for the digest of a program is
// decided when the system is compiled, by what `digest` states or by what the
// programs were pinned to.
func TestProgramIdentity(t *testing.T) {
	sum, other := "sha256:"+strings.Repeat("ab", 32), "sha256:"+strings.Repeat("cd", 32)
	files := func(digest string) fstest.MapFS {
		return fstest.MapFS{
			"system.yaml": {Data: []byte("ward: 1\nname: x\ninterfaces: [a.proto]\npolicy: [a.cedar]\ndomains:\n" +
				"  server: {program: /bin/s, exports: [a.v1.A]}\n  client: {program: /bin/c" + digest + "}\n")},
			"a.proto": {Data: []byte("syntax = \"proto3\";\npackage a.v1;\nmessage M { int32 n = 1; }\nservice A { rpc Get(M) returns (M); }\n")},
			"a.cedar": {Data: []byte("@id(\"the right program\")\npermit (principal is Domain, action == a::v1::Action::\"A.Get\", resource)\nwhen { principal.program == \"" + sum + "\" };\n")},
		}
	}
	for _, c := range []struct {
		what, stated string
		pinned       map[string]string
		route        bool
	}{
		{"not pinned", "", nil, false},
		{"stated", ", digest: \"" + sum + "\"", nil, true},
		{"another one stated", ", digest: \"" + other + "\"", nil, false},
		{"pinned", "", map[string]string{"client": sum}, true},
		{"another one pinned", "", map[string]string{"client": other}, false},
		{"the server is pinned", "", map[string]string{"server": sum}, false},
	} {
		r, l := compile.Pinned(files(c.stated), c.pinned)
		if l.Failed() {
			t.Fatalf("%s: %v", c.what, l)
		}
		found := false
		for _, route := range r.Image.Routes {
			if route.Client >= 0 && int(route.Client) < len(r.Image.Domains) && r.Image.Domains[route.Client].Name == "client" && r.Image.Interfaces[route.Interface].Name == "a.v1.A" {
				found = true
			}
		}
		if found != c.route {
			t.Errorf("%s: there is a route: %v", c.what, found)
		}
		for _, d := range r.Image.Domains {
			if len(c.pinned[d.Name]) > 0 && len(d.Digest) != 32 {
				t.Errorf("%s: domain %s has no digest", c.what, d.Name)
			}
		}
	}
}
