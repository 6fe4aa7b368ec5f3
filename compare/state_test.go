package compare

import (
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/image"
)

// compiled compiles a small system with state.
func compiled(t *testing.T, system, policy string) *image.Image {
	t.Helper()
	files := fstest.MapFS{
		"system.yaml":  {Data: []byte(system)},
		"vault.proto":  {Data: []byte("syntax = \"proto3\";\npackage v.v1;\nmessage M { bool ok = 1; }\nservice Vault { rpc Read(M) returns (M); }\n")},
		"policy.cedar": {Data: []byte(policy)},
	}
	r, l := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(l)
	}
	return r.Image
}

// TestState: what differs in state or rates is never taken for the same.
func TestState(t *testing.T) {
	const system = `ward: 1
name: vault
interfaces: [vault.proto]
policy: [policy.cedar]
state:
  mode: {per: system, values: [normal, locked], moves: {normal: [locked]}}
  mood: {per: system, values: [normal, locked], moves: {normal: [locked]}}
domains:
  vault: {program: /bin/vault, exports: [v.v1.Vault]}
  clerk: {program: /bin/clerk}
`
	const policy = `@id("read") @enter("system.mode=locked") @rate("1/s") permit (principal, action == v::v1::Action::"Vault.Read", resource)
when { System::"vault".state.mode == "normal" && context.ok };`
	base := compiled(t, system, policy)
	if r := Images(base, compiled(t, system, policy)); len(r.Changes) != 0 {
		t.Fatalf("the same differs: %+v", r.Changes)
	}
	for _, c := range []struct{ name, system, policy, want string }{
		{"another value", system, strings.Replace(policy, `== "normal"`, `== "locked"`, 1), "looks at state"},
		{"another state", system, strings.Replace(policy, "state.mode", "state.mood", 1), "looks at state"},
		{"another rate", system, strings.Replace(policy, "1/s", "2/s", 1), "what an admitted message enters"},
		{"another effect", system, strings.Replace(policy, "system.mode=", "system.mood=", 1), "what an admitted message enters"},
		{"another move", strings.Replace(system, "moves: {normal: [locked]}", "moves: {normal: [locked], locked: [normal]}", 1), policy, "looks at state"},
		{"another beginning", strings.Replace(system, "values: [normal, locked]", "values: [normal, locked], initial: locked", 1), strings.Replace(policy, `@enter("system.mode=locked") `, "", 1), "looks at state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := false
			for _, x := range Images(base, compiled(t, c.system, c.policy)).Changes {
				found = found || x.NewAccess && strings.Contains(x.Detail, c.want)
			}
			if !found {
				t.Error("not reported as new access that cannot be excluded")
			}
		})
	}
}
