package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/image"
	"ward/interfaces"
	"ward/policy"
	"ward/policy/eval"
)

const languageSystem = `ward: 1
name: lab
interfaces: [shop.proto]
policy: [policy.cedar]
metadata: { x-tenant: 64, ticket: 512, proof-bin: 32 }
domains:
  server:
    program: /usr/bin/server
    ring: service
    exports: [lab.v1.Lab, { interface: lab.v1.Door, socket: /run/lab.sock }]
  chief:
    program: /usr/bin/chief
    roles: [head, staff]
    ring: system
  guest:
    program: /usr/bin/guest
    ring: user
`

const languageProto = `syntax = "proto3";
package lab.v1;
import "buf/validate/validate.proto";

enum Kind { KIND_UNSPECIFIED = 0; RED = 1; GREEN = 2; BLUE = 7; }

message Probe {
  int64 n = 1;
  int64 m = 2;
  string s = 3;
  bool b = 4;
  Kind k = 5;
  bytes raw = 6;
  repeated string tags = 7 [(buf.validate.field).repeated = {max_items: 16, items: {string: {max_bytes: 64}}}];
  repeated int64 codes = 8;
  repeated Kind kinds = 9;
  repeated bool flags = 10;
  optional int64 maybe = 11;
  L1 deep = 12;
  oneof pick { string left = 13; int64 right = 14; }
  string name = 15 [(buf.validate.field).string.pattern = "^[a-z0-9-]{1,63}$"];
  repeated L7 parts = 16 [(buf.validate.field).repeated.max_items = 4];
  uint64 big = 17;
  repeated bytes blobs = 18 [(buf.validate.field).repeated.max_items = 4];
}
message L1 { L2 x = 1 [(buf.validate.field).required = true]; }
message L2 { L3 x = 1 [(buf.validate.field).required = true]; }
message L3 { L4 x = 1 [(buf.validate.field).required = true]; }
message L4 { L5 x = 1 [(buf.validate.field).required = true]; }
message L5 { L6 x = 1 [(buf.validate.field).required = true]; }
message L6 { L7 x = 1 [(buf.validate.field).required = true]; }
message L7 { int64 v = 1; repeated string tags = 2 [(buf.validate.field).repeated = {max_items: 8, items: {string: {max_bytes: 64}}}]; }
message Item { string s = 1; repeated int64 codes = 2; }

service Lab {
  rpc Run(Probe) returns (Item);
  rpc Watch(Item) returns (stream Item);
}
service Door { rpc Knock(Item) returns (Item); }
`

// A sentence is a condition of the language: messages of which it holds, and
// messages of which it does not.
type sentence struct {
	what, cond string
	yes, no    []string // text form of Probe; after each "|" KEY=VALUE of metadata
}

var deep = "deep { x { x { x { x { x { x { %s } } } } } } }"

var language = []sentence{
	{"numbers compared", "context.n < 5 && context.n >= -1 && context.n != 3 && context.n <= context.m", []string{"n: 2 m: 2", "n: -1"}, []string{"n: 3 m: 9", "n: 2 m: 1", "n: -2"}},
	{"unsigned to 2^63-1", "context.big > 9223372036854775806", []string{"big: 9223372036854775807"}, []string{"big: 9223372036854775806"}},
	{"Bool", "context.b && !(context.b == false)", []string{"b: true"}, []string{""}},
	{"enum by name", `context.k == "GREEN" || context.k like "R*"`, []string{"k: GREEN", "k: RED"}, []string{"k: BLUE"}},
	{"size of bytes", "context.raw.size > 2", []string{`raw: "abc"`}, []string{`raw: "ab"`}},
	{"has, optional", "context has maybe && context.maybe == 0", []string{"maybe: 0"}, []string{"", "maybe: 1"}},
	{"oneof", `if context has left then context.left == "l" else context has right`, []string{`left: "l"`, "right: 1"}, []string{`left: "x"`, ""}},
	{"parameters deep down", "context has deep && context.deep.x.x.x.x.x.x.v == 7", []string{fmt.Sprintf(deep, "v: 7")}, []string{fmt.Sprintf(deep, ""), ""}},
	{"elements deep down", `context has deep && context.deep.x.x.x.x.x.x.tags.values.contains("t")`, []string{fmt.Sprintf(deep, `tags: "t"`)}, []string{fmt.Sprintf(deep, `tags: "u"`)}},
	{"count of elements", "context.tags.count == 2", []string{`tags: ["a", "b"]`}, []string{`tags: "a"`}},
	{"contains, strings", `context.tags.values.contains("x")`, []string{`tags: ["a", "x"]`}, []string{"", `tags: "xx"`}},
	{"containsAny, strings", `context.tags.values.containsAny(["x", ""])`, []string{`tags: ["a", ""]`}, []string{"", `tags: "a"`}},
	{"containsAll, strings", `context.tags.values.containsAll(["x", "y"])`, []string{`tags: ["y", "a", "x"]`}, []string{`tags: ["x", "x"]`}},
	{"every element is one of", `["x", "y"].containsAll(context.tags.values)`, []string{"", `tags: ["y", "y"]`}, []string{`tags: ["x", "z"]`}},
	{"the elements are", `context.tags.values == ["x", "y"]`, []string{`tags: ["y", "x", "y"]`}, []string{`tags: "x"`, `tags: ["x", "y", "z"]`}},
	{"messages and bytes among elements", "context.parts.count == 1 && !context.parts.values.isEmpty() && context.blobs.values.isEmpty()", []string{`parts: {v: 5}`}, []string{"", `parts: {v: 5} blobs: "x"`, `parts: {} parts: {}`}},
	{"isEmpty", "context.tags.values.isEmpty()", []string{""}, []string{`tags: ""`}},
	{"contains, integers", "context.codes.values.contains(-3)", []string{"codes: [1, -3]"}, []string{"codes: 3"}},
	{"every integer is one of", "[1, 2, 3].containsAll(context.codes.values)", []string{"codes: [1, 1]", ""}, []string{"codes: [1, 4]"}},
	{"contains, enums", `context.kinds.values.contains("BLUE")`, []string{"kinds: [RED, BLUE]"}, []string{"kinds: RED"}},
	{"every enum is one of", `["RED", "GREEN"].containsAll(context.kinds.values)`, []string{"kinds: [RED, GREEN]"}, []string{"kinds: BLUE"}},
	{"contains, Bools", "context.flags.values.contains(true) && !context.flags.values.contains(false)", []string{"flags: true"}, []string{"flags: [true, false]", ""}},
	{"elements by what the client is", `[principal.name, "x"].containsAll(context.tags.values)`, []string{`tags: "chief"`}, []string{`tags: "guest"`}},
	{"a set of constants", `["a", "b"].contains(context.s) || [1, 7].contains(context.n)`, []string{`s: "b"`, "n: 7"}, []string{`s: "c"`}},
	{"10,000 strings", tenThousand(func(i int) string { return fmt.Sprintf("%q", fmt.Sprintf("host-%d.example", i)) }) + ".contains(context.s)",
		[]string{`s: "host-0.example"`, `s: "host-9999.example"`}, []string{`s: "host-10000.example"`, ""}},
	{"10,000 numbers", tenThousand(func(i int) string { return fmt.Sprint(i * 1001) }) + ".contains(context.n)", []string{"", "n: 1001", "n: 10008999"}, []string{"n: 1000"}},
	{"like, prefix and suffix", `context.s like "a*" && context.s like "*z"`, []string{`s: "abcz"`}, []string{`s: "abc"`}},
	{"like, both ends", `context.s like "ab*ba"`, []string{`s: "abba"`, `s: "ab-ba"`}, []string{`s: "aba"`}},
	{"like, in the middle", `context.s like "*needle*"`, []string{`s: "needle"`, `s: "hay needneedle hay"`}, []string{`s: "needl e"`}},
	{"like, several", `context.s like "/srv/*/www/*.html"`, []string{`s: "/srv/a/www/x.html"`}, []string{`s: "/srv/a/ww/x.html"`, `s: "/srv//wwwx.html"`}},
	{"like, an escaped star", `context.s like "*\**"`, []string{`s: "a*b"`}, []string{`s: "ab"`}},
	{"pattern of one class", `context.name != "root"`, []string{`name: "www-1"`}, []string{`name: "root"`}},
	{"if of Bool, anywhere", `(if context.b then context.n == 1 else context.s == "x") && !(if context.n > 100 then true else false)`, []string{"b: true n: 1", `s: "x"`}, []string{"n: 1", `s: "x" n: 101`}},
	{"if of Long and String", `context.n < (if context.b then 10 else 2) && context.s != (if principal in Role::"staff" then "x" else "y")`, []string{"b: true n: 9", "n: 1"}, []string{"n: 2", `s: "x"`}},
	{"metadata", `context.ward.metadata has ticket && context.ward.metadata.ticket == "a"`, []string{"|ticket=a"}, []string{"", "|ticket=b", "|ticket=", "|x-tenant=a", `s: "a"`}},
	{"metadata of a key that is no name", `context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] != "lab" && context.n == 0`, []string{"|x-tenant=", "|x-tenant=labs"}, []string{"", "|x-tenant=lab", "n: 1|x-tenant=x"}},
	{"metadata absent or not", `if context.ward.metadata has ticket then context.ward.metadata.ticket != "stolen" else context.b`, []string{"b: true", "|ticket=mine"}, []string{"", "b: true|ticket=stolen"}},
	{"metadata in a set", `context.ward.metadata has ticket && ["a", "b"].contains(context.ward.metadata.ticket)`, []string{"|ticket=b"}, []string{"|ticket=ab", "|ticket="}},
	{"metadata in 10,000 strings", "context.ward.metadata has ticket && " + tenThousand(func(i int) string { return fmt.Sprintf("%q", fmt.Sprintf("t-%d", i)) }) + ".contains(context.ward.metadata.ticket)",
		[]string{"|ticket=t-0", "|ticket=t-9999"}, []string{"|ticket=t-10000", ""}},
	{"metadata, like", `context.ward.metadata has ticket && context.ward.metadata.ticket like "ab*yz" && context.ward.metadata.ticket like "*m*n*"`, []string{"|ticket=ab-mn-yz"}, []string{"|ticket=ab-nm-yz", "|ticket=abyz"}},
	{"the trace context, without a declaration", `context.ward.metadata has traceparent && context.ward.metadata.traceparent like "00-*-01"`, []string{"|traceparent=00-a-01"}, []string{"|traceparent=00-a-00", "|tracestate=00-a-01"}},
	{"size of binary metadata", `context.ward.metadata has "proof-bin" && context.ward.metadata["proof-bin"].size == 2`, []string{"|proof-bin=ab"}, []string{"", "|proof-bin=abc"}},
	{"is, in, roles", `principal is Domain && principal in Role::"head" && principal in [Role::"staff"] && principal is Domain in Role::"staff" && context.n == 0`, []string{""}, []string{"n: 1"}},
	{"attributes, arithmetic on constants", "context.n < principal.ring.level * 10 + 1 && context.m < -(-3) - 1", []string{"n: 20"}, []string{"n: 21", "m: 2"}},
	{"extension types on constants", `ip("10.1.2.3").isInRange(ip("10.0.0.0/8")) && decimal("1.5").lessThan(decimal("1.6")) && datetime("2026-01-02").offset(duration("1d")).toTime() == duration("0s") && context.b`, []string{"b: true"}, []string{""}},
	{"set operations on constants", `[1, 2, 3].containsAll([principal.ring.level]) && [principal.name].containsAny(["chief"]) && {a: {b: 3}}.a.b == 3 && principal.name like "ch*f" && context.b`, []string{"b: true"}, []string{""}},
}

func tenThousand(f func(int) string) string {
	all := make([]string, 10_000)
	for i := range all {
		all[i] = f(i)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// labImage compiles a policy for the system of the language's tests.
func labImage(t *testing.T, text string) (*image.Image, *interfaces.Set) {
	t.Helper()
	sys, set := load(t, languageSystem, languageProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
	if img == nil {
		t.Fatal(l)
	}
	return img, set
}

// TestLanguage has one policy for each thing that the language promises.
func TestLanguage(t *testing.T) {
	for _, s := range language {
		t.Run(s.what, func(t *testing.T) {
			img, set := labImage(t, `@id("p") permit (principal == Domain::"chief", action == lab::v1::Action::"Lab.Run", resource) when { `+s.cond+" };")
			if len(img.Routes) == 0 {
				t.Fatal("no route: the condition is never true")
			}
			for i, texts := range [][]string{s.no, s.yes} {
				for _, text := range texts {
					if got := decideText(t, img, set, text); got.Allow != (i == 1) {
						t.Errorf("%s on %q: %v", s.cond[:min(len(s.cond), 200)], text, got)
					}
				}
			}
			if len(s.yes) == 0 || len(s.no) == 0 {
				t.Error("a sentence without examples of both")
			}
		})
	}
}

// decideText decides on a Probe from chief to server.
func decideText(t *testing.T, img *image.Image, set *interfaces.Set, text string) image.Verdict {
	t.Helper()
	for i, f := range set.Interfaces {
		if f.Name != "lab.v1.Lab" {
			continue
		}
		m := dynamicpb.NewMessage(set.Services[i].Methods().Get(0).Input())
		parts := strings.Split(text, "|")
		if err := prototext.Unmarshal([]byte(parts[0]), m); err != nil {
			t.Fatal(err)
		}
		beside := map[uint32]string{}
		for _, p := range parts[1:] {
			key, value, _ := strings.Cut(p, "=")
			at := slices.IndexFunc(img.Metadata, func(k image.Metadata) bool { return k.Key == key })
			if at < 0 {
				t.Fatalf("no key %q", key)
			}
			beside[uint32(at)] = value
		}
		for r := range img.Routes {
			if int(img.Routes[r].Interface) == i && img.Domains[img.Routes[r].Client].Name == "chief" {
				v, _ := eval.Decide(&img.Routes[r].Methods[0].Request, eval.WithMetadata(eval.Message(m), beside), eval.Client{})
				return v
			}
		}
	}
	return image.Verdict{Policy: abi.NoPolicy}
}

// A refusal is something that a filter cannot decide: what the compiler says,
// and a condition that does what is meant.
type refusal struct {
	what, cond string
	says       string // what the finding must say to do
	instead    string // compiles
}

var refusals = []refusal{
	{"two strings", "context.s == context.name", `context.x == "a"`, `context.s == "x" && context.name == "x"`},
	{"a string among parameters", `[context.s, "x"].contains(context.name)`, `context.x == "a"`, `["x", "y"].contains(context.name)`},
	{"elements and a parameter", "context.tags.values.contains(context.s)", "by constants", `context.tags.values.contains("x") && context.s == "x"`},
	{"elements of two", "context has deep && context.tags.values.containsAny(context.deep.x.x.x.x.x.x.tags.values)", "by constants", `context.tags.values.containsAny(["a", "b"])`},
	{"an element that is part of a message", "context.parts.values.contains({v: 1})", "", "context.parts.count <= 4"},
	{"elements that are messages", `context.parts.values.contains({v: 1, tags: {count: 1, values: ["x"]}})`, "state the rule for each element in the interface", "context.parts.count <= 4"},
	{"every element is a message", `[{v: 1, tags: {count: 1, values: ["x"]}}].containsAll(context.parts.values)`, "decide on .count", "context.parts.count == 1 || context.parts.values.isEmpty()"},
	{"elements that are bytes", "context.blobs.values.contains({size: 3})", "(repeated.items, or the rules of the message)", "context.blobs.count < 3"},
	{"arithmetic", "context.n + 1 < 5", "move the arithmetic to the constants", "context.n < 5 - 1"},
	{"product", "context.n * context.m < 100", "state the bound in the interface", "context.n < 10 && context.m < 10"},
	{"negation", "-context.n < 5", "move the arithmetic to the constants", "context.n > -5"},
	{"absent", "context.maybe > 3", "context has maybe && ", "context has maybe && context.maybe > 3"},
	{"member of a oneof", `context.left == "l"`, "context has left && ", `context has left && context.left == "l"`},
	{"extension type of a parameter", "ip(context.s).isLoopback()", "decide on numbers", `["127.0.0.1", "::1"].contains(context.s)`},
	{"the bytes themselves", `context.raw == "abc"`, ".size", "context.raw.size == 3"},
	{"a whole message", "context has deep && context.deep == context.deep", "compare the attributes one by one", "context has deep && context.deep.x.x.x.x.x.x.v == 1"},
	{"a long pattern in the middle", `context.s like "*` + strings.Repeat("x", 70) + `*"`, "at the ends", `context.s like "` + strings.Repeat("x", 70) + `*" || context.s like "*` + strings.Repeat("x", 70) + `"`},
	{"an enum's value", `context.k == "PURPLE"`, "there is: KIND_UNSPECIFIED, RED, GREEN, BLUE", `context.k == "RED"`},
	{"an enum's value among elements", `context.kinds.values.contains("REDD")`, `did you mean "RED"`, `context.kinds.values.contains("RED")`},
	{"a type", `context.n == "5"`, "write 5 without quotes", "context.n == 5"},
	{"an element's type", `context.tags.values.contains(5)`, "", `context.tags.values.contains("5")`},
	{"a mistyped parameter", "context.nn == 5", `did you mean "n"`, "context.n == 5"},
	{"a mistyped role", `principal in Role::"haed" && context.b`, `did you mean "head"`, `principal in Role::"head" && context.b`},
	{"tags", `principal.hasTag("x") && context.b`, "use attributes", `principal.name == "chief" && context.b`},
	{"overflow of constants", "context.n < 9223372036854775807 + 1", "change the constants", "context.n < 9223372036854775807"},
	{"metadata that is not declared", `context.ward.metadata has "x-tenent" && context.b`, `did you mean "x-tenant"`, `context.ward.metadata has "x-tenant" && context.b`},
	{"metadata that nothing is like", `context.ward.metadata["authorization"] == "x"`, "declare it with its size under metadata in system.yaml", `context.ward.metadata has ticket && context.ward.metadata.ticket == "x"`},
	{"metadata without has", `context.ward.metadata["x-tenant"] == "lab"`, `context.ward.metadata has "x-tenant" && `, `context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] == "lab"`},
	{"metadata of another key is there", `context.ward.metadata has ticket && context.ward.metadata["x-tenant"] == "lab"`, `context.ward.metadata has "x-tenant" && `, `context.ward.metadata has ticket && context.ward.metadata has "x-tenant" && context.ward.metadata["x-tenant"] == "lab"`},
	{"metadata as a number", `context.ward.metadata has ticket && context.ward.metadata.ticket > 5`, "", `context.ward.metadata has ticket && context.ward.metadata.ticket == "5"`},
	{"two metadata values", `context.ward.metadata has ticket && context.ward.metadata has "x-tenant" && context.ward.metadata.ticket == context.ward.metadata["x-tenant"]`, `context.x == "a"`, `context.ward.metadata has ticket && context.ward.metadata.ticket == "a"`},
	{"the bytes of binary metadata", `context.ward.metadata has "proof-bin" && context.ward.metadata["proof-bin"] == "x"`, ".size", `context.ward.metadata has "proof-bin" && context.ward.metadata["proof-bin"].size == 1`},
	{"a number for a truth", "context.n", "compare it with a number", "context.n == 1"},
	{"a text for a truth", "context.s || context.b", `.contains(…)`, `context.s == "x" || context.b`},
	{"elements for a truth", "context.tags.values", ".isEmpty()", "!context.tags.values.isEmpty()"},
	{"an order of texts", `context.s < "m"`, "only numbers have an order", `context.s like "a*"`},
	{"in a text", `principal in "head" && context.b`, `Role::"…"`, `principal in Role::"head" && context.b`},
	{"a text for an address", `ip("10.1.2.3").isInRange("10.0.0.0/8") && context.b`, "write ip(\"…\")", `ip("10.1.2.3").isInRange(ip("10.0.0.0/8")) && context.b`},
	{"a string that does not end", `context.s == "x`, `close the string with "`, `context.s == "x"`},
	{"all metadata", `context.ward.metadata == context.ward.metadata`, "compare the attributes one by one", `context.ward.metadata has ticket`},
}

// TestRefusals: each is refused, says what to write instead, and that compiles.
// testdata/refusals.golden has the words, for a reader to judge.
func TestRefusals(t *testing.T) {
	var b strings.Builder
	for _, r := range refusals {
		sys, set := load(t, languageSystem, languageProto)
		text := func(cond string) []policy.Source {
			return []policy.Source{{Name: "policy.cedar", Text: `@id("p") permit (principal == Domain::"chief", action == lab::v1::Action::"Lab.Run", resource)
when { ` + cond + ` };`}}
		}
		img, l := policy.Compile(sys, set, text(r.cond))
		if img != nil || !l.Failed() {
			t.Errorf("%s: %s compiles", r.what, r.cond)
			continue
		}
		if !strings.Contains(l.Error(), r.says) {
			t.Errorf("%s: does not say %q:\n%s", r.what, r.says, l.Error())
		}
		for _, f := range l {
			if f.Fix == "" {
				t.Errorf("%s: does not say what to do: %v", r.what, f)
			}
		}
		fmt.Fprintf(&b, "%s\n%s\n%s\n\n", r.what, r.cond, l.Error())
		if img, l := policy.Compile(sys, set, text(r.instead)); img == nil {
			t.Errorf("%s: what to write instead does not compile: %v", r.what, l)
		}
	}
	golden(t, "refusals.golden", b.String())
}
