package lint_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/lint"
	"ward/policy"
)

// TestListen: a port that a domain has no privilege to bind is told; one that Ward
// binds, or that takes none, is not.
func TestListen(t *testing.T) {
	const self = ", bind: domain }"
	for _, c := range []struct {
		name, a, b string
		want       []string
	}{
		{"nothing", `{ address: "tcp:127.0.0.1:8080"` + self, `{ address: "tcp:127.0.0.1:8081"` + self, nil},
		{"a low port", `{ address: "tcp:127.0.0.1:80"` + self, `"tcp:127.0.0.1:81"`, []string{"a is to bind port 80 itself, and has no privilege for a port below 1024"}},
		{"the first that is not", `{ address: "udp:[::1]:1023"` + self, `{ address: "udp:[::1]:1024"` + self, []string{"a is to bind port 1023 itself, and has no privilege for a port below 1024"}},
		{"what Ward binds", `"tcp:127.0.0.1:80"`, `"udp:127.0.0.1:53"`, nil},
		{"a path", `"unix:/run/a.sock"`, `"unix:/run/b.sock"`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, findings := compile.Dir(fstest.MapFS{"system.yaml": {Data: []byte("ward: 1\nname: q\ndomains:\n  a: { program: /bin/true, listen: { s: " + c.a + " } }\n  b: { program: /bin/true, listen: { s: " + c.b + " } }\n")}})
			if r.Image == nil {
				t.Fatal(findings)
			}
			var got []string
			for _, f := range lint.Find(lint.System{Image: r.Image, System: r.System, Set: r.Set, Policies: policy.Outlines(r.Sources)}) {
				if f.Lint == lint.LowPort {
					got = append(got, f.Message)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
