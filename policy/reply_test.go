package policy_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/policy"
	"ward/policy/eval"
)

const replyYAML = `ward: 1
name: replies
interfaces: [shop.proto]
policy: [policy.cedar]
domains:
  server: { program: /bin/server, exports: [{interface: test.v1.Echo, socket: /run/test.sock}] }
  client: { program: /bin/client }
`

const replyProto = `syntax = "proto3";
package test.v1;
service Echo { rpc Say(Text) returns (Text); }
message Text { int32 n = 1; }
`

// decideOn compiles the policies, and returns what becomes of a message on the
// route of a client.
func decideOn(t *testing.T, cedar, client string) (*image.Image, func(reply bool, text string) (allow bool, by string)) {
	t.Helper()
	sys, set := load(t, replyYAML, replyProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: cedar}})
	if img == nil {
		t.Fatal(l)
	}
	desc := set.Services[0].Methods().Get(0).Input()
	for i := range set.Interfaces {
		if set.Interfaces[i].Name == "test.v1.Echo" {
			desc = set.Services[i].Methods().Get(0).Input()
		}
	}
	return img, func(reply bool, text string) (bool, string) {
		t.Helper()
		msg := dynamicpb.NewMessage(desc)
		if err := prototext.Unmarshal([]byte(text), msg); err != nil {
			t.Fatal(err)
		}
		for _, r := range img.Routes {
			name := "user"
			if r.Client != abi.NoDomain {
				name = img.Domains[r.Client].Name
			}
			if name != client || img.Interfaces[r.Interface].Name != "test.v1.Echo" {
				continue
			}
			d := &r.Methods[0].Request
			if reply {
				d = &r.Methods[0].Reply
			}
			v, _ := eval.Decide(d, eval.Message(msg), eval.Client{})
			if v.Policy == abi.NoPolicy {
				return v.Allow, "default"
			}
			return v.Allow, img.Policies[v.Policy].ID
		}
		t.Fatalf("no route of %s", client)
		return false, ""
	}
}

// TestImpliedReply: what the policies do not say of a reply is implied; once a
// permit names the reply, its conditions count, and nothing is implied.
func TestImpliedReply(t *testing.T) {
	const call = `@id("call") permit (principal == Domain::"client", action, resource);` + "\n"
	for _, c := range []struct {
		name, cedar  string
		small, large string // who decides on replies of 1 and of 100; "!" before one who denies
	}{
		{"nothing said", ``, "implied: replies to admitted calls", "implied: replies to admitted calls"},
		{"a permit", `@id("small") permit (principal, action == test::v1::Action::"Echo.Say.reply", resource) when { context.n < 10 };`, "small", "!default"},
		{"a permit for the group", `@id("small") permit (principal, action in ward::Action::"reply", resource) when { context.n < 10 };`, "small", "!default"},
		{"a permit for others", `@id("small") permit (principal, action in ward::Action::"reply", resource is User) when { context.n < 10 };`,
			"implied: replies to admitted calls", "implied: replies to admitted calls"},
		{"a forbid", `@id("large") forbid (principal, action == test::v1::Action::"Echo.Say.reply", resource) when { context.n > 10 };`,
			"implied: replies to admitted calls", "!large"},
		{"both", `@id("any") permit (principal, action in ward::Action::"reply", resource);
@id("large") forbid (principal, action in ward::Action::"reply", resource) when { context.n > 10 };`, "any", "!large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, decide := decideOn(t, call+c.cedar, "client")
			for text, want := range map[string]string{"n: 1": c.small, "n: 100": c.large} {
				by, denies := strings.CutPrefix(want, "!")
				if allow, got := decide(true, text); allow == denies || got != by {
					t.Errorf("%s: allow %v by %q, want %q", text, allow, got, want)
				}
			}
		})
	}
}

// TestConnectIsAsWideAsCalls: a user outside gets a gate if, and only if, some
// call of theirs could be permitted.
func TestConnectIsAsWideAsCalls(t *testing.T) {
	const action = `action in test::v1::Action::"Echo", resource`
	for _, c := range []struct {
		name, cedar  string
		alice, other bool
	}{
		{"named", `permit (principal == User::"alice", ` + action + `);`, true, false},
		{"not named", `permit (principal is User, ` + action + `) when { principal != User::"alice" };`, false, true},
		{"for small messages", `permit (principal is User, ` + action + `) when { !(principal == User::"alice" && context.n > 3) };`, true, true},
		{"only large ones of others", `permit (principal is User, ` + action + `) when { !(principal == User::"alice" || context.n < 3) };`, false, true},
		{"if", `permit (principal is User, ` + action + `) when { if principal == User::"alice" then context.n > 3 else false };`, true, false},
		{"if by the message", `permit (principal is User, ` + action + `) when { if context.n > 3 then principal == User::"alice" else false };`, true, false},
		{"forbidden", `permit (principal is User, ` + action + `);` + "\n" + `@id("not her") forbid (principal == User::"alice", action, resource);`, false, true},
		{"forbidden when large", `permit (principal is User, ` + action + `);` + "\n" + `@id("not her") forbid (principal == User::"alice", ` + action + `) when { context.n > 3 };`, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, _ := decideOn(t, `@id("it") `+c.cedar, "user")
			for _, r := range img.Routes {
				if r.Client != abi.NoDomain {
					continue
				}
				for who, want := range map[string]bool{"alice": c.alice, "bob": c.other} {
					client := eval.Client{User: func(a uint32) bool { return img.Users[a] == who }}
					v, _ := eval.Decide(&r.ConnectUser, nil, client)
					if len(r.ConnectUser.Permit)+len(r.ConnectUser.Forbid) == 0 {
						v = r.Connect
					}
					if v.Allow != want {
						t.Errorf("%s connects: %v, want %v", who, v.Allow, want)
					}
				}
			}
		})
	}
}
