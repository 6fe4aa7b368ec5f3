package compare

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/image"
)

const wideSystem = `ward: 1
name: shop
interfaces: [shop.proto]
policy: [policy.cedar]
use: [ward/biba]
state:
  door: {per: system, values: [open, shut], moves: {open: [shut], shut: [open]}}
domains:
  shop: {program: /bin/shop, exports: [s.v1.Shop]}
  till: {program: /bin/till, children: {number: 2}, inherit: none}
  boy: {program: /bin/boy, template: true}
`

const wideProto = `syntax = "proto3";
package s.v1;
import "buf/validate/validate.proto";
message Order {
  repeated string tags = 1 [(buf.validate.field).repeated = {max_items: 4, items: {string: {max_len: 16}}}];
  repeated int32 numbers = 2 [(buf.validate.field).repeated.max_items = 4];
  string item = 3 [(buf.validate.field).string.max_len = 32];
}
message None {}
service Shop { rpc Buy(Order) returns (None); rpc Note(Order) returns (None); }
`

const widePolicy = `@id("buy") permit (principal == Domain::"till", action == s::v1::Action::"Shop.Buy", resource)
when { CONDITION };
@id("note") permit (principal == Domain::"till", action == s::v1::Action::"Shop.Note", resource);
`

// system compiles a system; of each pair one text is replaced by another.
func wide(t *testing.T, policy string, replace ...string) *image.Image {
	t.Helper()
	files := fstest.MapFS{"shop.proto": {Data: []byte(wideProto)}, "policy.cedar": {Data: []byte(policy)},
		"system.yaml": {Data: []byte(strings.NewReplacer(replace...).Replace(wideSystem))}}
	r, l := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(l)
	}
	return r.Image
}

func conditioned(t *testing.T, condition string) *image.Image {
	return wide(t, strings.Replace(widePolicy, "CONDITION", condition, 1))
}

// Conditions on the elements of repeated parameters, on their number, and
// patterns with gaps: a flip comes with an example on which the two policies
// differ, and what decides the same is proved to.
func TestElements(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		allows, denies string // examples; empty: no such flip
	}{
		{"an element more", `["new"].containsAll(context.tags.values)`, `["new", "used"].containsAll(context.tags.values)`, `map[tags:[used]]`, ""},
		{"a number more", `[1].containsAll(context.numbers.values)`, `[1, 2].containsAll(context.numbers.values)`, `map[numbers:[2]]`, ""},
		{"a forbidden element", `true`, `!context.tags.values.contains("bomb")`, "", `map[tags:[bomb]]`},
		{"some for all", `["new"].containsAll(context.tags.values)`, `["new"].containsAny(context.tags.values)`, `map[tags:[new ]]`, `map[tags:map[count:0]]`},
		{"another element", `context.tags.values.contains("a")`, `context.tags.values.contains("b")`, `map[tags:[b]]`, `map[tags:[a]]`},
		{"a count", `context.tags.count < 2`, `context.tags.count < 3`, `map[tags:map[count:2]]`, ""},
		{"a count and elements", `context.tags.count == 2 && ["new"].containsAll(context.tags.values)`, `context.tags.count == 2`, `map[tags:[ new]]`, ""},
		{"another middle", `context.item like "*-apple-*"`, `context.item like "*-pear-*"`, `map[item:-pear-]`, `map[item:-apple-]`},
		{"elements and a gap", `context.item like "a*b*c" && context.tags.count == 0`, `context.item like "a*b*c"`, `map[item:abc tags:map[count:1]]`, ""},
		{"the same elements", `["a", "b"].containsAll(context.tags.values)`, `["b", "a", "a"].containsAll(context.tags.values)`, "", ""},
		{"the same by an absurdity", `context.tags.values.contains("a")`, `context.tags.values.contains("a") && context.tags.count > 0`, "", ""},
		{"the same gaps", `context.item like "a*b*c" || context.item like "x*y*z"`, `context.item like "x*y*z" || context.item like "a*b*c"`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Images(conditioned(t, c.old), conditioned(t, c.new))
			got := map[string]string{}
			for _, x := range r.Changes {
				if x.Event != "call" || x.Method != "s.v1.Shop/Buy" || got[x.Change] != "" {
					t.Errorf("unlooked for: %+v", x)
				}
				got[x.Change] = fmt.Sprint(x.Args)
				if x.NewAccess != (x.Change == Allowed) {
					t.Errorf("new access %v: %+v", x.NewAccess, x)
				}
			}
			want := map[string]string{}
			if c.allows != "" {
				want[Allowed] = c.allows
			}
			if c.denies != "" {
				want[Denied] = c.denies
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if r.Equal+r.Proved == 0 {
				t.Error("nothing is said to be the same, but notes are")
			}
		})
	}
}

// That one pattern with gaps says no more than another is proved, if it does not.
func TestGapsAreProved(t *testing.T) {
	narrow, wide := conditioned(t, `context.item like "*x*"`), conditioned(t, `context.item like "*x*" || context.item like "*axb*"`)
	if r := Images(narrow, wide); len(r.Changes) != 0 || r.Proved == 0 {
		t.Errorf("%+v", r)
	}
	wider := conditioned(t, `context.item like "*x*" || context.item like "*a*b*"`)
	if r := Images(narrow, wider); len(r.Changes) != 1 || r.Changes[0].Change != Allowed || !r.Changes[0].NewAccess {
		t.Errorf("%+v", r.Changes)
	}
}

// Who may change the running system, make children and lend rights, and what is
// declared to carry nothing.
func TestRights(t *testing.T) {
	base := strings.Replace(widePolicy, "CONDITION", "true", 1)
	const reload = `@id("ops") permit (principal in Group::"ops", action == ward::Action::"reload", resource);`
	const set = `@id("night") permit (principal == User::"alice", action == ward::Action::"set", resource) when { context.state == "door" && context.value == "shut" };`
	const spawn = `@id("spawn") permit (principal == Domain::"till", action == ward::Action::"spawn", resource == Domain::"boy");`
	const lend = `@id("lend") permit (principal == Domain::"till", action == ward::Action::"grant", resource == Domain::"boy") when { context.entry == "s.v1.Shop/Buy" };`
	for _, c := range []struct {
		name        string
		add         string
		replace     []string
		there, back string // "change event from>to object detail user groups": added, and taken away again
	}{
		{"reload", reload, nil, `allow reload user:*>   "" [ops]`, `deny reload user:*>   "" [ops]`},
		{"set", set, nil, `allow set user:*> door=shut  "alice" []`, `deny set user:*> door=shut  "alice" []`},
		{"spawn", spawn, nil, `allow spawn till>boy   "" []`, `deny spawn till>boy   "" []`},
		{"grant", lend, nil, `allow grant till>boy s.v1.Shop/Buy  "" []`, `deny grant till>boy s.v1.Shop/Buy  "" []`},
		{"inherit", "", []string{"inherit: none", "inherit: all"}, `changed setting till> inherit what its children may have of its rights: nothing → all "" []`,
			`changed setting till> inherit what its children may have of its rights: all → nothing "" []`},
		{"inherit some", "", []string{"inherit: none", "inherit: [s.v1.Shop/Note]"}, `changed setting till> inherit what its children may have of its rights: nothing → s.v1.Shop/Note "" []`,
			`changed setting till> inherit what its children may have of its rights: s.v1.Shop/Note → nothing "" []`},
		{"flow", "", []string{"exports: [s.v1.Shop]", "exports: [{interface: s.v1.Shop, methods: {Note: {flow: call}}}]"},
			"changed reply shop>till s.v1.Shop/Note declared to carry nothing (`flow`): no metadata goes with it, and an error in its place says its code only \"\" []",
			"changed reply shop>till s.v1.Shop/Note no longer declared to carry nothing (`flow`): metadata may go with it, and an error in its place may say more than its code \"\" []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			without, with := wide(t, base), wide(t, base+c.add, c.replace...)
			for _, d := range []struct {
				from, to *image.Image
				want     string
				wider    bool
			}{{without, with, c.there, c.name != "flow"}, {with, without, c.back, c.name == "flow"}} {
				r := Images(d.from, d.to)
				found := false
				for _, x := range r.Changes {
					got := fmt.Sprintf("%s %s %s>%s %s%s %s %q %v", x.Change, x.Event, x.From, x.To, x.Object, x.Method, x.Detail, x.User, x.Groups)
					found = found || got == d.want && x.NewAccess == d.wider
				}
				if !found || len(r.Changes) != 1 {
					t.Errorf("want %s (new access: %v), got %+v", d.want, d.wider, r.Changes)
				}
			}
		})
	}
}
