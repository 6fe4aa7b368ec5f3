package compile_test

import (
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/image"
)

// TestTransitionOfSeveralPermits: a transition of a model joins all the permits
// that admit a message; an image has one rule of a policy in a decision.
func TestTransitionOfSeveralPermits(t *testing.T) {
	scope := `(principal == Domain::"s", action == a::v1::Action::"A.Do.reply", resource == Domain::"c") when `
	r, l := compile.Dir(fstest.MapFS{
		"system.yaml": {Data: []byte("ward: 1\nname: x\ninterfaces: [a.proto]\npolicy: [a.cedar]\nuse: [ward/low-water-mark]\ndomains:\n" +
			"  s: {program: /bin/s, label: {integrity: 1}, exports: [a.v1.A]}\n  c: {program: /bin/c, label: {integrity: 2}}\n")},
		"a.proto": {Data: []byte("syntax = \"proto3\";\npackage a.v1;\nmessage M { bool low = 1; bool high = 2; }\nservice A { rpc Do(M) returns (M); }\n")},
		"a.cedar": {Data: []byte(`@id("call") permit (principal == Domain::"c", action == a::v1::Action::"A.Do", resource == Domain::"s");
@id("one") permit ` + scope + `{ context.low };
@id("two") permit ` + scope + `{ context.high };
`)},
	})
	if l.Failed() {
		t.Fatal(l)
	}
	img, err := image.Decode(image.Encode(r.Image))
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range img.Routes {
		if img.Domains[route.Client].Name != "c" || img.Domains[route.Server].Name != "s" {
			continue
		}
		var enters []image.Rule
		for _, p := range route.Methods[0].Reply.Permit {
			if len(p.Enter) > 0 {
				enters = append(enters, p)
			}
		}
		// Two levels below 2, each with a policy of its own.
		if len(enters) != 2 || enters[0].Policy == enters[1].Policy || len(route.Methods[0].Reply.Permit) != 4 {
			t.Errorf("rules that enter: %+v", enters)
		}
		return
	}
	t.Error("no route")
}
