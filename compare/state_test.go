package compare

import (
	"maps"
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

// TestState: what differs in state or rates is told, with what it was and is.
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
	for _, c := range []struct {
		name, system, policy string
		change, want         string // of the change that is looked for, and words of it
		state                map[string]string
		wider                bool
	}{
		{"another value", system, strings.Replace(policy, `== "normal"`, `== "locked"`, 1), Allowed, "", map[string]string{"system.mode": "locked"}, true},
		{"less", system, strings.Replace(policy, `== "normal"`, `== "locked"`, 1), Denied, "", map[string]string{"system.mode": "normal"}, false},
		{"another state", system, strings.Replace(policy, "state.mode", "state.mood", 1), Allowed, "", map[string]string{"system.mode": "locked", "system.mood": "normal"}, true},
		{"a faster rate", system, strings.Replace(policy, "1/s", "2/s", 1), Changed, `rate of "read": was one in 1s, burst 1, now one in 500ms, burst 2`, nil, true},
		{"a slower rate", system, strings.Replace(policy, "1/s", "1/m", 1), Changed, `rate of "read": was one in 1s, burst 1, now one in 1m0s, burst 1`, nil, false},
		{"no rate", system, strings.Replace(policy, `@rate("1/s") `, "", 1), Changed, `rate of "read": was one in 1s, burst 1, now none`, nil, true},
		{"another effect", system, strings.Replace(policy, "system.mode=", "system.mood=", 1), Changed, `state that "read" enters: was system.mode=locked, now system.mood=locked`, nil, true},
		{"another move", strings.Replace(system, "moves: {normal: [locked]}", "moves: {normal: [locked], locked: [normal]}", 1), policy, Changed, "new move locked → normal", nil, true},
		{"another beginning", strings.Replace(system, "values: [normal, locked]", "values: [normal, locked], initial: locked", 1), strings.Replace(policy, `@enter("system.mode=locked") `, "", 1), Changed, "initial value: was normal, now locked", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Images(base, compiled(t, c.system, c.policy))
			found := false
			for _, x := range r.Changes {
				found = found || x.Change == c.change && x.NewAccess == c.wider && strings.Contains(x.Detail, c.want) && (c.state == nil || maps.Equal(c.state, x.State))
			}
			if !found {
				t.Errorf("%+v", r.Changes)
			}
		})
	}
}
