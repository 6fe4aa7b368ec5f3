package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy"
	"ward/policy/eval"
)

// objectSystem has memory, shared memory and a mailbox.
const objectSystem = `ward: 1
name: studio
interfaces: [shop.proto]
policy: [policy.cedar]
objects:
  frames: {kind: memory, size: 4MiB, count: 8}
  board: {kind: memory, size: 64KiB, shared: true}
  orders: {kind: mailbox, interface: s.v1.Orders}
domains:
  camera: {program: /bin/camera, files: {/etc/camera: r}}
  viewer: {program: /bin/viewer, ring: service, exports: [s.v1.Viewer]}
  office: {program: /bin/office, ring: system, exports: [s.v1.Desk]}
  worker: {program: /bin/worker, template: true}
`

const objectProto = `syntax = "proto3";
package s.v1;
import "buf/validate/validate.proto";
import "ward/v1/handle.proto";
message Frame { int32 width = 1 [(buf.validate.field).int32 = {gte: 1, lte: 4096}]; ward.v1.Handle pixels = 2; }
message Shown { ward.v1.Handle thumbnail = 1 [(buf.validate.field).required = true]; }
message Order { int32 copies = 1 [(buf.validate.field).int32 = {gte: 1, lte: 100}]; string paper = 2 [(buf.validate.field).string.max_len = 16]; }
message Empty {}
message Number { int32 n = 1; }
service Viewer { rpc Show(Frame) returns (Shown); }
service Orders { rpc Place(Order) returns (Empty); rpc Cancel(Order) returns (Empty); }
service Desk { rpc Ask(Number) returns (Number); }
service Streams { rpc Feed(stream Order) returns (Empty); rpc Watch(Order) returns (stream Empty); rpc Count(Order) returns (Number); rpc Pass(Frame) returns (Empty); rpc Good(Order) returns (Empty); }
`

// objectPolicy is what a system of objectSystem needs to have no finding.
const objectPolicy = `
@id("camera makes frames") permit (principal == Domain::"camera", action == ward::Action::"create", resource == Object::"frames");
@id("viewer reads frames") permit (principal == Domain::"viewer", action == ward::Action::"open.read", resource == Object::"frames");
@id("viewer draws") permit (principal == Domain::"viewer", action in ward::Action::"open", resource == Object::"board");
@id("office reads orders") permit (principal == Domain::"office", action == ward::Action::"open.read", resource == Object::"orders");
@id("camera shows") permit (principal == Domain::"camera", action == s::v1::Action::"Viewer.Show", resource == Domain::"viewer");
@id("viewer orders") permit (principal == Domain::"viewer", action in s::v1::Action::"Orders", resource == Object::"orders");
@id("camera asks") permit (principal == Domain::"camera", action == s::v1::Action::"Desk.Ask", resource == Domain::"office");
`

func compileObjects(t testing.TB, yaml, text string) (*image.Image, string) {
	t.Helper()
	sys, set := load(t, yaml, objectProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
	return img, l.Error()
}

// showObjects writes who may do what with objects, and what is left of the
// policies for the messages to mailboxes and for those with handles.
func showObjects(img *image.Image) string {
	var b strings.Builder
	who := func(what string, verdicts []image.Verdict) {
		for d, v := range verdicts {
			if v.Policy != abi.NoPolicy {
				word := "forbidden"
				if v.Allow {
					word = "allowed"
				}
				fmt.Fprintf(&b, "  %s %s: %s by %s\n", what, img.Domains[d].Name, word, img.Policies[v.Policy].ID)
			}
		}
	}
	for _, o := range img.Objects {
		if o.Kind == image.ObjectMailbox {
			d := img.Domains[o.Domain]
			fmt.Fprintf(&b, "mailbox %s: domain %d, ring %s, takes %s\n", o.Name, o.Domain, d.Ring.Name, img.Interfaces[d.Exports[0].Interface].Name)
		} else {
			fmt.Fprintf(&b, "memory %s: %d bytes, %d, shared %v\n", o.Name, o.Size, o.Count, o.Shared)
		}
		who("create", o.Create)
		who("read", o.Read)
		who("write", o.Write)
	}
	for _, r := range img.Routes {
		if img.Interfaces[r.Interface].Name == "ward.v1.Names" {
			continue
		}
		f := img.Interfaces[r.Interface]
		fmt.Fprintf(&b, "route %s to %s for %s: connect %v, lookup %v\n", img.Domains[r.Client].Name, img.Domains[r.Server].Name, f.Name, r.Connect.Allow, r.Lookup.Allow)
		for m := range r.Methods {
			for reply, d := range []*image.Decision{&r.Methods[m].Request, &r.Methods[m].Reply} {
				msg := &img.Messages[f.Methods[m].Request]
				word := ""
				if reply == 1 {
					msg, word = &img.Messages[f.Methods[m].Reply], " reply"
				}
				for i, rules := range [][]image.Rule{d.Forbid, d.Permit} {
					for _, rule := range rules {
						fmt.Fprintf(&b, "  %s%s %s [%s] %s\n", f.Methods[m].Name, word, []string{"forbid", "permit"}[i], img.Policies[rule.Policy].ID, eval.Show(img, msg, &rule.When))
					}
				}
			}
		}
	}
	return b.String()
}

// TestObjectsGolden compiles each testdata/objects/*.cedar after what makes the
// system whole, if it asks for that in its first line.
func TestObjectsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/objects/*.cedar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all := string(text)
			if strings.HasPrefix(all, "// with the others") {
				all += objectPolicy
			}
			img, out := compileObjects(t, objectSystem, all)
			out += "\n"
			if img != nil {
				out += showObjects(img)
			}
			golden(t, "objects/"+strings.TrimSuffix(filepath.Base(f), ".cedar")+".golden", out)
		})
	}
}

func TestObjectsSchema(t *testing.T) {
	golden(t, "objects/studio.cedarschema", policy.Schema(load(t, objectSystem, objectProto)))
}

// TestMailboxInterfaces: what a mailbox cannot take is refused at its interface.
func TestMailboxInterfaces(t *testing.T) {
	for _, test := range []struct{ yaml, want string }{
		{"s.v1.Streams", "whose method Feed is a stream"},
		{"s.v1.Streams", "whose method Watch is a stream"},
		{"s.v1.Streams", "whose method Count has a reply with fields (s.v1.Number)"},
		{"s.v1.Streams", "whose method Pass passes a handle on"},
		{"s.v1.Order", "the mailbox orders takes s.v1.Order, which no .proto file of the system defines\n\tdid you mean \"s.v1.Orders\"?"},
	} {
		img, out := compileObjects(t, strings.Replace(objectSystem, "interface: s.v1.Orders", "interface: "+test.yaml, 1), objectPolicy)
		if img != nil || !strings.Contains(out, test.want) || !strings.Contains(out, "system.yaml:8:38") {
			t.Errorf("want %q:\n%s", test.want, out)
		}
		if strings.Contains(out, "Good") {
			t.Errorf("a method that a mailbox can take is refused:\n%s", out)
		}
	}
	if img, out := compileObjects(t, objectSystem, objectPolicy); img == nil || out != "" {
		t.Errorf("a control: the system as it is:\n%s", out)
	}
}

// TestMailboxModels: a model that judges by what mailboxes do not have would say nothing of them.
func TestMailboxModels(t *testing.T) {
	for _, m := range []string{"ward/mls", "ward/rings-multics"} {
		img, out := compileObjects(t, "use: ["+m+"]\n"+objectSystem, objectPolicy)
		if img != nil || !strings.Contains(out, "the mailbox orders has no ring and no label, by which "+m) {
			t.Errorf("%s:\n%s", m, out)
		}
	}
	if img, out := compileObjects(t, "use: [ward/ownership]\n"+objectSystem, objectPolicy); img == nil {
		t.Errorf("a control: %s", out)
	}
}

// TestMailboxBesideServer: an interface that a domain exports, too, has replies
// and both kinds of takers.
func TestMailboxBesideServer(t *testing.T) {
	both := strings.Replace(objectSystem, "exports: [s.v1.Desk]", "exports: [s.v1.Desk, s.v1.Orders]", 1)
	img, out := compileObjects(t, both, objectPolicy+`
@id("camera orders") permit (principal == Domain::"camera", action in s::v1::Action::"Orders", resource);
@id("all ask") permit (principal, action == s::v1::Action::"Desk.Ask", resource);
@id("answers") permit (principal, action in s::v1::Action::"Orders.reply", resource == Domain::"camera");
`)
	if img == nil {
		t.Fatal(out)
	}
	shown := showObjects(img)
	for _, want := range []string{
		"route camera to office for s.v1.Orders: connect true, lookup true\n  Place permit [camera orders] true\n  Place reply permit [answers] true\n",
		"route camera to orders for s.v1.Orders: connect true, lookup false\n  Place permit [camera orders] true\n  Cancel permit [camera orders] true\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("missing %q in\n%s", want, shown)
		}
	}
	for _, r := range img.Routes {
		if img.Domains[r.Client].Mailbox {
			t.Errorf("a mailbox is a client of %s", img.Domains[r.Server].Name)
		}
	}
}

// TestManyMailboxState: mailboxes change nothing for the state of domains.
func TestMailboxState(t *testing.T) {
	stateful := strings.Replace(objectSystem, "objects:", "state: {seen: {per: domain, values: [no, yes], moves: {no: [yes]}}}\nobjects:", 1)
	img, out := compileObjects(t, stateful, objectPolicy+`
@id("orders once") @enter("principal.seen=yes") permit (principal == Domain::"camera", action == s::v1::Action::"Orders.Place", resource) when { principal.state.seen == "no" };
`)
	if img == nil {
		t.Fatal(out)
	}
	if len(img.Cells) != 5 { // camera, viewer, office, worker and the name server
		t.Errorf("%d cells", len(img.Cells))
	}
	_, out = compileObjects(t, stateful, objectPolicy+`
@id("taints") @enter("resource.seen=yes") permit (principal == Domain::"camera", action == s::v1::Action::"Orders.Place", resource);
`)
	if !strings.Contains(out, "@enter: the resource may be the mailbox orders, which has no state") {
		t.Error(out)
	}
	_, out = compileObjects(t, stateful, objectPolicy+`
@id("asks") permit (principal == Domain::"camera", action == s::v1::Action::"Orders.Place", resource) when { resource.state.seen == "no" };
`)
	if !strings.Contains(out, `unknown attribute "state" of Object`) {
		t.Error(out)
	}
}

// TestHandleFits: what a filter keeps of a handle counts among the parameters
// that policies look at.
func TestHandleFits(t *testing.T) {
	message := "message Frame { ward.v1.Handle pixels = 1;"
	var terms []string
	for i := range 14 {
		message += fmt.Sprintf(" int32 p%d = %d;", i, i+2)
		terms = append(terms, fmt.Sprintf("context.p%d < 9", i))
	}
	proto := strings.Replace(objectProto, `message Frame { int32 width = 1 [(buf.validate.field).int32 = {gte: 1, lte: 4096}]; ward.v1.Handle pixels = 2;`, message, 1)
	sys, set := load(t, objectSystem, proto)
	compiled := func(terms ...string) (bool, string) {
		text := strings.TrimSuffix(strings.TrimSpace(strings.Split(objectPolicy, `@id("camera shows")`)[1]), "\n")
		_, rest, _ := strings.Cut(text, "\n")
		head := strings.Split(objectPolicy, `@id("camera shows")`)[0]
		show := `@id("camera shows") permit (principal == Domain::"camera", action == s::v1::Action::"Viewer.Show", resource == Domain::"viewer") when { ` + strings.Join(terms, " && ") + " };\n"
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: head + show + rest}})
		return img != nil, l.Error()
	}
	if ok, out := compiled(append(terms[:11:11], "context has pixels && context.pixels.size < 9 && !context.pixels.write")...); !ok {
		t.Errorf("11 parameters, the handle's presence and what it claims: %s", out)
	}
	if ok, out := compiled(terms[:12]...); !ok {
		t.Errorf("12 parameters: %s", out)
	}
	if ok, out := compiled(terms[:13]...); ok || !strings.Contains(out, "policy.cedar:6:") || !strings.Contains(out, "look at 17 parameters: the limit is 16; its handle takes 4 of them") {
		t.Errorf("13 parameters: %s", out)
	}
}
