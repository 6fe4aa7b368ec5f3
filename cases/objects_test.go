package cases

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"ward/abi"
	"ward/compile"
)

// The system of these tests: its domains have no way to each other but those
// that a test's policies give. Replies are forbidden, so that a call is no way back.
const objectsSystem = `ward: 1
name: objects
interfaces: [o.proto]
policy: [base.cedar, policy.cedar]
objects:
  frames: {kind: memory, size: 64KiB}
  other: {kind: memory, size: 64KiB}
  board: {kind: memory, size: 4KiB, shared: true}
  orders: {kind: mailbox, interface: o.v1.Orders}
domains:
  a: {program: /bin/true, exports: [o.v1.Give]}
  b: {program: /bin/true, exports: [o.v1.Give, o.v1.Get]}
  c: {program: /bin/true, exports: [o.v1.Give]}
  d: {program: /bin/true, exports: [o.v1.Give]}
  keeper: {program: /bin/true}
`

const objectsProto = `syntax = "proto3";
package o.v1;
import "ward/v1/handle.proto";
import "buf/validate/validate.proto";
message Frame {
  ward.v1.Handle frame = 1 [(buf.validate.field).required = true];
  string note = 2 [(buf.validate.field).string.max_bytes = 64];
}
message Inner { ward.v1.Handle frame = 3; }
message Wrapped { Inner inner = 2; }
message Order { int32 count = 1 [(buf.validate.field).int32 = {gte: 1, lte: 9}]; }
message None {}
service Give { rpc One(Frame) returns (None); rpc Some(Wrapped) returns (None); }
service Get { rpc Fetch(None) returns (Frame); }
service Orders { rpc Place(Order) returns (None); }
`

const objectsBase = `@id("calls are one way") forbid (principal, action in ward::Action::"reply", resource) unless { resource == Domain::"d" };
@id("the keeper reads orders") permit (principal == Domain::"READER", action == ward::Action::"open.read", resource == Object::"orders");
`

// objects is that system with policies, each of one line without its ID.
func objectsWith(policies string, reader string) fstest.MapFS {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(policies), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(&b, "@id(\"p%d\") %s;\n", i, line)
		}
	}
	return fstest.MapFS{"system.yaml": {Data: []byte(objectsSystem)}, "o.proto": {Data: []byte(objectsProto)},
		"base.cedar": {Data: []byte(strings.Replace(objectsBase, "READER", reader, 1))}, "policy.cedar": {Data: []byte(b.String())}}
}

// Words for policies.
func permits(who, action, object string) string {
	return fmt.Sprintf(`permit (principal == Domain::%q, action == ward::Action::%q, resource == Object::%q)`+"\n", who, action, object)
}

func gives(from, to, when string) string {
	return fmt.Sprintf(`permit (principal == Domain::%q, action == o::v1::Action::"Give.One", resource == Domain::%q) when { %s }`+"\n", from, to, when)
}

// noPath judges one no_path of a system, and returns what it says; "": it holds.
func noPath(t *testing.T, files fstest.MapFS, rule string) string {
	t.Helper()
	files["a_test.yaml"] = &fstest.MapFile{Data: []byte("ward: 1\nalways:\n- no_path: " + rule + "\n")}
	shown, report := judge(t, files)
	if report == nil || len(report.Results) != 1 {
		t.Fatalf("%s:\n%s", rule, shown)
	}
	return strings.Join(report.Results[0].Failures, "\n")
}

// Each way over objects and handles is found where it is the only one, and only
// there: without it in `over` the same rule holds, and so it does with a right
// less, or a condition more.
func TestPathsOverObjects(t *testing.T) {
	const all = "calls, replies, files, network, objects, handles"
	// writes: what a makes b may write, and nothing is said the other way.
	writes := permits("a", "create", "frames") + permits("b", "open.read", "frames") + permits("b", "open.write", "frames")
	both := writes + permits("c", "open.read", "frames")
	for _, c := range []struct {
		name     string
		policies string
		reader   string // of orders; empty: keeper
		from, to string
		over     string // the ways without which there is none; empty: there is none at all
		trail    string
	}{
		{"shared memory", permits("a", "open.read", "board") + permits("a", "open.write", "board") + permits("b", "open.read", "board"), "", "a", "b", "objects", "a → b (board)"},
		{"shared memory, back", permits("a", "open.read", "board") + permits("a", "open.write", "board") + permits("b", "open.read", "board"), "", "b", "a", "", ""},
		{"shared memory, written without reading", permits("a", "open.write", "board") + permits("b", "open.read", "board"), "", "a", "b", "", ""},
		{"shared memory, over another", permits("a", "open.read", "board") + permits("a", "open.write", "board") + permits("b", "open.read", "board") + gives("b", "c", "true"), "", "a", "c", "objects, calls", "a → b (board) → c (o.v1.Give/One)"},

		{"a mailbox", `permit (principal == Domain::"a", action == o::v1::Action::"Orders.Place", resource == Object::"orders")`, "b", "a", "b", "calls, objects", "a → orders (o.v1.Orders/Place) → b (it reads orders)"},
		{"a mailbox, back", `permit (principal == Domain::"a", action == o::v1::Action::"Orders.Place", resource == Object::"orders")`, "b", "b", "a", "", ""},
		{"a mailbox that takes no message of those that there are", `permit (principal == Domain::"a", action == o::v1::Action::"Orders.Place", resource == Object::"orders") when { context.count > 9 }`, "b", "a", "b", "", ""},

		{"the way back of a writer", writes + gives("a", "b", "context.frame.write"), "", "b", "a", "handles", "b → a (frames of a, to b to write by o.v1.Give/One)"},
		{"no way back of a reader", writes + gives("a", "b", "!context.frame.write"), "", "b", "a", "", ""},
		{"none of one who may not write", strings.Replace(writes, "open.write", "open.read", 1) + gives("a", "b", "true"), "", "b", "a", "", ""},
		{"none of what is too large", writes + gives("a", "b", "context.frame.write && context.frame.size > 65536"), "", "b", "a", "", ""},
		{"one of what is as large as may be", writes + gives("a", "b", "context.frame.write && context.frame.size > 65535"), "", "b", "a", "handles", "frames of a"},
		{"none without a message", writes, "", "b", "a", "", ""},
		{"none without a maker", strings.Replace(writes, "create", "open.read", 1) + gives("a", "b", "true"), "", "b", "a", "", ""},
		{"none of another object", strings.ReplaceAll(writes, `"open.write", resource == Object::"frames"`, `"open.write", resource == Object::"other"`) + gives("a", "b", "true"), "", "b", "a", "", ""},

		{"two who have the same", both + gives("a", "b", "context.frame.write") + gives("a", "c", "!context.frame.write"), "", "b", "c", "handles", "b → c (frames of a, to b to write by o.v1.Give/One, to c to read by o.v1.Give/One)"},
		{"not from who only reads", both + gives("a", "b", "context.frame.write") + gives("a", "c", "!context.frame.write"), "", "c", "b", "", ""},
		{"what is handed on", both + permits("c", "open.write", "frames") + gives("a", "b", "context.frame.write") + gives("b", "c", "true"), "", "c", "a", "handles", "c → a (frames of a, to c to write by o.v1.Give/One)"},
		{"what different domains made", both + permits("d", "create", "frames") + gives("a", "b", "context.frame.write") + gives("d", "c", "true"), "", "b", "c", "", ""},
		{"no more than one has", both + permits("c", "open.write", "frames") + permits("d", "open.read", "frames") + gives("a", "b", "!context.frame.write") + gives("b", "c", "context.frame.write"), "", "c", "a", "", ""},

		{"what cannot be told is a way", writes + gives("a", "b", `context.frame.write && `+untold("context.note")), "", "b", "a", "handles", "frames of a"},
		{"what can be told is none", writes + gives("a", "b", `context.frame.write && context.note == "a" && context.note == "b"`), "", "b", "a", "", ""},

		{"a handle in a message in a message", writes + `permit (principal == Domain::"a", action == o::v1::Action::"Give.Some", resource == Domain::"b")`, "", "b", "a", "handles", "by o.v1.Give/Some"},
		{"a message without it", writes + `permit (principal == Domain::"a", action == o::v1::Action::"Give.Some", resource == Domain::"b") when { !(context has inner && context.inner has frame) }`, "", "b", "a", "", ""},

		{"a handle in a reply", permits("b", "create", "frames") + permits("d", "open.read", "frames") + permits("d", "open.write", "frames") + gives("d", "c", "true") + permits("c", "open.read", "frames") +
			`permit (principal == Domain::"d", action == o::v1::Action::"Get.Fetch", resource == Domain::"b")`, "", "b", "c", "replies, handles", "b → "},
	} {
		t.Run(c.name, func(t *testing.T) {
			reader := c.reader
			if reader == "" {
				reader = "keeper"
			}
			files := objectsWith(c.policies, reader)
			text := func(over []string) string {
				return fmt.Sprintf("{from: %s, to: %s, over: [%s]}", c.from, c.to, strings.Join(over, ", "))
			}
			got := noPath(t, files, fmt.Sprintf("{from: %s, to: %s}", c.from, c.to))
			if found := strings.Contains(got, "there is a path: "); found != (c.over != "") || !strings.Contains(got, c.trail) {
				t.Fatalf("%q, want a path over %q: %s", got, c.over, c.trail)
			}
			var others []string // of the ways
			for _, way := range strings.Split(all, ", ") {
				if !strings.Contains(", "+c.over+",", ", "+way+",") {
					others = append(others, way)
				}
			}
			if c.over != "" {
				if got := noPath(t, files, text(others)); got != "" {
					t.Errorf("there is another way: %s", got)
				}
				if got := noPath(t, files, text(strings.Split(c.over, ", "))); got == "" {
					t.Errorf("no way over %s", c.over)
				}
			}
		})
	}
}

// Without the right to open an object, the handle that a message has gives nothing.
func TestNoPathWithoutRight(t *testing.T) {
	policies := permits("a", "create", "frames") + permits("b", "open.read", "frames") + permits("b", "open.write", "frames") + gives("a", "b", "context.frame.write") + gives("a", "c", "true")
	const over = "{from: b, to: c, over: [handles]}"
	if got := noPath(t, objectsWith(policies, "keeper"), over); got != "" {
		t.Error(got)
	}
	if got := noPath(t, objectsWith(policies+permits("c", "open.read", "frames"), "keeper"), over); got == "" { // the control
		t.Error("control: no path with the right")
	}
}

// A path to an object is one to who gets at it: by its name, by making it, or
// by a handle that may pass.
func TestPathsToObjects(t *testing.T) {
	policies := permits("a", "create", "frames") + permits("b", "open.read", "frames") + permits("c", "open.read", "frames") + gives("a", "b", "true") +
		gives("keeper", "c", "true") + permits("d", "open.read", "board") + gives("keeper", "d", "true") +
		`permit (principal == Domain::"c", action == o::v1::Action::"Orders.Place", resource == Object::"orders")`
	files := objectsWith(policies, "keeper")
	for rules, want := range map[string]string{
		"{from: a, to: frames}":                        "a → frames (it may make it)",
		"{from: b, to: frames}":                        "b → frames (of a, by o.v1.Give/One)",
		"{from: c, to: frames, over: [calls]}":         "", // it may open it, but nobody can hand it any
		"{from: c, to: other}":                         "",
		"{from: keeper, to: board}":                    "keeper → d (o.v1.Give/One) → board (it may open it)",
		"{from: a, to: board}":                         "",
		"{from: c, to: orders}":                        "c → orders (o.v1.Orders/Place), a mailbox",
		"{from: c, to: orders, over: [objects]}":       "c → orders (o.v1.Orders/Place), a mailbox",
		"{from: c, to: orders, over: [files,handles]}": "",
		"{from: keeper, to: orders}":                   "keeper → orders (it may open it)",
		"{from: b, to: orders}":                        "",
	} {
		got := strings.TrimPrefix(noPath(t, files, rules), "there is a path: ")
		if got != want {
			t.Errorf("%s: %q, want %q", rules, got, want)
		}
	}
}

// What a case or rule asks of objects counts: the policies that decided, and
// the methods of a mailbox's interface.
func TestCoverageOfObjects(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/objects.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	_, report := judge(t, files)
	if got := strings.Join(report.PoliciesUntested, ", "); got != "the clerk writes without seeing, never used" || report.Policies != 11 {
		t.Errorf("of %d policies untested: %s", report.Policies, got)
	}
	if len(report.MethodsUntested) != 0 || report.Methods != 3 {
		t.Errorf("of %d methods untested: %s", report.Methods, report.MethodsUntested)
	}
	delete(files, "a_test.yaml") // the control: nothing is asked
	if _, report := judge(t, files); len(report.PoliciesUntested) != 11 || len(report.MethodsUntested) != 3 {
		t.Errorf("without tests, untested: %s, %s", report.PoliciesUntested, report.MethodsUntested)
	}
}

// What happened to objects becomes cases that pass, or a comment that says why not.
func TestObjectsFromAudit(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/objects.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(findings)
	}
	noPermit := abi.ReasonDefault.String()
	happened := func(h Happened) Happened {
		h.Event = "object"
		h.Verdict = map[bool]string{true: "allow", false: "deny"}[h.Policy != "" && !strings.HasPrefix(h.Policy, "no ")]
		return h
	}
	records := []Happened{
		happened(Happened{Domain: "camera", Object: "frames", Access: "create", Policy: "the camera makes frames"}),
		happened(Happened{Domain: "camera", Object: "frames", Access: "create", Policy: "the camera makes frames"}),
		happened(Happened{Domain: "viewer", Object: "frames", Access: "open.read", Policy: "the viewer sees frames"}),
		happened(Happened{Domain: "camera", To: "viewer", Object: "frames", Access: "open.write", Reason: noPermit}), // an offer: the receiver's right
		happened(Happened{Domain: "clerk", Object: "frames", Access: "open.read", Policy: "no clerk near frames"}),
		happened(Happened{Domain: "camera", Object: "board", Access: "open.write", Policy: "the camera writes on the board"}),
		happened(Happened{Domain: "clerk", Object: "orders", Access: "open.read", Policy: "the clerk reads orders"}),
		happened(Happened{Domain: "viewer", Object: "frames", Access: "open.read", Kind: "redeem", Policy: "the viewer sees frames"}),
		happened(Happened{Domain: "camera", Object: "frames", Access: "create", Reason: "too many gates"}), // a quota
		happened(Happened{Domain: "camera", Object: "curtains", Access: "create", Reason: noPermit}),       // unknown
		happened(Happened{Domain: "camera", Object: "frames", Access: "", Reason: noPermit}),
		{Event: "call", Kind: "call", From: "viewer", To: "orders", Method: "o.v1.Orders/Place", Params: map[string]any{"count": 4}, Verdict: "allow", Policy: "small orders"},
		{Event: "call", Kind: "call", From: "camera", To: "viewer", Method: "o.v1.View/Show", Verdict: "deny", Reason: noPermit,
			Params: map[string]any{"frame": 12, "frame.id": 65537, "frame.size": 5000, "frame.kind": 1}},
		{Event: "call", Kind: "call", From: "camera", To: "viewer", Method: "o.v1.View/Show", Verdict: "deny", Reason: noPermit},
		{Event: "call", Kind: "call", From: "camera", To: "viewer", Method: "o.v1.View/Show", Verdict: "allow", Policy: "frames to look at",
			Params: map[string]any{"frame": 12, "frame.id": 65538, "frame.size": 4096, "frame.kind": 1}},
		{Event: "call", Kind: "call", From: "camera", To: "viewer", Method: "o.v1.View/Show", Verdict: "deny", Reason: abi.ReasonHandle.String(),
			Params: map[string]any{"frame": 12, "frame.id": 65538, "frame.size": 4096, "frame.kind": 1}},
	}
	w := FromAudit(r.Image, r.Set, records)
	for _, want := range []string{
		`name: "camera makes frames"`, "create: \"frames\"\n  allow: \"the camera makes frames\"",
		`name: "viewer reads frames"`, `name: "viewer has no right to write frames"`, "write: \"frames\"\n  deny: default",
		"read: \"frames\"\n  deny: \"no clerk near frames\"", "write: \"board\"\n  allow:", "read: \"orders\"\n  allow:",
		"# this system does not know it: a case.create: there is no object \"curtains\"", "# 1 left out: a denial that no case can say: too many gates",
		"# 1 left out: a record about an object that does not say", `to: "orders"`,
		`args: {"frame": {"kind": 1, "size": 5000, "write": false}}`, `args: {"frame": {"kind": 1, "size": 4096, "write": false}}`, `args: {"frame": null}`,
		"# 1 left out: a denial that no case can say: no such handle to give",
	} {
		if !strings.Contains(w.Text, want) {
			t.Errorf("there is no %q in\n%s", want, w.Text)
		}
	}
	if w.Cases != 10 || w.Records != 11 || w.Left != 4 {
		t.Errorf("%d cases of %d records, %d left out:\n%s", w.Cases, w.Records, w.Left, w.Text)
	}
	pass(t, files, w)
}

// Any test of a system with objects is read or refused, with places inside the file.
func FuzzObjects(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/objects.txtar")
	if err != nil {
		f.Fatal(err)
	}
	findings, err := txtar.ParseFile("testdata/objectfindings.txtar")
	if err != nil {
		f.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, file := range append(archive.Files, findings.Files...) {
		if file.Name == "a_test.yaml" {
			f.Add(file.Data)
		} else {
			files[file.Name] = &fstest.MapFile{Data: file.Data}
		}
	}
	r, list := compile.Dir(files)
	if r.Image == nil {
		f.Fatal(list)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, findings := Load(fstest.MapFS{"a_test.yaml": {Data: data}}, r.Image, r.Set)
		for _, finding := range findings {
			if finding.Pos.File != "a_test.yaml" {
				t.Fatalf("finding without a place: %v", finding)
			}
		}
		if !findings.Failed() {
			s.Run(nil)
		}
	})
}

// untold is a condition on a text that is too much for the prover: ten patterns in
// any order, but for the one that it would guess.
func untold(text string) string {
	c := "!(" + text + ` like "*aabb*")`
	for r := 'a'; r < 'k'; r++ {
		c += " && " + text + ` like "*` + strings.Repeat(string(r), 2) + `*"`
	}
	return c
}
